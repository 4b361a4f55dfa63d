"""Work that never ends: the file is named, every other one is done, and no one waits longer than was allowed."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from jobs.cli import main
from pipeline.flow.attempts import ATTEMPTS
from pipeline.flow.photos import EnhanceWorker, FusedWorker, PhotoFlow
from pipeline.flow.time_limit import allowed_s
from pipeline.flow.training import TrainingPhotoFlow
from pipeline.flow.videos import SegmentWorker, VideoFlow
from pipeline.photos import PhotoSettings, PhotoWork, ReadAndDecode
from pipeline.planning.inputs import Selection
from pipeline.records import Record
from pipeline.segments import SegmentResult
from pipeline.storage.storage import Storage
from pipeline.training.files import training_files
from pipeline.training.samples import ReadImages, Reading
from pipeline.video import Segment, VideoInfo
from pipeline.videos import EnhanceSegment, Inspect
from tests.support import media
from tests.support.clips import clip, streets
from tests.support.counts import count
from tests.support.killed import HANGS_S, ROOT
from tests.support.outputs import rows_of, tree

LIMIT_S, VIDEO_LIMIT_S = 4.0, 5.0  # many times what the others take, once their worker is warm


def stuck(name: str) -> None:
    """As decoders may be on some file: in Python, or in C code that lets no other thread run."""
    while "endless" in name:
        time.sleep(0.01)
    if "greedy" in name:
        re.match(r"(a+)+$", "a" * 60 + "b")


def _ended(body: str) -> tuple[int, str]:
    """Exit status of a process that does this, and what it wrote."""
    program = f"import re, time\nfrom pipeline.flow.time_limit import renew, time_limit\n{body}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=HANGS_S, check=False
    )
    return done.returncode, done.stdout


TELLING = "lambda: print('told', flush=True)"


def test_work_that_takes_too_long_is_told_and_ends_its_process() -> None:
    """Even where telling fails."""
    assert _ended(f"with time_limit(0.5, {TELLING} or 1 / 0):\n    time.sleep(1000)") == (1, "told\n")


def test_c_code_that_holds_the_interpreter_ends_with_its_process() -> None:
    greedy = "re.match(r'(a+)+$', 'a' * 60 + 'b')"
    assert _ended(f"with time_limit(0.5, {TELLING}):\n    {greedy}") == (1, "")  # no one could tell of it


def test_each_piece_of_work_has_its_own_time() -> None:
    """And one that goes on has more; between them there is none."""
    body = f"""
for _ in range(15):
    with time_limit(2, {TELLING}):
        time.sleep(0.15)
with time_limit(2, {TELLING}):
    for _ in range(15):
        time.sleep(0.15)
        renew(2)
time.sleep(4.5)
print("done")
"""
    assert _ended(body) == (0, "done\n")


def test_large_files_have_more_time() -> None:
    assert allowed_s(600, 2_000_000_000) == 2600


class Stuck(ReadAndDecode):
    def __call__(self, work: PhotoWork) -> PhotoWork:
        stuck(work.record.source)
        return super().__call__(work)


def _photos(folder: Path, bad: Sequence[str] = ("endless", "greedy")) -> Path:
    folder.mkdir()
    for number in range(18):
        Image.fromarray(media.night(seed=number)).save(folder / f"{number:02d}.png")
    for name in bad:
        Image.fromarray(media.night()).save(folder / f"07-{name}.png")
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(("topology", "bad"), [("fused", ("endless", "greedy")), *count([], [("split", ("endless",))])])
def test_photos_that_never_end_are_named_and_cost_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, topology: str, bad: Sequence[str]
) -> None:
    source, out = _photos(tmp_path / "in", bad), tmp_path / "out"
    warm = Record(source=str(source / "00.png"), version="", size_bytes=0, destination=str(tmp_path / "warm.png"))

    class StuckWorker(FusedWorker):
        def __init__(self, flow: PhotoFlow) -> None:
            super().__init__(flow)
            self.develop.step(PhotoWork.of(warm))  # what only the first photo waits for is not what is tested
            self.develop.step = replace(self.develop.step, decode=Stuck(flow.storage, flow.settings))

    class WarmWorker(EnhanceWorker):
        def __init__(self, flow: PhotoFlow) -> None:
            super().__init__(flow)
            self.enhance.step(ReadAndDecode(Storage(), PhotoSettings())(PhotoWork.of(warm)))

    monkeypatch.setattr("pipeline.flow.photos.FusedWorker", StuckWorker)
    monkeypatch.setattr("pipeline.flow.photos.EnhanceWorker", WarmWorker)
    monkeypatch.setattr("pipeline.flow.photos.ReadAndDecode", Stuck)
    job = ["images", str(source), str(out), "--topology", topology, "--time-limit", str(LIMIT_S)]
    assert main(job) == 1
    rows = rows_of(out)
    assert len(rows) == 18 + len(bad)
    failed = {Path(str(row["source"])).name: row for row in rows if row["outcome"] == "failed"}
    found = {name: (row["code"], row["attempts"]) for name, row in failed.items()}
    wanted = {"endless": ("timed_out", 1), "greedy": ("worker_died", ATTEMPTS)}
    assert found == {f"07-{name}.png": wanted[name] for name in bad}
    for name, row in failed.items():
        assert name in str(row["message"])
        assert "--time-limit" in str(row["message"])
    assert tree(out).keys() == tree(source).keys() - failed.keys()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_file_to_train_on_that_never_ends_is_named_and_costs_no_other(tmp_path: Path) -> None:
    class StuckReading(ReadImages):
        def __call__(self, reading: Reading) -> Reading:
            stuck(reading.record.source.replace("greedy", ""))
            return super().__call__(reading)

    files = training_files(Storage(), [str(_photos(tmp_path / "in"))], "/nowhere", Selection(), None)
    flow = TrainingPhotoFlow(read=StuckReading(Storage(), 64, 2), cpus=2, time_limit_s=LIMIT_S)
    rows = [row for _, table in flow.run(files.records) for row in table.to_pylist()]
    assert len(rows) == 20
    failed = {Path(row["source"]).name: row["code"] for row in rows if row["outcome"] == "failed"}
    assert failed == {"07-endless.png": "timed_out"}


class StuckInspect(Inspect):
    def __call__(self, record: Record, *rest: object) -> object:
        stuck(record.source if "opening" in record.source else "")
        return super().__call__(record, *rest)  # type: ignore[arg-type]


class StuckSegment(EnhanceSegment):
    """After some frames of the second segment."""

    def __call__(
        self, record: Record, info: VideoInfo, segment: Segment, url: str, on_frame: Callable[[], None] = lambda: None
    ) -> SegmentResult:
        seen = 0

        def frame() -> None:
            nonlocal seen
            seen += 1
            on_frame()
            stuck(record.source if (segment.index, seen) == (1, 4) else "")

        return super().__call__(record, info, segment, url, frame)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_videos_that_never_end_are_named_and_cost_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("one", "endless", "opening-endless", "two"):
        (source / f"{name}.mp4").write_bytes(clip(streets(25)))
    warm = Record(source=str(source / "one.mp4"), version="", size_bytes=0, destination=str(tmp_path / "warm.mp4"))

    class StuckWorker(SegmentWorker):
        def __init__(self, flow: VideoFlow) -> None:
            super().__init__(flow)
            info, segments = Inspect(flow.storage, flow.settings)(warm)
            self.step.step.enhance(warm, info, segments[0], str(tmp_path / "warm"))
            self.step.step.enhance = StuckSegment(flow.storage, flow.settings, flow.checkpoint, flow.device)

    monkeypatch.setattr("pipeline.flow.videos.SegmentWorker", StuckWorker)
    monkeypatch.setattr("pipeline.flow.videos.Inspect", StuckInspect)
    flags = ["--preset", "ultrafast", "--segment-frames", "10", "--estimate-size", "32"]
    flags += ["--time-limit", str(VIDEO_LIMIT_S)]
    assert main(["videos", str(source), str(out), *flags, "--workers", "2"]) == 1
    rows = {Path(str(row["source"])).name: row for row in rows_of(out)}
    assert len(rows_of(out)) == len(rows) == 4
    found = {name: (row["code"], row["attempts"]) for name, row in rows.items() if row["outcome"] == "failed"}
    assert found == {"endless.mp4": ("timed_out", 1), "opening-endless.mp4": ("timed_out", 1)}
    assert all("--time-limit 5 allows" in str(rows[name]["message"]) for name in found)
    assert sorted(tree(out)) == ["one.mp4", "two.mp4"]
