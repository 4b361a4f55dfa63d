import errno
import json
import os
import pickle
import subprocess
import tempfile
import time
import traceback
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import fsspec
import pytest

from pipeline.errors import AccessDenied, NotFound, StorageError, Unreachable, UsageError
from pipeline.storage.credentials import parse_options
from pipeline.storage.errors import without_secrets
from pipeline.storage.storage import Storage
from pipeline.storage.urls import absolute, join, parent, redacted
from pipeline.storage.writing import PART_SUFFIX, is_abandoned
from tests.support.s3_server import KEY, SECRET, S3Server, s3_server
from tests.support.web_server import Ending, web_server

AWKWARD_NAMES = ["a.jpg", "deep/er/b.jpg", "name with space é夜.bmp", "100%.png", "a#b.png", "q?x=1.png", "plus+.png"]


def _storage(url: str) -> Storage:
    return Storage.from_environment([url], {})


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder, then a bucket: whatever holds for one must hold for the other."""
    return str(tmp_path) if request.param == "folder" else str(request.getfixturevalue("bucket"))


def test_what_is_written_is_listed_and_read(place: str) -> None:
    storage = _storage(place)
    for name in AWKWARD_NAMES:
        storage.write(join(place, name), name.encode())
    listed = storage.list_files(place)
    assert [file.relative for file in listed] == sorted(AWKWARD_NAMES)
    assert [storage.read(file.url) for file in listed] == [file.relative.encode() for file in listed]
    assert [file.size_bytes for file in listed] == [len(file.relative.encode()) for file in listed]


def test_file_and_glob_and_folder_are_listed_below_their_root(place: str) -> None:
    storage = _storage(place)
    for name in ("x/1.jpg", "x/2.png", "y/3.jpg"):
        storage.write(join(place, name), b"-")
    assert [file.relative for file in storage.list_files(join(place, "x"))] == ["1.jpg", "2.png"]
    assert [file.relative for file in storage.list_files(join(place, "x/1.jpg"))] == ["1.jpg"]
    assert [file.relative for file in storage.list_files(join(place, "*/*.jpg"))] == ["x/1.jpg", "y/3.jpg"]


def test_a_name_with_brackets_is_a_name_before_it_is_a_glob(tmp_path: Path) -> None:
    (tmp_path / "img[1].jpg").write_bytes(b"-")
    assert [file.relative for file in Storage().list_files(str(tmp_path / "img[1].jpg"))] == ["img[1].jpg"]


def test_version_changes_with_the_content(place: str) -> None:
    storage = _storage(place)
    url = join(place, "a.jpg")
    storage.write(url, b"one")
    [before] = storage.list_files(url)
    storage.write(url, b"two")
    [after] = storage.list_files(url)
    assert before.version != after.version


def test_a_store_without_etags_tells_versions_by_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same time whether a listing tells it, a glob, or the answer for one file."""
    with s3_server(tmp_path, etags=False) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        fsspec.filesystem("s3", endpoint_url=server.endpoint, skip_instance_cache=True).mkdir("timed")
        storage, url = _storage("s3://timed"), "s3://timed/in/a.mp4"
        versions = []
        for content in (b"one", b"two"):
            storage.write(url, content)
            [listed], [matched] = storage.list_files("s3://timed/in"), storage.list_files("s3://timed/in/*.mp4")
            assert listed.version == matched.version == storage.version(url)
            with storage.open(url, version=listed.version) as file:
                assert file.read() == content
            versions.append(listed.version)
            time.sleep(1.1)  # it is told to the second
        assert versions[0] != versions[1]


def test_a_failed_write_leaves_the_old_file_and_is_replaced_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, url = Storage(), str(tmp_path / "a.jpg")
    storage.write(url, b"old")
    with monkeypatch.context() as broken, pytest.raises(StorageError):
        broken.setattr("os.replace", _refuse)
        storage.write(url, b"new")
    assert storage.read(url) == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.jpg"]
    storage.write(url, b"new")
    assert storage.read(url) == b"new"


def test_what_a_killed_write_leaves_is_no_file_and_can_be_found(tmp_path: Path) -> None:
    left = tmp_path / "deep" / f".0-0{PART_SUFFIX}"
    left.parent.mkdir()
    left.write_bytes(b"half")
    assert Storage().list_files(str(tmp_path)) == []
    assert Storage().unfinished(str(tmp_path)) == [str(left)]
    Storage().remove([str(left), str(left)])
    assert Storage().unfinished(str(tmp_path)) == Storage().unfinished(str(tmp_path / "none")) == []


def test_links_are_followed_within_the_source_and_further_if_asked(tmp_path: Path) -> None:
    for name in ("in/real.jpg", "in/deep/b.jpg", "elsewhere/c.jpg", "elsewhere/deep/d.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1234")
    source = tmp_path / "in"
    (source / "link.jpg").symlink_to(source / "real.jpg")
    (source / "out.jpg").symlink_to(tmp_path / "elsewhere" / "c.jpg")
    (source / "dangling.jpg").symlink_to(tmp_path / "none.jpg")
    (source / "loop").symlink_to(source)
    (source / "folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere")
    listed = {file.relative: file for file in Storage().walk(str(source))}
    codes = {name: file.code for name, file in listed.items() if file.code}
    assert codes == {
        "out.jpg": "not_followed",
        "loop": "not_followed",
        "folder": "not_followed",
        "dangling.jpg": "unreadable",
    }
    assert "--follow-links" in listed["out.jpg"].problem
    assert [name for name in sorted(listed) if name not in codes] == ["deep/b.jpg", "link.jpg", "real.jpg"]
    assert listed["link.jpg"].size_bytes == 4
    [named] = Storage().walk(str(source / "out.jpg"))
    assert (named.code, named.size_bytes) == ("", 4)
    followed = {file.relative for file in Storage().walk(str(source), follow_links=True) if not file.code}
    assert followed == {"deep/b.jpg", "link.jpg", "real.jpg", "out.jpg", "folder/c.jpg", "folder/deep/d.jpg"}


def test_a_folder_that_must_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "closed").mkdir()
    (tmp_path / "open" / "a.jpg").write_bytes(b"-")
    scandir = os.scandir

    def guarded(path: str) -> object:  # tests may run as root, whom no mode keeps out
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", guarded)
    listed = {file.relative: file.problem for file in Storage().list_files(str(tmp_path))}
    assert listed.keys() == {"open/a.jpg", "closed"}
    assert "Permission denied" in listed["closed"]


def test_a_glob_of_folders_is_all_below_them(place: str) -> None:
    storage = _storage(place)
    for name in ("2023/1.jpg", "2024-a/2.jpg", "2024-b/deep/3.jpg"):
        storage.write(join(place, name), b"-")
    found = [file.relative for file in storage.list_files(join(place, "2024-*"))]
    assert found == ["2024-a/2.jpg", "2024-b/deep/3.jpg"]


def _refuse(*_: object) -> None:
    raise OSError("disk full")


def test_nothing_there(place: str) -> None:
    storage = _storage(place)
    with pytest.raises(NotFound, match=r"none\.jpg"):
        storage.list_files(join(place, "none.jpg"))
    with pytest.raises(NotFound, match=r"none\.jpg"):
        storage.read(join(place, "none.jpg"))
    with pytest.raises(NotFound):
        storage.list_files(join(place, "*.none"))


@pytest.mark.parametrize("key", [KEY, "stranger"])
def test_wrong_credentials(bucket: str, key: str) -> None:
    storage = Storage.from_environment([bucket], {"key": key, "secret": "wrong"})
    with pytest.raises(AccessDenied, match="credentials"):
        storage.list_files(bucket)
    with pytest.raises(AccessDenied):
        storage.write(join(bucket, "a"), b"-")


def test_no_credentials(s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(AccessDenied, match="credentials"):
        _storage("s3://anything").list_files("s3://anything")


def test_nobody_answers() -> None:
    once = {"retries": {"total_max_attempts": 1}}
    options = {"endpoint_url": "http://127.0.0.1:9", "key": "k", "secret": "s", "config_kwargs": once}
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        Storage.from_environment(["s3://anything"], options).list_files("s3://anything")


def test_a_profile_reaches_workers_that_lack_it(
    s3: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _storage(bucket).write(join(bucket, "a.jpg"), b"-")
    config = tmp_path / "config"
    config.write_text(
        f"[profile night]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\nendpoint_url = {s3.endpoint}\n"
    )
    for name in s3.environment:
        monkeypatch.delenv(name)
    with monkeypatch.context() as driver:
        driver.setenv("AWS_CONFIG_FILE", str(config))
        driver.setenv("AWS_PROFILE", "night")
        travelling = pickle.dumps(_storage(bucket))
    config.unlink()
    assert [file.relative for file in pickle.loads(travelling).list_files(bucket)] == ["a.jpg"]


def test_a_profile_by_storage_options(
    s3: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a program that prints the keys, as single sign-on tools do."""
    keys = json.dumps({"Version": 1, "AccessKeyId": KEY, "SecretAccessKey": SECRET})
    config = tmp_path / "config"
    config.write_text(f"[profile night]\ncredential_process = echo '{keys}'\nendpoint_url = {s3.endpoint}\n")
    for name in s3.environment:
        monkeypatch.delenv(name)
    with monkeypatch.context() as driver:
        driver.setenv("AWS_CONFIG_FILE", str(config))
        travelling = pickle.dumps(Storage.from_environment([bucket], {"profile": "night"}))
        with pytest.raises(AccessDenied, match="nobody"):
            Storage.from_environment([bucket], {"profile": "nobody"})
    pickle.loads(travelling).write(join(bucket, "a"), b"-")


def test_a_bucket_has_one_name_whatever_was_typed(s3: S3Server, bucket: str) -> None:
    other = bucket.replace("s3://", "S3A://")
    storage = Storage.from_environment([other], {"s3a": {"endpoint_url": s3.endpoint}})
    storage.write(join(absolute(other), "deep/a.jpg"), b"-")
    assert [file.url for file in storage.list_files(absolute(other))] == [join(bucket, "deep/a.jpg")]


def test_a_signature_is_neither_shown_nor_in_an_error() -> None:
    url = "http://127.0.0.1:9/a.jpg?signature=hush"
    assert redacted(url) == "http://127.0.0.1:9/a.jpg"
    with pytest.raises(StorageError) as told:
        Storage().read(url)
    assert "hush" not in str(told.value)
    assert redacted("https://me:hush@host:8/a.jpg#b") == "https://host:8/a.jpg"
    assert without_secrets("403, url='https://me:hush@h/a%20b?X-Amz-Signature=hush&b=%2f' (no)") == (
        "403, url='https://h/a%20b' (no)"
    )
    assert without_secrets("(HTTPS://h/x?sig=hu'sh&b=hush) at https://h/y?hush") == "(HTTPS://h/x) at https://h/y"
    assert redacted("HTTPS://host/a.jpg?hush") == "https://host/a.jpg"


def test_an_endpoint_that_is_none_is_told_without_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"key": "k", "secret": "s", "client_kwargs": {"endpoint_url": "me:hush@host"}}
    with pytest.raises(UsageError, match="endpoint") as told:
        Storage.from_environment(["s3://b"], options).list_files("s3://b")
    assert "hush" not in "".join(traceback.format_exception(told.value))


def test_two_stars_list_each_file_once(place: str) -> None:
    storage = _storage(place)
    for name in ("a.jpg", "x/b.jpg", "x/deep/c.jpg"):
        storage.write(join(place, name), b"-")
    for pattern in ("**", "**/*"):
        found = [file.relative for file in storage.list_files(join(place, pattern))]
        assert found == ["a.jpg", "x/b.jpg", "x/deep/c.jpg"]


def test_storage_never_shows_its_secrets() -> None:
    storage = Storage.from_environment(["s3://x"], {"key": "k", "secret": "hush"})
    assert "hush" not in repr(storage)


def test_a_web_server_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"one")
    (tmp_path / "b.png").write_bytes(b"two")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        web = f"http://127.0.0.1:{server.server_port}"
        [one] = Storage().list_files(f"{web}/a.jpg")
        assert (one.relative, one.size_bytes, Storage().read(one.url)) == ("a.jpg", 3, b"one")
        assert [file.relative for file in Storage().list_files(f"{web}/*.png")] == ["b.png"]
        server.shutdown()


@pytest.mark.parametrize("ending", ["drop", "short", "forbidden"])
@pytest.mark.parametrize("swallowed", [False, True])
def test_a_read_that_fails_is_told_though_nobody_listens(ending: Ending, swallowed: bool) -> None:
    with web_server(bytes(100_000)) as server:
        server.breaks_at, server.ending = 50_000, ending
        url = f"{server.url}/a b.mp4?signature=hush/%2F+"
        storage = Storage({"http": {"block_size": 4096}})
        with pytest.raises(StorageError, match=r"/a b\.mp4: ") as told, storage.open(url) as file:
            assert len(file.read(40_000)) == 40_000
            with suppress(StorageError if swallowed else ()):
                file.read(40_000)
            assert file.read() == b""  # as a decoder would find it
        assert "hush" not in "".join(traceback.format_exception(told.value))


def test_a_server_that_cannot_send_parts_is_told_as_such(tmp_path: Path) -> None:
    with web_server(bytes(100_000)) as server:
        server.ranges = False
        with pytest.raises(StorageError, match="copy it to a local disk"), Storage().open(f"{server.url}/a") as file:
            file.read(1)
            file.seek(90_000)


def test_missing_extra_says_what_to_install() -> None:
    with pytest.raises(UsageError, match=r"nightlift\[gcs\]"):
        Storage().list_files("gs://bucket")


def test_places() -> None:
    assert join("s3://b/", "a", "c") == "s3://b/a/c"
    assert (parent("s3://b/a/c.jpg"), parent("/c.jpg"), parent("c.jpg")) == ("s3://b/a", "/", ".")
    assert absolute("s3://b/a/") == "s3://b/a"
    assert absolute("a/../b") == str(Path.cwd() / "b")
    for wrong in ("{", "[]"):
        with pytest.raises(UsageError, match="storage-options"):
            parse_options(wrong)
    for wrong, told in (({"s3": 5}, "s3 must hold"), ({"config_kwargs": 5}, "config_kwargs must hold")):
        with pytest.raises(UsageError, match=told):
            Storage.from_environment(["s3://b"], wrong)


def test_a_file_in_the_making_is_seen_once_it_is_whole(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    storage, url = _storage(place), join(place, "deep", "a")
    with storage.writing(url) as path:
        Path(path).write_bytes(b"frames" * 1000)
        assert Path(path).read_bytes() == b"frames" * 1000
        assert not storage.exists(url)
        assert not list(scratch.iterdir())  # so that a kill leaves nothing here
    assert storage.read(url) == b"frames" * 1000
    with pytest.raises(KeyError), storage.writing(url) as path:
        Path(path).write_bytes(b"half")
        raise KeyError
    assert storage.read(url) == b"frames" * 1000
    assert storage.unfinished(place) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_says_where(place: str, number: int) -> None:
    url = join(place, "a")
    room = tempfile.gettempdir() if "://" in place else url
    with pytest.raises(StorageError, match=f"{room}: no room to write"), _storage(place).writing(url):
        raise OSError(number, os.strerror(number))


def test_what_is_below_a_folder_goes_with_it(place: str) -> None:
    storage = _storage(place)
    for name in ("x/1/a", "x/2/b", f"x/2/.0-0{PART_SUFFIX}", "y/c"):
        storage.write(join(place, name), b"-")
    storage.remove_empty(join(place, "x"))
    assert storage.exists(join(place, "x/1/a"))
    for folder in ("x/1", "x/2"):
        storage.remove_below(join(place, folder))
    storage.remove_empty(join(place, "x"))
    assert [file.relative for file in storage.list_files(place)] == ["y/c"]
    assert not storage.is_folder(join(place, "x"))
    storage.remove_below(join(place, "x"))  # gone already


def test_a_part_is_abandoned_once_its_writer_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = str(tmp_path / "film.mp4")
    with Storage().writing(place) as part:
        Path(part).write_bytes(b"half")
        assert Storage().unfinished(str(tmp_path)) == [part]
        assert not is_abandoned(part)
    gone = subprocess.Popen(["true"])
    gone.wait()
    digest, machine, _, token = Path(part).name.split("-", 3)
    assert is_abandoned(str(tmp_path / f"{digest}-{machine}-{gone.pid}-{token}"))
    other = tmp_path / f"{digest}-0123abcd-{os.getpid()}-{token}"  # another machine's
    other.write_bytes(b"half")
    assert not is_abandoned(str(other))
    os.utime(other, (0, 0))  # as an output gets the time of its source
    assert not is_abandoned(str(other))
    monkeypatch.setattr("pipeline.storage.writing.ABANDONED_S", -1.0)
    assert is_abandoned(str(other))


def test_parts_are_looked_for_in_one_folder_or_in_all_below(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    parts = [tmp_path / f".0-0{PART_SUFFIX}", tmp_path / "deep" / f".1-1{PART_SUFFIX}"]
    for part in parts:
        part.write_bytes(b"half")
    assert sorted(Storage().unfinished(str(tmp_path))) == sorted(map(str, parts))
    assert Storage().unfinished(str(tmp_path), below=False) == [str(parts[0])]
