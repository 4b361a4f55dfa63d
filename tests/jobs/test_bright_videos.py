"""--skip-bright for whole folders of videos: what is planned, written, told, and done again."""

from pathlib import Path

import fsspec
import pytest

from jobs.cli import main
from tests.pipeline.video.test_daylight import DUSK, lit_clip
from tests.support.outputs import rows_of, table_in, tree

FAST = ("--preset", "ultrafast", "--segment-frames", "10", "--estimate-size", "32")


def _archive(folder: Path) -> Path:
    folder.mkdir()
    (folder / "day.mp4").write_bytes(lit_clip([0.6] * 30))
    (folder / "noon.avi").write_bytes(lit_clip([0.6] * 30, "avi", "mpeg4"))
    (folder / "dusk.mp4").write_bytes(lit_clip(DUSK))
    (folder / "night.mp4").write_bytes(lit_clip([0.1] * 20))
    (folder / "notes.txt").write_text("of the camera")
    return folder


def _ends(out: Path) -> dict[str, tuple[object, object]]:
    return {Path(str(row["source"])).name: (row["outcome"], row["code"]) for row in rows_of(out)}


BRIGHT, DONE = ("skipped", "already_bright"), ("done", "")


def test_bright_videos_are_copied_once_and_dark_ones_are_enhanced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = _archive(tmp_path / "in"), tmp_path / "out"
    job = ["videos", str(source), str(out), *FAST, "--skip-bright", "copy", "--others", "copy"]
    assert main(job) == 0
    ends = {"day.mp4": BRIGHT, "noon.avi": BRIGHT, "dusk.mp4": DONE, "night.mp4": DONE, "notes.txt": ("done", "copied")}
    assert _ends(out) == ends
    assert sorted(tree(out)) == sorted(ends)
    for name in ("day.mp4", "noon.avi", "notes.txt"):
        assert tree(out)[name] == (source / name).read_bytes()
    told = capsys.readouterr().out
    assert "videos: 2 done, 2 skipped in" in told
    assert "note on" in told
    rows = {Path(str(row["source"])).name: row for row in rows_of(out)}
    assert [rows[name]["frames"] for name in ("day.mp4", "dusk.mp4", "night.mp4")] == [30, len(DUSK), 20]
    assert [rows[name]["night_s"] for name in ("day.mp4", "night.mp4", "notes.txt")] == [0, 0.8, None]
    assert main(job) == 0  # nothing is looked at again
    assert len(rows_of(out)) == 5
    assert "videos: nothing to do; by earlier runs: 2 done, 2 skipped" in capsys.readouterr().out
    assert main(["verify", str(out)]) == 0
    (out / "noon.avi").unlink()
    assert main(job) == 0
    assert tree(out)["noon.avi"] == (source / "noon.avi").read_bytes()
    assert len(rows_of(out)) == 6


def test_bright_videos_that_were_left_are_work_for_another_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = _archive(tmp_path / "in"), tmp_path / "out"
    job = ["videos", str(source), str(out), *FAST, "--skip-bright", "leave", "--exclude", "dusk.mp4"]
    assert main(job) == 0
    assert sorted(tree(out)) == ["night.mp4"]
    assert main(job) == 0
    assert "videos: nothing to do; by earlier runs: 1 done, 3 skipped" in capsys.readouterr().out
    assert main([*job, "--bright-luma", "0.8"]) == 0
    assert sorted(tree(out)) == ["day.mp4", "night.mp4", "noon.mkv"]
    assert main([*job, "--bright-luma", "1.5"]) == 2
    assert "--bright-luma is 1.5; it must be between 0 and 1" in capsys.readouterr().err


def test_a_dry_run_says_how_much_is_night(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = _archive(tmp_path / "in"), tmp_path / "out"
    job = ["videos", str(source), str(out), *FAST, "--dry-run"]
    assert main([*job, "--skip-bright", "leave"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert "bright throughout, to be left out: 2 (0.0 MB)" in told
    assert "night: 2 s of 6 s" in told
    assert any(line.startswith("time: about") for line in told)
    assert main([*job, "--skip-bright", "copy", "--include", "noon.avi", "--include", "day.mp4"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert "bright throughout, to be copied: 2 (0.0 MB)" in told
    assert "night: 0 s of 2 s" in told
    assert not any("no estimate" in line for line in told)
    assert not out.exists()


def test_a_bucket_is_looked_at_and_copied_once(tmp_path: Path, bucket: str) -> None:
    store, source = fsspec.filesystem("s3"), _archive(tmp_path / "in")
    for name in ("day.mp4", "night.mp4"):
        store.put_file(str(source / name), f"{bucket}/in/{name}")
    for _ in range(2):
        assert main(["videos", f"{bucket}/in", f"{bucket}/out", *FAST, "--skip-bright", "copy"]) == 0
    assert store.cat_file(f"{bucket}/out/day.mp4") == (source / "day.mp4").read_bytes()
    rows = table_in(bucket, "out/_nightlift/manifest").to_pylist()
    assert sorted((row["outcome"], row["code"]) for row in rows) == [DONE, BRIGHT]


@pytest.mark.usefixtures("ray_session")
def test_bright_videos_on_ray(tmp_path: Path) -> None:
    source = _archive(tmp_path / "in")
    flags = [*FAST, "--skip-bright", "copy"]
    assert main(["videos", str(source), str(tmp_path / "here"), *flags]) == 0
    assert main(["videos", str(source), str(tmp_path / "ray"), *flags, "--workers", "2"]) == 0
    assert _ends(tmp_path / "ray") == _ends(tmp_path / "here")
    here, ray = ({row["source"]: row for row in rows_of(tmp_path / name)} for name in ("here", "ray"))
    for name in ("frames", "night_s", "luma_before", "luma_after", "notes", "sha256"):
        assert {each: row[name] for each, row in ray.items()} == {each: row[name] for each, row in here.items()}
