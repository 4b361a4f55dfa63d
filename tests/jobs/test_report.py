"""The report: one file that says what the manifest says, whatever is in names, and asks nothing of the network."""

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from threading import Event
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.cli import main
from jobs.report.results import Results, Rows
from jobs.report.results_page import results_page
from jobs.report.tables import SHOWN_FILES, SHOWN_NOTES, SHOWN_RUNS, groups, notes, runs, settings, stages, summary
from jobs.report.thumbnails import PAIRS, Camera, choices
from jobs.signals import Terminated
from pipeline.errors import StorageError
from pipeline.planning.manifest import Manifest
from pipeline.records import OUTCOME_SCHEMA, Outcome, Record
from pipeline.storage.storage import Storage
from tests.support.browser import launched, page_of
from tests.support.clips import clip, street
from tests.support.killed import HANGS_S, ROOT
from tests.support.media import night

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
HOSTILE = """<script>alert('x')</script>"onerror="x".jpg"""


def _row(source: str, number: int = 0, **changes: object) -> Outcome:
    """A photo that was done; `number`: seconds after the others."""
    record = Record(source=source, version="v1", size_bytes=3_000_000, destination=f"/out{source}")
    done = replace(
        Outcome.of(record),
        outcome="done",
        started_at=STARTED + timedelta(seconds=number),
        seconds_read=0.1,
        seconds_decode=0.3,
        seconds_enhance=0.2,
        seconds_encode=0.3,
        seconds_write=0.1,
        bytes_out=2_000_000,
        width_px=4000,
        height_px=3000,
        frames=1,
        luma_before=0.1,
        luma_after=0.4,
    )
    return replace(done, **changes)


def _write(folder: Path | str, rows: Sequence[Outcome], run: str = "20260101T000000000000-ab") -> None:
    """One run's rows, in `folder`."""
    manifest = Manifest(Storage(), str(folder), "f1", {"iterations": 8})
    manifest.run = run
    manifest.append(rows)
    manifest.close()


def _files(folder: Path | str) -> Rows:
    return Results.read(Storage(), str(folder)).files


class _Page(HTMLParser):
    """What a browser makes of the page: elements with their attributes, and text."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(content.decode())
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def _report(folder: Path | str) -> _Page:
    assert main(["report", str(folder)]) == 0
    return _page(folder)


def _page(folder: Path | str) -> _Page:
    page = _Page(Path(folder, "_nightlift", "report.html").read_bytes())
    _assert_self_contained(page)
    return page


def _assert_self_contained(page: _Page) -> None:
    """Nothing is fetched, nothing runs, and every image has words."""
    places = [value or "" for _, attributes in page.elements for name, value in attributes.items() if name in LOADING]
    assert all(place.startswith("data:image/") for place in places)
    assert not {"script", "link", "iframe", "object", "base", "form", "a"} & {tag for tag, _ in page.elements}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert all(image["alt"] for image in page.of("img"))
    [policy] = [meta["content"] for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")


LOADING = {"src", "href", "srcset", "data", "action", "poster", "xlink:href"}


def test_totals_are_those_of_the_newest_row_of_each_file(tmp_path: Path) -> None:
    first = [_row(f"/in/{number}.jpg", number) for number in range(12)]
    first.append(_row("/in/film.mp4", frames=50))
    first += [
        _row(f"/in/bad{number}.jpg", outcome="failed", code="damaged", message="cut", bytes_out=0) for number in (1, 2)
    ]
    _write(tmp_path, first)
    later = [_row("/in/bad1.jpg", 99), _row("/in/0.jpg", 99, outcome="skipped", code="already_bright", bytes_out=0)]
    _write(tmp_path, later, "20260102T000000000000-cd")
    files = _files(tmp_path)
    rows = {row["source"]: row for row in Manifest(Storage(), str(tmp_path), "", {}).read().to_pylist()}
    assert len(files) == len(rows) == 15
    for ending in ("done", "skipped", "failed"):
        assert files.ended(ending).sum() == sum(row["outcome"] == ending for row in rows.values())
    assert summary(files) == "12 photos and 1 video done, 1 skipped, 1 failed."
    assert [(group.outcome, group.code, group.count) for group in groups(files)] == [
        ("failed", "damaged", 1),
        ("skipped", "already_bright", 1),
    ]
    assert sum(stage.seconds for stage in stages(files)) == pytest.approx(15 * 1.0)
    assert sum(stage.share for stage in stages(files)) == pytest.approx(1)
    told, older = runs(Results.read(Storage(), str(tmp_path)).rows)
    assert [(run.done, run.skipped, run.failed) for run in told] == [(1, 1, 0), (13, 0, 2)]
    assert older == 0
    page = _report(tmp_path)
    assert "12 photos and 1 video done, 1 skipped, 1 failed." in page.text


def test_a_long_gap_between_runs_does_not_flatten_the_newest_one(tmp_path: Path) -> None:
    _write(tmp_path, [_row(f"/in/{number}.jpg", number) for number in range(20)])
    late = [_row(f"/in/new{number}.jpg", 10**7 + number) for number in range(30)]
    _write(tmp_path, late, "20260501T000000000000-cd")
    assert "1.0 photos and 12.0 megapixels per second on average" in _report(tmp_path).text


def test_names_and_messages_are_text_whatever_is_in_them(tmp_path: Path) -> None:
    changes = {"outcome": "failed", "code": "damaged", "bytes_out": 0}
    bad = [_row(f"/in/{HOSTILE}", message=f"{HOSTILE}: <b>cut</b> \x1b[31m\u202e", **changes)]
    _write(tmp_path, [*bad, _row(f"/in/done{HOSTILE}", notes=[f"<img src=x onerror=y> {HOSTILE}"])])
    runs = tmp_path / "_nightlift" / "runs"
    runs.mkdir()
    record = {"run": "20260101T000000000000-ab", "weights": HOSTILE, "</td><script>": HOSTILE}
    (runs / "20260101T000000000000-ab.json").write_text(json.dumps(record))
    page = _report(tmp_path)
    assert HOSTILE in page.text
    assert f"done{HOSTILE}" in page.text
    assert "<img src=x onerror=y>" in page.text
    assert "</td><script>" in page.text
    assert not {"\x1b", "\u202e"} & set(page.text)


def test_no_signature_or_password_is_shown(tmp_path: Path) -> None:
    record = Record(
        source="https://user:word@host/a.jpg?sig=5ecret", version="", size_bytes=1, destination="/out/a.jpg"
    )
    _write(tmp_path, [replace(Outcome.of(record), outcome="failed", code="not_found", message="gone")])
    assert main(["report", str(tmp_path)]) == 0
    content = (tmp_path / "_nightlift" / "report.html").read_bytes()
    assert b"5ecret" not in content
    assert b"user:word" not in content


def test_of_many_files_a_few_are_shown_and_the_rest_is_told(tmp_path: Path) -> None:
    failed = [_row(f"/in/bad{n}.jpg", outcome="failed", code="damaged", message="cut", bytes_out=0) for n in range(50)]
    noted = [_row(f"/in/{n}.jpg", notes=["palette became RGB", f"note {n}"]) for n in range(40)]
    _write(tmp_path, [*failed, *noted])
    for number in range(SHOWN_RUNS + 3):
        _write(tmp_path, [_row("/in/again.jpg", number)], f"20260102T0000{number:02}000000-cd")
    files = _files(tmp_path)
    [group] = groups(files)
    assert (group.count, len(group.files)) == (50, SHOWN_FILES)
    found, others = notes(files)
    assert (found[0].text, found[0].count, list(found[0].names)) == (
        "palette became RGB",
        40,
        ["0.jpg", "1.jpg", "2.jpg"],
    )
    assert (len(found), others) == (SHOWN_NOTES, 41 - SHOWN_NOTES)
    page = _report(tmp_path)
    assert f"and {50 - SHOWN_FILES} more with this code" in page.text
    assert f"and {41 - SHOWN_NOTES} more notes" in page.text
    assert "and 4 more runs: see the manifest" in page.text


def test_images_are_chosen_by_what_the_page_says(tmp_path: Path) -> None:
    before = np.linspace(0.02, 0.6, 60)
    lift = 1.5 + (np.arange(60) % 7)
    made = [
        _row(f"/in/{n:02}.jpg", luma_before=float(luma), luma_after=float(luma * by))
        for n, (luma, by) in enumerate(zip(before, lift, strict=True))
    ]
    _write(
        tmp_path, [*made, _row("/in/left.jpg", outcome="skipped", code="already_bright", bytes_out=0, luma_before=0.0)]
    )
    files = _files(tmp_path)
    darkest, least, random = (files.names(places) for _, _, places in choices(files))
    assert darkest == [f"{n:02}.jpg" for n in range(PAIRS)]
    of_darker_half = sorted(lift[PAIRS:30])
    assert sorted(lift[int(name[:2])] for name in least) == of_darker_half[:PAIRS]
    assert len({*darkest, *least, *random}) == 3 * PAIRS
    assert [files.names(places) for _, _, places in choices(files)] == [darkest, least, random]


def _photos(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(night(seed=number)).save(folder / f"{number}.png")
    return folder


def _done_photos(tmp_path: Path, count: int) -> tuple[list[Outcome], Path, Path]:
    """Rows of photos that are there, before and after, as if a job had done them."""
    source, out = _photos(tmp_path / "in", count), _photos(tmp_path / "out", count)
    rows = [_row(str(source / f"{n}.png"), n, destination=str(out / f"{n}.png")) for n in range(count)]
    _write(out, rows)
    return rows, source, out


def test_an_image_that_cannot_be_made_costs_no_other(tmp_path: Path) -> None:
    _, source, out = _done_photos(tmp_path, 4)
    (source / "1.png").unlink()
    (out / "2.png").write_bytes(b"no photo")
    page = _report(out)
    images = [image for image in page.of("img") if "base64" in (image["src"] or "") and "jpeg" in (image["src"] or "")]
    assert len(images) == 2 * 4 - 2
    assert {image["alt"] for image in images} >= {"1.png, after", "2.png, before", "3.png, before", "3.png, after"}
    assert "1.png, before: " in page.text
    assert "nothing is there" in page.text
    assert "2.png, after: " in page.text


def test_without_time_there_is_a_page_without_images(tmp_path: Path) -> None:
    _, _, out = _done_photos(tmp_path, 2)
    page = _Page(results_page(Results.read(Storage(), str(out)), Storage(), seconds=-1))
    assert "0.png, before: left out because time ran out" in page.text
    assert "2 photos done." in page.text


def test_storage_that_never_answers_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, source, out = _done_photos(tmp_path, 3)
    read, answer = Storage.read, Event()

    def silent(self: Storage, url: str) -> bytes:
        if url == str(source / "1.png"):
            answer.wait(60)
        return read(self, url)

    monkeypatch.setattr(Storage, "read", silent)
    monkeypatch.setattr("jobs.report.thumbnails.GRACE_S", 1.0)
    try:
        page = _Page(results_page(Results.read(Storage(), str(out)), Storage(), seconds=3))
    finally:
        answer.set()
    assert "1.png, before: left out because time ran out" in page.text
    assert {"0.png, after", "2.png, after"} <= {image["alt"] for image in page.of("img")}


@pytest.mark.slow
def test_a_browser_shows_all_of_it_from_disk(tmp_path: Path) -> None:
    _, _, out = _done_photos(tmp_path, 3)
    _report(out)
    with launched() as browser, page_of(browser) as page:
        page.goto((out / "_nightlift" / "report.html").as_uri())
        widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
        assert len(widths) > 6
        assert min(widths) > 0
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgba(0, 0, 0, 0)"
        page.set_viewport_size({"width": 360, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_dark_opening_of_a_clip_is_seen(tmp_path: Path) -> None:
    frames = [street(number, level=2.0) for number in range(50)]
    (tmp_path / "before.mp4").write_bytes(clip(frames))
    (tmp_path / "after.mp4").write_bytes(clip([street(0, level=0.2)] + [street(n, level=4.0) for n in range(1, 50)]))
    place = str(tmp_path / "before.mp4")
    _write(tmp_path, [_row(place, destination=str(tmp_path / "after.mp4"), frames=50)])
    files = _files(tmp_path)
    camera = Camera(Storage(), 60)
    [drawn] = camera.clips(files, [0])
    assert (drawn.before.at_s[0], drawn.after.at_s[0]) == (0, 0)
    assert drawn.after.luma[0] < 0.5 * min(drawn.after.luma[1:])
    assert min(drawn.before.luma) > 0.8 * max(drawn.before.luma)
    [pair] = camera.pairs(files, [0])
    assert not pair.before.problem + pair.after.problem
    page = _report(tmp_path)
    assert "Mean luma of before.mp4 over time" in " ".join(image["alt"] or "" for image in page.of("img"))


def test_from_a_bucket_to_a_bucket(bucket: str) -> None:
    storage = Storage.from_environment([bucket], {})
    for place in ("in", "out"):
        storage.write(f"{bucket}/{place}/a.png", _png())
    row = replace(_row(f"{bucket}/in/a.png"), destination=f"{bucket}/out/a.png")
    manifest = Manifest(storage, f"{bucket}/out", "f1", {"iterations": 8})
    manifest.begin()
    manifest.append([row])
    manifest.close()
    assert main(["report", f"{bucket}/out"]) == 0
    assert main(["report", f"{bucket}/out", "--out", f"{bucket}/pages/night.html"]) == 0
    for place in ("out/_nightlift/report.html", "pages/night.html"):
        page = _Page(storage.read(f"{bucket}/{place}"))
        _assert_self_contained(page)
        assert {"a.png, before", "a.png, after"} <= {image["alt"] for image in page.of("img")}
        assert "iterations 8" in page.text


def _png() -> bytes:
    sink = io.BytesIO()
    Image.fromarray(night()).save(sink, "PNG")
    return sink.getvalue()


def test_settings_of_the_newest_run_of_each_kind_of_job_are_shown(tmp_path: Path) -> None:
    for number in range(3):
        for kind in ("photos", "videos"):
            manifest = Manifest(Storage(), str(tmp_path), "f1", {kind: number, "look": {"iterations": 8}, "crf": None})
            manifest.begin()
    (tmp_path / "_nightlift" / "runs" / "x.json").write_text("no record")
    shown = [dict(record.values) for record in settings(Storage(), str(tmp_path))]
    assert shown == [
        {"fingerprint": "f1", kind: "2", "look.iterations": "8", "crf": "-"} for kind in ("videos", "photos")
    ]


HISTORY = [
    {
        "epoch": epoch,
        "seconds": 60.0,
        "learning_rate": 1e-3,
        "gradient_norm": 0.3,
        "training_total": 3.0 / epoch,
        "training_flat": 3.0 / epoch,
        "validation_total": 4.0 / epoch,
        "validation_flat": 4.0 / epoch,
    }
    for epoch in range(1, 13)
]


def test_of_a_training_losses_sheets_files_and_settings_are_shown(tmp_path: Path) -> None:
    from jobs.train.loss_record import parquet
    from model import DEFAULT_WEIGHTS, load, to_bytes

    (tmp_path / "losses.parquet").write_bytes(parquet(HISTORY))
    (tmp_path / "sheets").mkdir()
    for epoch in range(1, 13):
        noise = np.random.default_rng(epoch).integers(0, 255, (1500, 1400, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "sheets" / f"epoch-{epoch:04}.png", compress_level=0)
    (tmp_path / "sheets" / "epoch-0001.png").write_bytes(b"no image")
    notes = {"settings": json.dumps({"recipe": HOSTILE}), "photos": json.dumps({"count": 30, "held_out": 2})}
    shipped = load(DEFAULT_WEIGHTS["plus"])
    (tmp_path / "weights.safetensors").write_bytes(to_bytes(replace(shipped, notes=notes)))
    failed = _row("/in/bad.jpg", outcome="failed", code="damaged", message="bad.jpg: cut", bytes_out=0)
    _write(tmp_path, [_row("/in/a.jpg", bytes_out=0), failed])
    page = _report(tmp_path)
    assert "12 epochs of training on 30 photos and frames, 2 held out." in page.text
    words = [image["alt"] or "" for image in page.of("img")]
    assert any("training total 0.250" in each and "validation flat 0.333" in each for each in words)
    assert [each for each in words if "epoch" in each][1:] == [f"Contact sheet after epoch {n}" for n in (12, 10, 7, 4)]
    assert "Contact sheet after epoch 1: " in page.text
    assert "1 photo done, 1 failed." in page.text
    assert HOSTILE in page.text
    assert (tmp_path / "_nightlift" / "report.html").stat().st_size < 3_000_000


def test_a_training_whose_weights_and_manifest_are_gone_still_shows_its_losses(tmp_path: Path) -> None:
    from jobs.train.loss_record import parquet

    (tmp_path / "losses.parquet").write_bytes(parquet(HISTORY[:1]))
    assert "1 epoch of training." in _report(tmp_path).text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["empty"], "no manifest of a job there"),
        (["none"], "nothing is there; give the folder"),
        (["afile"], "is a file; give the folder"),
        ([" "], "DST is empty"),
        (["https://host/out"], "nightlift cannot write to a web server"),
        (["empty", "--out", "photo.jpg"], "ends in .html"),
        (["empty", "--storage-options", "{"], "not JSON"),
    ],
)
def test_wrong_usage_is_one_clear_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "afile").write_bytes(b"-")
    monkeypatch.chdir(tmp_path)
    assert main(["report", *arguments]) == 2
    [error] = capsys.readouterr().err.splitlines()
    assert error.startswith("nightlift: ")
    assert told in error
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["afile", "empty"]


@pytest.fixture(scope="module")
def job(ray_session: object, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of a job that has run: three photos, and two files that are none."""
    folder = tmp_path_factory.mktemp("job")
    source, out = _photos(folder / "in", 3), folder / "out"
    (source / "broken.jpg").write_bytes(b"no photo")
    command = ["images", str(source), str(out)]
    assert main([*command, "--no-report"]) == 1
    (source / "broken.jpg").unlink()
    (source / "notes.txt").write_text("no photo")
    assert main([*command, "--dry-run"]) == 0
    assert not (out / "_nightlift" / "report.html").exists()
    assert main(command) == 0
    return command


def test_a_job_draws_its_report_at_the_end(job: list[str]) -> None:
    page = _page(job[-1])
    assert "3 photos done, 1 skipped, 1 failed." in page.text
    images = {f"{number}.png, {when}" for number in range(3) for when in ("before", "after")}
    assert images <= {image["alt"] for image in page.of("img")}
    assert "weights dce" in page.text


def test_where_nothing_is_new_the_report_stays(job: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    report = Path(job[-1], "_nightlift", "report.html")
    written = report.stat().st_mtime_ns
    assert main(job) == 0
    assert report.stat().st_mtime_ns == written
    assert f"report:   {report}\n" in capsys.readouterr().out
    report.unlink()
    assert main(job) == 0
    assert report.exists()


def test_a_report_that_fails_changes_no_exit_status(
    job: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = Path(job[-1], "_nightlift", "report.html")
    report.unlink()
    with monkeypatch.context() as broken:
        broken.setattr(Storage, "write", _fail)
        assert main(job) == 0
    assert "the report was not written: the disk is full" in caplog.text
    assert "report:" not in capsys.readouterr().out
    assert not report.exists()


def _fail(*_: object) -> None:
    raise StorageError("the disk is full")


def test_stopped_while_it_is_drawn_a_job_says_so(
    job: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stopped(*_: object) -> NoReturn:
        raise Terminated

    Path(job[-1], "_nightlift", "report.html").unlink(missing_ok=True)
    monkeypatch.setattr(Storage, "write", stopped)
    assert main(job) == 143
    told = capsys.readouterr()
    assert "photos: " in told.out
    assert "the report was not written; to write it: nightlift report" in caplog.text
    assert "nightlift: stopped; run the same command again" in told.err


@pytest.mark.usefixtures("ray_session")
def test_a_stopped_job_draws_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.bulk.run.outcomes_here", stopped)
    out = tmp_path / "out"
    assert main(["images", str(_photos(tmp_path / "in", 1)), str(out)]) == 130
    assert not (out / "_nightlift" / "report.html").exists()


ROWS, RUNS = 200_000, 4
MOST_BYTES = 160_000_000 + 900 * ROWS  # each with a message and a note of its own
MEASURED = """
import json, sys, time
from pathlib import Path
import matplotlib.figure
from jobs.report.results import Results
from jobs.report.results_page import results_page
from pipeline.storage.storage import Storage

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024

before = peak()
page = results_page(Results.read(Storage(), sys.argv[1]), Storage(), seconds=-1)
print(json.dumps([len(page), peak() - before, "160,000 photos done, 40,000 failed." in page.decode()]))
"""


def _many_rows(folder: Path) -> None:
    """`RUNS` parts, each of a run of its own, of which every fifth file failed."""
    parts = folder / "_nightlift" / "manifest"
    parts.mkdir(parents=True)
    count = ROWS // RUNS
    rng = np.random.default_rng(0)
    for run in range(RUNS):
        numbers = range(run * count, (run + 1) * count)
        bad = np.arange(count) % 5 == 0
        columns = {
            "source": [f"s3://night/archive/2024/{number // 1000:04}/IMG_{number:08}.jpg" for number in numbers],
            "destination": [f"s3://bright/archive/2024/{number // 1000:04}/IMG_{number:08}.jpg" for number in numbers],
            "outcome": np.where(bad, "failed", "done").tolist(),
            "code": np.where(bad, "damaged", "").tolist(),
            "message": [
                f"IMG_{number:08}.jpg: it ends after {number} bytes; copy the file again" for number in numbers
            ],
            "started_at": int(STARTED.timestamp()) * 10**6 + np.arange(count) * 10_000,
            "notes": [[f"note {number}"] for number in numbers],
            "run": [f"2026010{run}T000000000000-ab"] * count,
        }
        for field in OUTCOME_SCHEMA:
            if field.name.startswith(("seconds", "luma", "night")):
                columns[field.name] = rng.random(count)
            elif field.type == pa.int64():
                columns[field.name] = np.full(count, 3000)
            columns.setdefault(field.name, ["f" * 32] * count)
        arrays = {field.name: pa.array(columns[field.name]).cast(field.type, safe=False) for field in OUTCOME_SCHEMA}
        pq.write_table(pa.table(arrays), parts / f"{run}.parquet", compression="zstd")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is told by Linux")
def test_many_rows_make_a_small_page_in_little_memory(tmp_path: Path) -> None:
    _many_rows(tmp_path)
    command = [sys.executable, "-c", MEASURED, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=HANGS_S)
    assert done.returncode == 0, done.stderr
    page_bytes, memory_bytes, counted = json.loads(done.stdout)
    assert counted
    assert page_bytes < 300_000
    assert memory_bytes < MOST_BYTES
