"""`nightlift images --sequence`: a time-lapse that does not flicker, in one piece, in several, and on Ray."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from jobs.cli import main
from jobs.images import PHOTO_MEDIA
from pipeline import photos
from pipeline.flow.attempts import ATTEMPTS
from pipeline.records import Outcome
from tests.support.outputs import rows_of, tree

POISON = b"poison"
SUFFIXES = ".jpg", ".png"


def _lapse(folder: Path, count: int = 12, first: int = 1) -> Path:
    """A still scene at night, whose exposure wavers from photo to photo. Its names sort in another order as text."""
    folder.mkdir(exist_ok=True)
    scene = np.random.default_rng(2).uniform(0, 40, (8, 10, 3)).repeat(8, 0).repeat(8, 1)
    for number in range(first, first + count):
        rng, exif = np.random.default_rng(number), Image.Exif()
        exif[ExifTags.Base.Make] = "Camera"
        taken = datetime(2025, 3, 1, 23) - timedelta(seconds=20 * number)
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken.strftime("%Y:%m:%d %H:%M:%S")
        noisy = scene * rng.uniform(0.9, 1.1) + rng.normal(0, 1, scene.shape)
        path = folder / f"lapse{number}{SUFFIXES[number % 3 == 0]}"
        Image.fromarray(noisy.clip(0, 255).round().astype(np.uint8)).save(path, exif=exif)
    return folder


def _outcomes(folder: Path) -> dict[str, tuple[object, object]]:
    rows = rows_of(folder)
    assert len({row["source"] for row in rows}) == len(rows)
    return {Path(str(row["source"])).stem: (row["outcome"], row["code"]) for row in rows}


def _lumas(folder: Path, part: tuple[slice, ...] = np.s_[24:60, 24:76]) -> np.ndarray:
    paths = sorted(folder.glob("lapse*[0-9].*"), key=lambda path: int(path.stem.removeprefix("lapse")))
    return np.array([np.asarray(Image.open(path).convert("L"))[part].mean() for path in paths])


def _jitter(lumas: np.ndarray) -> float:
    return float(np.abs(lumas[1:-1] - (lumas[:-2] + lumas[2:]) / 2).mean() / lumas.mean())


@pytest.mark.usefixtures("ray_session")
def test_a_time_lapse_is_steady_and_the_same_in_pieces_and_on_ray(tmp_path: Path) -> None:
    source, plain, whole, pieces = _lapse(tmp_path / "in"), tmp_path / "plain", tmp_path / "whole", tmp_path / "pieces"
    (source / "lapse6b.jpg").write_bytes(b"no photo")
    frames = [Image.new("RGB", (80, 64), (grey, grey, grey)) for grey in (10, 20)]
    frames[0].save(source / "lapse7b.gif", save_all=True, append_images=frames[1:])
    job = ["images", str(source), "--sequence=name", "--no-report"]
    assert main([*job[:2], str(plain), "--no-report"]) == 1
    assert main([*job, str(whole)]) == 1
    assert main([*job, str(pieces), "--limit", "5"]) == 0
    assert main([*job, str(pieces), "--limit", "2"]) == 1
    assert main([*job, str(tmp_path / "ray"), "--workers", "2"]) == 1
    assert main([*job, str(pieces)]) == 1
    assert tree(whole) == tree(pieces) == tree(tmp_path / "ray")
    outcomes = _outcomes(whole)
    assert outcomes.pop("lapse6b") == ("failed", "not_media")
    assert set(outcomes.values()) == {("done", "")} and len(outcomes) == 13
    noted = {Path(str(row["source"])).stem for row in rows_of(whole) if "no part of a sequence" in str(row["notes"])}
    assert noted == {"lapse7b"}
    with Image.open(whole / "lapse1.jpg") as photo:
        assert photo.getexif()[ExifTags.Base.Make] == "Camera"
    assert _jitter(_lumas(whole)) < 0.5 * _jitter(_lumas(plain)) < 0.5 * _jitter(_lumas(source))


def test_photos_that_are_added_leave_no_seam(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, out = _lapse(tmp_path / "in", 6), tmp_path / "out"
    job = ["images", str(source), str(out), "--no-report", "--sequence"]
    assert main(job) == 0
    _lapse(source, 3, first=7)
    assert main([*job[:2], str(tmp_path / "straight"), *job[3:]]) == 0
    assert main([*job, "--limit", "4"]) == 0  # killed, as it were
    assert main(job) == 0
    assert tree(out) == tree(tmp_path / "straight")
    assert "again, as photos near them are new: 6" in caplog.text
    assert len(rows_of(out)) == 6 + 9
    assert main(job) == 0 and len(rows_of(out)) == 6 + 9  # nothing is left


def test_capture_times_or_names_give_the_order_and_another_order_is_new_work(tmp_path: Path) -> None:
    source, out = _lapse(tmp_path / "in", 8), tmp_path / "out"
    job = ["images", str(source), str(out), "--no-report"]
    assert [main(job), main([*job, "--sequence"]), main([*job, "--sequence", "time"])] == [0, 0, 0]
    assert len(rows_of(out)) == 3 * 8
    reversed_names = tmp_path / "reversed"
    reversed_names.mkdir()
    for path in source.iterdir():
        number = 9 - int(path.stem.removeprefix("lapse"))
        (reversed_names / f"{number}{path.suffix}").write_bytes(path.read_bytes())
    assert main(["images", str(reversed_names), str(tmp_path / "by name"), "--no-report", "--sequence"]) == 0
    assert sorted(tree(tmp_path / "by name").values()) == sorted(tree(out).values())


def test_borders_that_waver_end_no_scene(tmp_path: Path) -> None:
    """Stabilised films move within their frames, and a dark sky may hide the edge of a bar."""
    source, plain, steady = _lapse(tmp_path / "in", 8), tmp_path / "plain", tmp_path / "steady"
    for number, path in enumerate(sorted(source.iterdir())):
        framed, inside = np.zeros((104, 120, 3), np.uint8), np.s_[20 + number % 3 : 84, 20 + number % 2 : 100]
        framed[20:84, 20:100] = np.asarray(Image.open(path))
        framed[inside] += 8  # so that its edges are seen
        framed[: inside[0].start], framed[:, : inside[1].start] = 0, 0
        Image.fromarray(framed).save(path, quality=97, subsampling=0)
    assert main(["images", str(source), str(plain), "--no-report"]) == 0
    assert main(["images", str(source), str(steady), "--no-report", "--sequence"]) == 0
    assert _jitter(_lumas(steady)) < 0.75 * _jitter(_lumas(plain))


def test_borders_that_are_found_in_some_photos_only_make_no_light_flicker(tmp_path: Path) -> None:
    source, plain, steady = _lapse(tmp_path / "in", 9), tmp_path / "plain", tmp_path / "steady"
    for number, path in enumerate(sorted(source.iterdir())):
        framed = np.zeros((128, 120, 3), np.uint8)
        if number % 3 == 0:  # something at the edge of two of these bars
            framed[[0, -1]] = 60
        framed[32:96, 20:100] = np.asarray(Image.open(path)) + np.uint8(8)
        Image.fromarray(framed).save(path.with_suffix(".png"))
        path.with_suffix(".jpg").unlink(missing_ok=True)
    assert main(["images", str(source), str(plain), "--no-report"]) == 0
    assert main(["images", str(source), str(steady), "--no-report", "--sequence"]) == 0
    assert _jitter(_lumas(steady, np.s_[40:90, 24:96])) < 0.5 * _jitter(_lumas(plain, np.s_[40:90, 24:96]))


def test_photos_without_colour_change_nothing_for_those_with_colour(tmp_path: Path) -> None:
    """Trail cameras take photos by infrared light: of one channel, or of three that are alike."""
    source = _lapse(tmp_path / "in", 9)
    infrared = {source / "lapse4.jpg": "L", source / "lapse5.jpg": "RGB", source / "lapse8.jpg": "L"}
    for path, mode in infrared.items():
        Image.open(path).rotate(180).convert("L").convert(mode).save(path)
    assert main(["images", str(source), str(tmp_path / "out"), "--no-report", "--sequence"]) == 0
    for path in infrared:
        path.write_bytes(b"no photo")
    assert main(["images", str(source), str(tmp_path / "without"), "--no-report", "--sequence"]) == 1
    found, without = tree(tmp_path / "out"), tree(tmp_path / "without")
    assert len(found) == 9 and len(without) == 6 and found.items() >= without.items()


def _dying(make: Callable[[], Callable[..., Outcome]]) -> Callable[..., Outcome]:
    """A worker that dies whenever it decodes a poisoned photo."""
    decode = photos.decode

    def decoded(data: bytes, **limits: object) -> object:
        if POISON in data:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(data, **limits)  # type: ignore[arg-type]

    photos.decode = decoded  # type: ignore[assignment]
    worker = make()
    return lambda record, on_part: worker(record, on_part)


def test_a_photo_at_which_workers_die_is_named_and_its_neighbours_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _lapse(tmp_path / "in", 5)
    with (source / "lapse4.jpg").open("ab") as file:
        file.write(POISON)
    media = replace(PHOTO_MEDIA, worker=lambda job: partial(_dying, PHOTO_MEDIA.worker(job)))
    monkeypatch.setattr("jobs.images.PHOTO_MEDIA", media)
    assert main(["images", str(source), str(tmp_path / "out"), "--no-report", "--sequence"]) == 1
    rows = {Path(str(row["source"])).stem: (row["outcome"], row["code"]) for row in rows_of(tmp_path / "out")}
    expected = {f"lapse{number}": ("done", "") for number in (1, 2, 3, 5)} | {"lapse4": ("failed", "worker_died")}
    assert rows == expected
    (source / "lapse4.jpg").write_bytes(b"no photo")
    monkeypatch.undo()
    assert main(["images", str(source), str(tmp_path / "damaged"), "--no-report", "--sequence"]) == 1
    assert tree(tmp_path / "damaged") == tree(tmp_path / "out")
    assert {row["attempts"] for row in rows_of(tmp_path / "out")} == {1, ATTEMPTS}


def test_flags_that_do_not_go_together_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = ["images", str(_lapse(tmp_path / "in", 1)), str(tmp_path / "out"), "--sequence", "name"]
    assert main([*job, "--topology", "split"]) == 2
    assert main([*job, "--estimate-size", "full"]) == 2
    assert main([*job[:3], "--sequence", "by-size"]) == 2
    told = capsys.readouterr().err
    assert "--topology split" in told and "give --estimate-size a number" in told and '--sequence is "by-size"' in told
