"""`--others copy`: what is not enhanced is mirrored, byte for byte."""

import json
import os
from pathlib import Path

import pytest

from jobs.bulk.job import Job
from jobs.bulk.others import Copies, copied, job_of_others
from jobs.cli import main
from jobs.images import PHOTO_MEDIA, ImagesConfig
from pipeline.records import Outcome, Record
from pipeline.storage import copying
from pipeline.storage.storage import Storage
from tests.support.clips import clip, streets
from tests.support.media import jpeg, night
from tests.support.outputs import rows_of, table_in, tree
from tests.support.recordings import recording

PHOTO = jpeg(night(32, 48))
SIDECARS = {"a.jpg.xmp": b"<x:xmpmeta/>", "deep/a.jpg.json": b'{"title": "a"}', "notes.txt": b"", "scan.raw": b"II*\0"}


def _source(folder: Path) -> Path:
    for name, content in {**SIDECARS, "a.jpg": PHOTO}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        os.utime(folder / name, ns=(0, 10**18))
    return folder


def _ends(rows: list[dict[str, object]]) -> dict[str, tuple[object, object]]:
    return {Path(str(row["source"])).name: (row["outcome"], row["code"]) for row in rows}


COPIED = dict.fromkeys((Path(name).name for name in SIDECARS), ("done", "copied"))


def test_everything_else_is_mirrored_and_a_rerun_does_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = _source(tmp_path / "in"), tmp_path / "out"
    command = ["images", str(source), str(out), "--others", "copy"]
    assert main([*command, "--dry-run"]) == 0
    assert "other files to copy: 4" in capsys.readouterr().out
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "photos: 1 done" in printed and "other files: 4 done" in printed
    assert {name: content for name, content in tree(out).items() if name in SIDECARS} == SIDECARS
    assert {(out / name).stat().st_mtime_ns for name in SIDECARS} == {10**18}
    assert _ends(rows_of(out)) == {**COPIED, "a.jpg": ("done", "")}
    assert main([*command, "--iterations", "4"]) == 0  # which changes nothing for a copy
    assert len(rows_of(out)) == 6
    (source / "notes.txt").write_text("changed")
    (out / "scan.raw").unlink()
    assert main(["images", str(source), str(out), "--iterations", "4"]) == 0
    assert len(rows_of(out)) == 7  # without the flag the changed one is left out again
    assert main([*command, "--iterations", "4"]) == 0
    assert _ends(rows_of(out)[7:]) == {"notes.txt": ("done", "copied"), "scan.raw": ("done", "copied")}
    assert main(["verify", str(out)]) == 0


def test_what_was_left_out_before_is_copied_when_it_is_asked_for(tmp_path: Path) -> None:
    source, out = _source(tmp_path / "in"), tmp_path / "out"
    assert main(["images", str(source), str(out)]) == 0
    (out / "notes.txt").write_text("somebody's own")
    assert main(["images", str(source), str(out), "--others", "copy"]) == 1
    assert (out / "notes.txt").read_text() == "somebody's own"
    assert _ends(rows_of(out)[5:]) == {**COPIED, "notes.txt": ("failed", "in_the_way")}


def test_a_copy_never_replaces_what_the_job_of_its_kind_has_made(tmp_path: Path) -> None:
    source, out = _source(tmp_path / "in"), tmp_path / "out"
    (source / "street.mp4").write_bytes(clip(streets(6), rate=25))
    photos, videos = ([job, str(source), str(out), "--others", "copy"] for job in ("images", "videos"))
    assert main([*photos, "--exclude", "a.jpg"]) == 0
    assert tree(out)["street.mp4"] == (source / "street.mp4").read_bytes()
    assert main([*videos, "--preset", "ultrafast"]) == 0  # copies the photo
    enhanced = tree(out)["street.mp4"]
    assert enhanced != (source / "street.mp4").read_bytes()
    assert tree(out)["a.jpg"] == PHOTO
    for flags in ([], [], ["--fresh"]):
        assert main([*photos, *flags]) == 0
        assert tree(out)["street.mp4"] == enhanced
        assert tree(out)["a.jpg"] != PHOTO
    rows = len(rows_of(out))
    assert main([*videos, "--preset", "ultrafast"]) == 0
    assert len(rows_of(out)) == rows


def test_a_bucket_is_mirrored(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _source(tmp_path / "in")
    monkeypatch.setattr(copying, "PIECE_BYTES", 5)
    for place, to in ((str(source), f"{bucket}/out"), (f"{bucket}/out", str(tmp_path / "back"))):
        assert main(["images", place, to, "--others", "copy"]) == 0
    assert {name: content for name, content in tree(tmp_path / "back").items() if name in SIDECARS} == SIDECARS
    rows = table_in(bucket, "out/_nightlift/manifest").to_pylist()
    assert _ends(rows) == {**COPIED, "a.jpg": ("done", "")}


@pytest.mark.parametrize("piece_bytes", [5, 100])
def test_a_file_that_changes_while_it_is_copied_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int
) -> None:
    monkeypatch.setattr(copying, "PIECE_BYTES", piece_bytes)
    (tmp_path / "a.txt").write_bytes(b"0123456789")
    source, out = str(tmp_path / "a.txt"), str(tmp_path / "out" / "a.txt")
    record = Record(source=source, version="another", size_bytes=10, destination=out)
    outcome = copied(Storage(), record)
    assert (outcome.outcome, outcome.code) == ("failed", "changed")
    assert tree(tmp_path / "out") == {}


def test_copies_that_are_under_way_end_with_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ImagesConfig(src=str(_source(tmp_path / "in")), dst=str(tmp_path / "out"))
    job = job_of_others([Job.of(PHOTO_MEDIA, config, config.checkpoint())])
    monkeypatch.setattr(copying, "PIECE_BYTES", 1)
    records = [
        Record(source=f"{tmp_path}/in/a.jpg", version="", size_bytes=size, destination=f"{tmp_path}/out/{size}")
        for size in (0, 10**9)
    ]
    outcomes = Copies(job).run(records)
    assert isinstance(next(outcomes), Outcome)
    outcomes.close()
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "0"]


def test_sound_that_is_named_like_a_video_is_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out, told = tmp_path / "in", tmp_path / "out", tmp_path / "told.json"
    sound = {"talk.mp4": recording("ipod", "", "aac"), "deep/talk.mkv": recording("matroska", "", "aac")}
    for name, content in sound.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    command = ["videos", str(source), str(out), "--no-report", "--on-finish", f"cat > {told}"]
    for rows in (2, 2):  # the second run finds nothing new, and says the same
        assert main(command) == 1
        assert len(rows_of(out)) == rows
        summary = json.loads(told.read_text())
        assert (summary["state"], summary["code"], summary["exit_status"]) == ("error", "no_video", 1)
        assert summary["error"] == "nothing was found but sound without video"
    (source / "more.3gp").write_bytes(sound["talk.mp4"])
    sound["more.3gp"] = sound["talk.mp4"]
    for rows in (6, 6):  # of the new one two rows: what was found in it, and its copy
        assert main([*command, "--others", "copy"]) == 0
        assert len(rows_of(out)) == rows
        assert {name: content for name, content in tree(out).items() if name in sound} == sound
        summary = json.loads(told.read_text())
        assert (summary["state"], summary["code"], summary["exit_status"]) == ("done", None, 0)
    assert _ends(rows_of(out)[2:]) == dict.fromkeys(("talk.mp4", "talk.mkv", "more.3gp"), ("done", "copied"))
    (out / "talk.mp4").unlink()
    assert main([*command, "--others", "copy"]) == 0
    assert tree(out)["talk.mp4"] == sound["talk.mp4"]
    assert main(["verify", str(out)]) == 0
