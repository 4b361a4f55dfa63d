"""What a run says of its files: counts of what there is, each file once, and the time that a person has waited."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs import clock
from jobs.bulk.estimate import Estimate, report
from jobs.bulk.summary import Tally, to_do
from jobs.cli import main
from jobs.report.results import Results
from jobs.report.tables import cost
from pipeline.planning.manifest import Manifest
from pipeline.planning.plan import Plan, Refusal
from pipeline.records import Outcome, Record
from pipeline.storage.listing import Listed
from pipeline.storage.storage import Storage

NIGHT = np.random.default_rng(5).integers(0, 50, (60, 80, 3), dtype=np.uint8)


def _records(count: int) -> list[Record]:
    return [Record(source=f"{each}", version="", size_bytes=1, destination="") for each in range(count)]


def _refusal(code: str) -> Refusal:
    return Refusal(Listed(url="/in/a", root="/in"), code, "reason")


@pytest.mark.parametrize(
    ("plan", "counts", "planned", "summary"),
    [
        (Plan(), {}, "photos to do: 0", "photos: nothing to do"),
        (Plan(records=_records(1)), {"done": 1}, "photos to do: 1", "photos: 1 done in 0 s"),
        (
            Plan(records=_records(1), later=1200),
            {"done": 1},
            "photos to do: 1; left for the next run by --limit: 1,200",
            "photos: 1 done in 0 s; left for the next run by --limit: 1,200",
        ),
        (Plan(records=_records(3)), {}, "photos to do: 3", "photos: 0 done in 0 s; 3 left"),
        (
            Plan(records=_records(2000), done=5),
            {"done": 1500, "failed": 1},
            "photos to do: 2,000; by earlier runs: 5 done",
            "photos: 1,500 done, 1 failed in 0 s; 499 left; by earlier runs: 5 done",
        ),
        (
            Plan(refused=[_refusal("not_a_photo"), _refusal("bad_name"), _refusal("collision")], done=1, skipped=1),
            {"skipped": 1, "failed": 2},
            "photos to do: 0; by earlier runs: 1 done, 1 skipped; left out: 1; cannot be done: 2",
            "photos: 1 skipped, 2 failed in 0 s; by earlier runs: 1 done, 1 skipped",
        ),
    ],
)
def test_only_what_there_is_is_counted(plan: Plan, counts: dict[str, int], planned: str, summary: str) -> None:
    tally = Tally()
    tally.count.update(counts)
    assert to_do("photo", plan) == planned
    assert tally.summary("photo", plan).splitlines()[0] == summary


def test_a_run_counts_once_names_each_file_once_and_tells_how_long_it_took(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    Image.fromarray(NIGHT).save(source / "a.png")
    (source / "tab\t.jpg").write_text("no photo")
    caplog.set_level("INFO", "nightlift")
    assert main(["images", str(source), str(out), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("photos to do") == 1
    assert re.search(r"^time: about \d+ s: 3 s to start, and \d+ s of work without Ray$", printed, re.MULTILINE)
    assert "photos to do" not in caplog.text
    assert main(["images", str(source), str(out), "--no-report"]) == 1
    printed = capsys.readouterr().out
    assert "photos to do: 2" in caplog.messages
    assert "enhancing 2 photos on this machine, without Ray" in caplog.messages
    assert re.search(r"^photos: 1 done, 1 failed in \d+ s$", printed, re.MULTILINE)
    assert f"  failed, not_media: {source}/tab\\t.jpg: it is not an image" in printed
    assert printed.count("tab") == 1
    monkeypatch.setattr(clock, "begin", lambda: setattr(clock, "_begun_at", time.monotonic() - 1000))  # loading
    assert main(["images", str(source / "a.png"), str(out / "b.png"), "--no-report"]) == 0
    assert re.search(r"^photos: 1 done in 1\d\d\d s$", capsys.readouterr().out, re.MULTILINE)
    assert "enhancing 1 photo on this machine, without Ray" in caplog.messages


def test_outputs_of_another_job_that_are_named_one_by_one_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(NIGHT).save(tmp_path / "in" / name)
    lit = tmp_path / "lit"
    assert main(["images", str(tmp_path / "in"), str(lit), "--limit", "1"]) == 0
    assert "photos: 1 done" in (told := capsys.readouterr().out) and "left for the next run by --limit: 1" in told
    (tmp_path / "list").write_text(f"{lit}/a.png\n")
    for source in (f"@{tmp_path}/list", f"{lit}/*.png", f"{lit}/a.png"):
        caplog.clear()
        assert main(["images", source, str(tmp_path / "out"), "--dry-run"]) == 0
        assert f"{lit}/ contains outputs of another job, which are now enhanced again" in caplog.text
    Image.fromarray(NIGHT).save(lit / "mine.png")
    for source, to in ((f"{tmp_path}/in/a.png", f"{lit}/c.png"), (f"{lit}/mine.png", f"{tmp_path}/out")):
        caplog.clear()
        assert main(["images", source, to, "--dry-run"]) == 0
        assert "another job" not in caplog.text


def test_costs_are_of_the_work_on_cores(tmp_path: Path) -> None:
    manifest = Manifest(Storage(), str(tmp_path), "f", {"price": 0.36})
    manifest.begin()
    done = Outcome(source="/in/a.jpg", version="", destination="", outcome="done", frames=9_000, bytes_out=1)
    done.seconds_read, done.seconds_decode, done.seconds_enhance, done.seconds_encode = 1000, 10, 20, 70
    tally = Tally()
    tally.add(manifest, [done])
    manifest.close()
    assert tally.cost("photo", 0.36) == "cost:     0.010 for 0.028 core-hours at 0.36; 10.00 per thousand photos"
    assert tally.cost("video", 0.36).endswith("; 0.10 per hour of film at 25 frames a second")
    assert "cost: about 0.010 for 0.028" in report([Estimate([], core_s=100)], 1, on_ray=True, price=0.36)
    files = Results.read(Storage(), str(tmp_path)).files
    assert cost(Storage(), str(tmp_path), files) == [("cost, at 0.36 a core-hour", "0.010")]
