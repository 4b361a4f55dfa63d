"""What an output keeps of its source beside the content: its time, and no wider access."""

import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image

from jobs.cli import main
from pipeline.storage.attributes import Attributes
from pipeline.storage.storage import Storage
from tests.support.clips import clip, streets
from tests.support.media import jpeg, night
from tests.support.outputs import rows_of, table_in

PHOTO = jpeg(night(32, 48))
LONG_AGO_NS = 981_173_106_123_456_789


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _photo(path: Path, mode: int = 0o644) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(PHOTO)
    path.chmod(mode)
    os.utime(path, ns=(0, LONG_AGO_NS))
    return path


def _metadata(url: str) -> dict[str, str]:
    fs, path = Storage.from_environment([url], {}).filesystem(url)
    return dict(fs.metadata(path, refresh=True))


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_photo_keeps_its_time_and_nobody_gets_more_access(tmp_path: Path) -> None:
    modes = {0o600: 0o600, 0o640: 0o640, 0o444: 0o644, 0o400: 0o600, 0o777: 0o644}
    out = tmp_path / "out"
    for mode in modes:
        _photo(tmp_path / "in" / f"{mode:o}.jpg", mode)
    for flags in ([], [], ["--fresh"]):
        assert main(["images", str(tmp_path / "in"), str(out), *flags]) == 0
        assert {mode: _mode(out / f"{mode:o}.jpg") for mode in modes} == modes
        assert {(out / f"{mode:o}.jpg").stat().st_mtime_ns for mode in modes} == {LONG_AGO_NS}
        assert len(rows_of(out)) == len(modes) * (2 if flags else 1)
    assert {row["sha256"] for row in rows_of(out)} == {sha256((out / "600.jpg").read_bytes()).hexdigest()}


def test_a_video_keeps_its_time_and_nobody_gets_more_access(tmp_path: Path) -> None:
    source, out = tmp_path / "a.mp4", tmp_path / "out" / "a.mp4"
    source.write_bytes(clip(streets(6), rate=25))
    source.chmod(0o600)
    os.utime(source, ns=(0, LONG_AGO_NS))
    for _ in range(2):
        assert main(["videos", str(source), str(out), "--preset", "ultrafast"]) == 0
    assert (_mode(out), out.stat().st_mtime_ns) == (0o600, LONG_AGO_NS)
    assert [row["sha256"] for row in rows_of(out.parent)] == [sha256(out.read_bytes()).hexdigest()]


def test_a_private_file_is_private_while_it_is_written(tmp_path: Path) -> None:
    with Storage().writing(str(tmp_path / "a.mp4"), keeps=Attributes(mode=0o600)) as part:
        assert _mode(Path(part)) == 0o600
        Path(part).write_bytes(b"private")
    assert _mode(tmp_path / "a.mp4") == 0o600


def test_an_output_that_is_written_again_is_a_new_version_for_other_jobs(tmp_path: Path) -> None:
    source, out = tmp_path / "in" / "a.bmp", tmp_path / "out"
    source.parent.mkdir()
    Image.fromarray(night(8, 8)).save(source)
    versions = set()
    for iterations in ("8", "4"):
        assert main(["images", str(source.parent), str(out), "--iterations", iterations]) == 0
        versions.add(Storage().version(str(out / "a.bmp")))
    assert len(versions) == 2
    assert (out / "a.bmp").stat().st_mtime_ns == source.stat().st_mtime_ns


def test_times_go_into_buckets_and_out_of_them(bucket: str, tmp_path: Path) -> None:
    _photo(tmp_path / "in" / "a.jpg")
    assert main(["images", str(tmp_path / "in"), f"{bucket}/lit"]) == 0
    assert _metadata(f"{bucket}/lit/a.jpg")["mtime"] == "981173106.123456789"
    (listed,) = (file for file in Storage.from_environment([bucket], {}).list_files(f"{bucket}/lit/a.jpg"))
    assert main(["images", f"{bucket}/lit/a.jpg", str(tmp_path / "out")]) == 0
    for _ in range(2):
        assert main(["images", f"{bucket}/lit/a.jpg", f"{bucket}/again"]) == 0
    assert (tmp_path / "out" / "a.jpg").stat().st_mtime_ns == round(listed.modified_s * 1e9)
    assert float(_metadata(f"{bucket}/again/a.jpg")["mtime"]) == pytest.approx(listed.modified_s, abs=1e-6)
    assert len(rows_of(tmp_path / "out")) == len(table_in(bucket, "again/_nightlift/manifest")) == 1


def test_times_that_no_disk_holds_do_no_harm(tmp_path: Path) -> None:
    Storage().write(str(tmp_path / "a.jpg"), PHOTO, keeps=Attributes(modified_ns=2**80))
    assert Attributes(modified_ns=-1_500_000_000).metadata == {"mtime": "-2"}
    assert Attributes(modified_ns=10**9).metadata == {"mtime": "1"}
