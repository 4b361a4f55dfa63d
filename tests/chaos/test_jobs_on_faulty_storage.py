"""Whole jobs, from bucket to bucket, on storage that misbehaves: real Ray, a real S3 server behind a faulty proxy."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.bulk.summary import HOPELESS, Tally
from jobs.cli import main
from model import DEFAULT_WEIGHTS, load
from pipeline.errors import Changed, ManifestError, NotFound, Stopped
from pipeline.planning.manifest import Manifest
from pipeline.records import Outcome, Record
from pipeline.storage.storage import Storage
from pipeline.storage.urls import join
from pipeline.videos import VideoSteps
from tests.support.clips import Sound, clip, streets
from tests.support.enhanced import SETTINGS
from tests.support.faulty_proxy import PASSING, FaultyProxy, faulty_proxy
from tests.support.media import night
from tests.support.s3_server import S3Server

HURRIED = ("--storage-options", '{"config_kwargs": {"read_timeout": 2}, "default_block_size": 65536}')
FAST = ("--preset", "ultrafast", "--segment-frames", "10", "--estimate-size", "32")
COUNT = 100  # photos
SHARE = 0.05  # of all requests that fail


@pytest.fixture
def proxy(s3: S3Server, bucket: str) -> Iterator[FaultyProxy]:
    with faulty_proxy(s3.endpoint, seed=3) as proxy:
        proxy.slow_s = 3
        yield proxy


@pytest.fixture
def straight(bucket: str) -> Storage:
    """Past the proxy."""
    return Storage.from_environment([bucket], {})


@pytest.fixture
def through(proxy: FaultyProxy, straight: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is started from now on reaches storage through the proxy."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)


def _photo(seed: int) -> bytes:
    with BytesIO() as file:
        Image.fromarray(night(48, 32, seed=seed)).save(file, "jpeg")
        return file.getvalue()


def _film(frames: int, seed: int = 0) -> bytes:
    return clip(streets(frames, seed=seed), extras=Sound(seconds=frames / 25))


def _outputs(storage: Storage, folder: str) -> dict[str, bytes]:
    files = [file for file in storage.list_files(folder) if not file.relative.startswith("_nightlift/")]
    return {file.relative: storage.read(file.url) for file in files}


def _rows(storage: Storage, folder: str) -> list[dict[str, object]]:
    parts = storage.list_files(join(folder, "_nightlift/manifest"))
    tables = [pq.read_table(BytesIO(storage.read(part.url))) for part in parts]
    return sorted(pa.concat_tables(tables).to_pylist(), key=lambda row: row["started_at"])


def _names(rows: list[dict[str, object]], ending: str) -> list[str]:
    return sorted(Path(str(row["source"])).name for row in rows if row["outcome"] == ending)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_photos_and_films_lose_nothing_where_one_request_of_twenty_fails(
    proxy: FaultyProxy, bucket: str, straight: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(COUNT):
        straight.write(join(bucket, f"in/{number % 7}/{number:03d}.jpg"), _photo(number))
    straight.write(join(bucket, "in/film.mp4"), _film(45))
    assert main(["enhance", join(bucket, "in"), join(bucket, "straight"), *FAST]) == 0
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    proxy.rates = dict.fromkeys(PASSING, SHARE / len(PASSING))
    assert main(["enhance", join(bucket, "in"), join(bucket, "out"), *FAST, *HURRIED]) == 0
    print(f"{proxy.injected.total()} of {len(proxy.requests)} requests failed: {dict(proxy.injected)}")
    assert proxy.injected.total() > 0.02 * len(proxy.requests) > 5
    assert len(proxy.injected) >= 6
    rows = _rows(straight, join(bucket, "out"))
    assert _names(rows, "done") == [*(f"{number:03d}.jpg" for number in range(COUNT)), "film.mp4"]
    assert len(rows) == COUNT + 1
    assert _outputs(straight, join(bucket, "out")) == _outputs(straight, join(bucket, "straight"))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session", "through")
def test_expired_credentials_end_the_job_early_and_the_next_run_goes_on(
    proxy: FaultyProxy, bucket: str, straight: Storage, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(60):
        straight.write(join(bucket, f"in/{number:03d}.jpg"), _photo(number))
    job = ["images", join(bucket, "in"), join(bucket, "out"), "--workers", "1", *HURRIED]
    written = 0

    def expire(request: str) -> None:
        nonlocal written
        written += request.startswith("PUT") and ".jpg" in request
        if written >= 25:
            proxy.rates = {"expired": 1.0}

    proxy.on_request = expire
    assert main(job) == 1
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("nightlift: stopped")]
    assert len(told) == 1
    assert "credentials have expired" in told[0]
    assert "renew them and run the same command again" in told[0]
    proxy.behave()
    done = _outputs(straight, join(bucket, "out"))
    assert 25 <= len(done) < 60
    assert main(job) == 0
    assert len(_outputs(straight, join(bucket, "out"))) == 60
    assert set(_names(_rows(straight, join(bucket, "out")), "done")) == {f"{number:03d}.jpg" for number in range(60)}


@pytest.mark.parametrize("code", ["unreachable", "no_room"])
def test_storage_that_is_down_or_full_for_good_ends_the_job(code: str) -> None:
    unanswered = replace(Outcome.of(Record(source="a", version="", size_bytes=0, destination="b")), code=code)
    tally = Tally()
    for _ in range(HOPELESS - 1):
        tally.check_storage(unanswered)
    tally.check_storage(replace(unanswered, code="damaged"))
    for _ in range(HOPELESS - 1):
        tally.check_storage(unanswered)
    with pytest.raises(Stopped, match="run the same command again to continue"):
        tally.check_storage(unanswered)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session", "through")
def test_what_changes_or_vanishes_after_the_listing_has_its_outcome(
    proxy: FaultyProxy, bucket: str, straight: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = {f"{name}.jpg": _photo(seed) for seed, name in enumerate(("same", "changing", "vanishing"))}
    contents |= {f"{name}.mp4": _film(12, seed) for seed, name in enumerate(("still", "turning", "leaving"))}
    new_photo, new_film, meddled = _photo(99), _film(13, 9), set[str]()
    for name, content in (*contents.items(), ("new.jpg", new_photo), ("new.mp4", new_film)):
        straight.write(join(bucket, "in", name), content)

    def meddle(request: str) -> None:
        """With each file as it is read first."""
        method, name = request.split("?")[0].split(" ")[0], request.split("?")[0].rpartition("/")[2]
        first = "in/" in request and method in ("GET", "HEAD") and name in contents and name not in meddled
        if not first:
            return
        meddled.add(name)
        if name == "changing.jpg":
            straight.write(join(bucket, "in", name), new_photo)
        elif name == "turning.mp4":
            straight.write(join(bucket, "in", name), new_film)
        elif name in ("vanishing.jpg", "leaving.mp4"):
            straight.remove([join(bucket, "in", name)])

    proxy.on_request = meddle
    job = ["enhance", join(bucket, "in"), join(bucket, "out"), *FAST, *HURRIED]
    assert main(job) == 1
    rows = {Path(str(row["source"])).name: row for row in _rows(straight, join(bucket, "out"))}
    assert {name: row["code"] for name, row in rows.items()} == {
        "same.jpg": "",
        "new.jpg": "",
        "new.mp4": "",
        "changing.jpg": "",  # read whole, in one piece
        "vanishing.jpg": "not_found",
        "still.mp4": "",
        "turning.mp4": "changed",
        "leaving.mp4": "not_found",
    }
    assert "changed since it was listed" in capsys.readouterr().out
    assert main(job) == 0  # what has vanished is not listed any more
    again = _rows(straight, join(bucket, "out"))[8:]
    assert _names(again, "done") == ["changing.jpg", "turning.mp4"]
    outputs = _outputs(straight, join(bucket, "out"))
    assert outputs["changing.jpg"] == outputs["new.jpg"]
    assert outputs["turning.mp4"] == outputs["new.mp4"]
    assert not [file for file in straight.list_files(join(bucket, "out")) if "segments" in file.relative]


@pytest.mark.parametrize("kept", ["folder", "bucket"])
@pytest.mark.parametrize("when", ["inspected", "enhanced", "read"])
def test_a_film_is_never_made_of_two_versions(
    tmp_path: Path, bucket: str, straight: Storage, kept: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = join(str(tmp_path) if kept == "folder" else bucket, "in/film.mp4")
    straight.write(source, _film(25))
    [listed] = straight.list_files(source)
    record = Record(
        source=source, version=listed.version, size_bytes=listed.size_bytes, destination=str(tmp_path / "out.mp4")
    )
    steps = VideoSteps.of(straight, SETTINGS, load(DEFAULT_WEIGHTS["plus"]))
    info, segments = steps.inspect(record)
    urls = [str(tmp_path / "segments" / str(segment.index)) for segment in segments]

    def change() -> None:
        straight.write(source, _film(25, seed=1))

    if when == "inspected":
        change()
        with pytest.raises(Changed, match=r"film\.mp4: changed since it was listed"):
            steps.enhance(record, info, segments[0], urls[0])
    elif when == "read":
        with pytest.raises(Changed):
            steps.enhance(record, info, segments[0], urls[0], on_frame=change)
    else:
        results = [steps.enhance(record, info, segment, url) for segment, url in zip(segments, urls, strict=True)]
        change()
        with pytest.raises(Changed):
            steps.join(record, info, urls, results, Outcome.of(record))
    assert not (tmp_path / "out.mp4").exists()
    assert when == "enhanced" or not Path(urls[0]).exists()


def _lagging(name: str, until: int) -> Callable[[str, bytes], bytes]:
    """Listings that leave out `name`, but for the first `until` of them which do not tell of it yet."""
    asked = 0

    def altered(request: str, body: bytes) -> bytes:
        nonlocal asked
        if "list-type=2" not in request or name.encode() not in body:
            return body
        asked += 1
        head, *contents = body.split(b"<Contents>")
        *contents, tail = [*contents[:-1], *contents[-1].partition(b"</Contents>")[::2]]
        contents = [each for each in contents if name.encode() not in each]
        whole = [each if each.endswith(b"</Contents>") else each + b"</Contents>" for each in contents]
        return body if asked > until else head + b"".join(b"<Contents>" + each for each in whole) + tail

    return altered


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session", "through")
def test_an_output_that_is_not_listed_yet_is_done_again_and_a_manifest_as_well(
    proxy: FaultyProxy, bucket: str, straight: Storage
) -> None:
    for number in range(3):
        straight.write(join(bucket, f"in/{number}.jpg"), _photo(number))
    job = ["images", join(bucket, "in"), join(bucket, "out"), *HURRIED]
    assert main(job) == 0
    first = _outputs(straight, join(bucket, "out"))
    proxy.on_answer = _lagging("out/1.jpg", 100)
    assert main(job) == 0
    assert _names(_rows(straight, join(bucket, "out"))[3:], "done") == ["1.jpg"]
    proxy.on_answer = _lagging(".parquet", 100)
    assert main(job) == 0
    assert len(_rows(straight, join(bucket, "out"))) == 4 + 3
    proxy.on_answer = lambda request, body: body
    assert main(job) == 0
    assert len(_rows(straight, join(bucket, "out"))) == 4 + 3
    assert _outputs(straight, join(bucket, "out")) == first


@pytest.mark.parametrize(("listings", "comes_through"), [(3, True), (1000, False)])
def test_a_manifest_part_that_is_listed_though_it_is_gone_is_waited_for(
    bucket: str, straight: Storage, monkeypatch: pytest.MonkeyPatch, listings: int, comes_through: bool
) -> None:
    manifest = Manifest(straight, join(bucket, "out"), "f", {})
    manifest.append([replace(Outcome.of(_record("a.jpg")), outcome="done")])
    manifest.close()
    walk, asked = Storage.walk, 0

    def lagging(self: Storage, url: str) -> list[object]:
        nonlocal asked
        asked += 1
        listed = list(walk(self, url))
        ghost = replace(listed[0], url=join(url, "gone.parquet"))
        return [*listed, ghost] if asked <= listings else listed

    monkeypatch.setattr(Storage, "walk", lagging)
    monkeypatch.setattr("pipeline.planning.manifest.READ_PAUSE_S", 0.01)
    if comes_through:
        assert manifest.read().num_rows == 1
    else:
        with pytest.raises(ManifestError, match=r"gone\.parquet"):
            manifest.read()


def test_a_manifest_whose_parts_cannot_be_merged_misses_nothing(
    bucket: str, straight: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = Manifest(straight, join(bucket, "out"), "f", {})
    for name in ("a.jpg", "b.jpg"):
        manifest.append([replace(Outcome.of(_record(name)), outcome="done")])
        manifest._flush()
    with monkeypatch.context() as broken:
        broken.setattr(Storage, "read", _gone)
        manifest.close()
    assert manifest.read().num_rows == 2


def _record(source: str) -> Record:
    return Record(source=source, version="1", size_bytes=1, destination=f"out/{source}")


def _gone(*_: object) -> bytes:
    raise NotFound("gone")
