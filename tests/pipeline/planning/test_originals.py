"""Originals: no job writes where they lie, under whatever name, and no write replaces a file that nightlift did not
write.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from jobs.cli import main
from pipeline.errors import InTheWay, UsageError
from pipeline.planning.manifest import Manifest
from pipeline.planning.same_place import proven
from pipeline.records import Outcome
from pipeline.storage.ownership import Claim
from pipeline.storage.storage import Storage
from pipeline.storage.urls import absolute, is_same, join
from tests.support.faulty_proxy import faulty_proxy
from tests.support.media import jpeg, night
from tests.support.outputs import files_below, rows_of, tree
from tests.support.s3_server import S3Server, s3_server

ORIGINAL = jpeg(night())
KEYS = ("in/a.jpg", "in/deep/b.jpg")
MISTYPED = "s3:/b/out s3:// s3:b s3//b/out S3:/b gs:/b az:/c file:/x file://x https:/h s3:///key foo:/x dir::s3://b/p"
UNTOUCHED = dict.fromkeys(KEYS, ORIGINAL)


@pytest.fixture
def night_bucket(bucket: str) -> Iterator[str]:
    """URL of a bucket with two photos, which stay as they are, and nothing beside them."""
    storage = Storage.from_environment([bucket], {})
    for key in KEYS:
        storage.write(join(bucket, key), ORIGINAL)
    yield bucket
    assert {file.relative: storage.read(file.url) for file in storage.list_files(bucket)} == UNTOUCHED


@pytest.fixture
def night_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with two photos, which stay as they are, and nothing beside them."""
    folder = tmp_path / "night"
    for key in KEYS:
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(ORIGINAL)
    yield folder
    assert {str(path.relative_to(folder)): path.read_bytes() for path in files_below(folder)} == UNTOUCHED


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("s3a://{bucket}/in", "s3://{bucket}/in"),
        ("s3://{bucket}/in", "s3a://{bucket}/in/"),
        ("S3://{bucket}/in/", "s3://{bucket}/in"),
        ("s3a://{bucket}/in/*.jpg", "s3://{bucket}/in"),
        ("s3a://{bucket}/in/a.jpg", "s3://{bucket}/in"),
        ("s3a://{bucket}/in/a.jpg", "s3://{bucket}/in/a.jpg"),
        ("s3://{bucket}/in", "s3://{bucket}//in"),  # one folder where the server keeps keys as paths
        ("s3://{bucket}//in", "s3://{bucket}/in"),
        ("s3://{bucket}//in/*.jpg", "s3://{bucket}/in"),
        ("s3://{bucket}//in/a.jpg", "s3://{bucket}/in/"),
        ("s3://{bucket}/in/a.jpg", "s3://{bucket}//in/a.jpg"),
    ],
)
def test_a_bucket_under_two_names_is_refused(
    night_bucket: str, source: str, destination: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = night_bucket.removeprefix("s3://")
    assert main(["images", source.format(bucket=name), destination.format(bucket=name)]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    reasons = (
        "are the same",
        "under two names",
        "would replace a source",
        "write it as",
        "already exists",
        "nothing is",
    )
    assert any(reason in told for reason in reasons), told


@pytest.mark.parametrize("job", ["videos", "enhance", "train", "evaluate"])
@pytest.mark.parametrize("names", [("s3a://{}/in", "s3://{}/in"), ("s3://{}//in", "s3://{}/in")], ids=["s3a", "slash"])
def test_every_job_refuses_a_bucket_under_two_names(
    night_bucket: str, job: str, names: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    source, destination = (name.format(night_bucket.removeprefix("s3://")) for name in names)
    assert main([job, source, destination]) == 2
    assert len(capsys.readouterr().err.splitlines()) <= 3


def test_a_bucket_shown_as_a_folder_is_refused(
    night_bucket: str, _server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a mounted bucket is: what is written to the one appears in the other."""
    mounted = tmp_path / "mounted"
    read = Storage.read

    def through_the_mount(self: Storage, url: str) -> bytes:
        return read(self, url.replace(str(mounted), f"{night_bucket}/in"))

    monkeypatch.setattr(Storage, "read", through_the_mount)
    storage = Storage.from_environment([night_bucket], {})
    with pytest.raises(UsageError, match="the same place under two names"):
        proven(storage, f"{night_bucket}/in", [str(mounted)])
    assert not proven(storage, f"{night_bucket}/out", [str(mounted), f"{night_bucket}/in"]).conditional_puts


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("{night}/in", "local://{night}/in"),
        ("local://{night}/in", "{night}/in/"),
        ("file://{night}/in", "{night}/../night/in"),
        ("{night}/in/*.jpg", "file://{night}/in"),
        ("{night}/in", "{link}/in"),
        ("{night}/in/a.jpg", "{hard}"),
        ("{hard}", "{night}/in/a.jpg"),
    ],
)
def test_a_folder_or_file_under_two_names_is_refused(
    night_folder: Path, source: str, destination: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").symlink_to(night_folder)
    (tmp_path / "hard.jpg").hardlink_to(night_folder / "in" / "a.jpg")
    places = {"night": night_folder, "link": tmp_path / "link", "hard": tmp_path / "hard.jpg"}
    assert main(["images", source.format(**places), destination.format(**places)]) == 2
    told = capsys.readouterr().err
    assert "are the same" in told or "would replace a source" in told
    assert (tmp_path / "hard.jpg").read_bytes() == ORIGINAL


@pytest.fixture
def mounted(night_folder: Path, tmp_path: Path) -> Iterator[Path]:
    """The folder mounted a second time, as a container may have it."""
    other = tmp_path / "mounted"
    other.mkdir()
    mounting = ["mount", "--bind", str(night_folder), str(other)]
    if (tried := subprocess.run(mounting, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"needs the right to mount ({tried.stderr.strip()})")
    try:
        yield other
    finally:
        subprocess.run(["umount", "--lazy", str(other)], check=True)


@pytest.mark.parametrize("job", ["images", "videos", "enhance", "train", "evaluate"])
def test_a_folder_that_is_mounted_twice_is_refused(
    mounted: Path, night_folder: Path, job: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for below in ("", "/in", "/in/a.jpg") if job == "images" else ("/in",):
        assert main([job, f"{night_folder}{below}", f"{mounted}{below}"]) == 2
    assert len(capsys.readouterr().err.splitlines()) <= 9


def test_a_destination_inside_the_source_by_another_mount_is_refused_once_it_has_outputs(
    mounted: Path, night_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (night_folder / "in" / "_nightlift" / "runs").mkdir(parents=True)
    try:
        (night_folder / "in" / "_nightlift" / "runs" / "r.json").write_text("{}")
        assert main(["images", str(night_folder), str(mounted / "in")]) == 2
        assert "the same place under two names" in capsys.readouterr().err
    finally:
        (night_folder / "in" / "_nightlift" / "runs" / "r.json").unlink()
        (night_folder / "in" / "_nightlift" / "runs").rmdir()
        (night_folder / "in" / "_nightlift").rmdir()


def test_a_disk_that_ignores_case_has_one_folder_for_two_names(
    night_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.path.samefile", lambda one, other: str(one).casefold() == str(other).casefold())
    assert is_same(str(night_folder), str(night_folder).upper())
    assert main(["images", str(night_folder), str(tmp_path / "NIGHT")]) == 2
    assert not (tmp_path / "NIGHT").exists()


@pytest.mark.parametrize("place", MISTYPED.split())
@pytest.mark.parametrize("job", ["images", "train", "evaluate"])
def test_what_is_neither_path_nor_url_is_refused(
    place: str, job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in", "a.jpg").write_bytes(ORIGINAL)
    for places in (["in", place], [place, "out"]):
        assert main([job, *places]) == 2
    assert len(capsys.readouterr().err.splitlines()) <= 4
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("S3A://b/p/", "s3://b/p"),
        ("gcs://b", "gs://b"),
        ("abfss://c/p", "az://c/p"),
        ("local:///a/b/", "/a/b"),
        ("./s3:/b", f"{Path.cwd()}/s3:/b"),
        ("2024-05-01T12:00:00", f"{Path.cwd()}/2024-05-01T12:00:00"),
    ],
)
def test_a_place_is_written_in_one_way(typed: str, meant: str) -> None:
    assert absolute(typed) == meant


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server that keeps nothing of what objects carry."""
    with s3_server(tmp_path_factory.mktemp("forgetful"), metadata=False) as server:
        yield server


@pytest.fixture(params=["disk", "disk without marks", "bucket", "bucket without marks", "conditional", "memory"])
def outputs(
    request: pytest.FixtureRequest, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Storage, str, bool]]:
    """A storage, a destination in it, and whether it keeps marks."""
    kind = str(request.param)
    if "bucket" not in kind and kind != "conditional":
        if kind == "disk without marks":
            monkeypatch.delattr("os.setxattr")
        root = f"memory://{tmp_path}" if kind == "memory" else str(tmp_path / "out")
        storage = proven(Storage(), root, [])
        assert storage.keeps_marks == (kind == "disk")
        yield storage, root, storage.keeps_marks
        return
    server = request.getfixturevalue("forgetful") if "without" in kind else s3
    with faulty_proxy(server.endpoint) as proxy:
        proxy.knows_conditions = kind == "conditional"
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        bucket = f"b{abs(hash(request.node.nodeid)) % 10**12}"
        fsspec.filesystem("s3", endpoint_url=proxy.url, skip_instance_cache=True).mkdir(bucket)
        storage = proven(Storage.from_environment(["s3://out"], {}), f"s3://{bucket}/bright", [])
        assert storage.conditional_puts == proxy.knows_conditions
        assert storage.keeps_marks == ("without" not in kind)
        yield storage, f"s3://{bucket}/bright", storage.keeps_marks


def test_an_output_replaces_nothing_that_nightlift_did_not_write(outputs: tuple[Storage, str, bool]) -> None:
    storage, root, keeps_marks = outputs
    place = join(root, "a.jpg")
    other = replace(storage, conditional_puts=False)
    other.write(place, b"an original", Claim(anything=True))
    if keeps_marks:  # as if somebody had put it there, whose files bear no mark
        _put_by_hand(storage, place, b"an original")
    for known in (Claim(), Claim(known_bytes=5)):
        with pytest.raises(InTheWay, match="already exists, and nightlift has no record of writing it"):
            storage.write(place, b"enhanced", known)
        with pytest.raises(InTheWay), storage.writing(place, claim=known) as path:
            Path(path).write_bytes(b"enhanced")
    assert storage.read(place) == b"an original"
    assert [file.relative for file in storage.list_files(root)] == ["a.jpg"]
    storage.write(place, b"an original")  # the same again is no loss
    known = Claim(known_bytes=len(b"an original"))
    if keeps_marks:  # then a size proves nothing: images without compression are all of one size
        _put_by_hand(storage, place, b"an original")
        with pytest.raises(InTheWay):
            storage.write(place, b"of that size", known)
        storage.remove([place])
    storage.write(place, b"known to the manifest", known)
    storage.write(place, b"known by its content", Claim(recognised=lambda content: b"manifest" in content))
    assert storage.read(place) == b"known by its content"


def test_an_output_of_a_killed_run_is_ours_where_the_store_keeps_marks(outputs: tuple[Storage, str, bool]) -> None:
    storage, root, keeps_marks = outputs
    place = join(root, "a.jpg")
    storage.write(place, b"of a run that left no row")
    if keeps_marks:
        storage.write(place, b"by other settings")
        with storage.writing(place) as path:
            Path(path).write_bytes(b"by yet other settings")
        assert storage.read(place) == b"by yet other settings"
        _put_by_hand(storage, place, b"put there by somebody")
    with pytest.raises(InTheWay):
        storage.write(place, b"not so fast")


def _put_by_hand(storage: Storage, place: str, data: bytes) -> None:
    """As somebody does who knows nothing of nightlift."""
    fs, path = storage.filesystem(place)
    fs.rm_file(path)
    fs.pipe_file(path, data)


def test_a_copied_or_edited_output_is_somebodys_own(tmp_path: Path) -> None:
    Storage().write(str(tmp_path / "a.jpg"), b"an output")
    subprocess.run(["cp", "-a", tmp_path / "a.jpg", tmp_path / "b.jpg"], check=True)
    with pytest.raises(InTheWay):
        Storage().write(str(tmp_path / "b.jpg"), b"another output")
    (tmp_path / "a.jpg").write_bytes(b"retouched")  # as large as it was
    for claim in (Claim(), Claim(known_bytes=len(b"retouched"))):
        with pytest.raises(InTheWay):
            Storage().write(str(tmp_path / "a.jpg"), b"another output", claim)


def test_a_folder_named_like_nightlifts_own_is_no_free_ground(tmp_path: Path) -> None:
    place = tmp_path / "_nightlift" / "bright" / "a.jpg"
    place.parent.mkdir(parents=True)
    place.write_bytes(ORIGINAL)
    with pytest.raises(InTheWay):
        Storage().write(str(place), b"enhanced")
    for own in ("manifest/1.parquet", "runs/1.json", "report.html"):
        for content in (b"first", b"second"):
            Storage().write(str(tmp_path / "out" / "_nightlift" / own), content)


def test_links_and_folders_in_the_way_stay(tmp_path: Path) -> None:
    (tmp_path / "original").write_bytes(b"-")
    (tmp_path / "link").symlink_to(tmp_path / "original")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    for name in ("link", "dangling", "folder"):
        with pytest.raises(InTheWay):
            Storage().write(str(tmp_path / name), b"enhanced", Claim(known_bytes=1))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "original").read_bytes() == b"-"


@pytest.mark.usefixtures("ray_session")
def test_a_photo_job_leaves_what_is_in_the_way_and_does_the_rest(
    night_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, job = tmp_path / "out", ["images", str(night_folder), str(tmp_path / "out")]
    (out / "in").mkdir(parents=True)
    (out / "in" / "a.jpg").write_bytes(b"somebody's only copy")
    assert main(job) == 1
    assert "failed, in_the_way" in capsys.readouterr().out
    assert {row["source"]: row["code"] for row in rows_of(out)} == {
        str(night_folder / key): code for key, code in zip(KEYS, ("in_the_way", ""), strict=True)
    }
    assert tree(out)["in/a.jpg"] == b"somebody's only copy"
    (out / "in" / "a.jpg").unlink()
    edited = tree(out)["in/deep/b.jpg"] + b"retouched"
    (out / "in" / "deep" / "b.jpg").write_bytes(edited)
    assert main([*job, "--fresh"]) == 1
    assert tree(out)["in/deep/b.jpg"] == edited
    assert [row["code"] for row in rows_of(out)].count("in_the_way") == 2
    assert tree(out).keys() == set(KEYS)


def test_export_report_and_benchmark_replace_their_own_files_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.onnx", "a.html", "a.json"):
        (tmp_path / name).write_bytes(b'{"somebody": "else"}')
    manifest = Manifest(Storage(), str(tmp_path / "out"), "f", {})
    manifest.append([Outcome(source="/in/a.jpg", version="v", destination="", outcome="skipped")])
    manifest.close()
    for job, name in (
        (["export", str(tmp_path / "a.onnx")], "a.onnx"),
        (["report", str(tmp_path / "out"), "--out", str(tmp_path / "a.html")], "a.html"),
        (["benchmark", "--quick", "--only", "inside", "--json", str(tmp_path / "a.json")], "a.json"),
    ):
        assert main(job) == 2, job
        assert f"{name}: already exists" in capsys.readouterr().err
        assert (tmp_path / name).read_bytes() == b'{"somebody": "else"}'
