"""Comparisons: each file of a finished job before and after, in one photo or film."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.cli import main
from pipeline.planning.manifest import Manifest
from pipeline.records import Outcome, Record
from pipeline.storage.storage import Storage
from tests.support.clips import Sound, clip, packets, rgb, times
from tests.support.media import Samples, saved

DARK, LIGHT = 30, 140
LEVELS = 6  # as lossy codecs may differ


def _plain(level: int, width: int = 96, height: int = 64) -> Samples:
    return np.full((height, width, 3), level, np.uint8)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A folder with `in`, and with `out` as a job leaves it."""
    files: dict[str, tuple[bytes, bytes]] = {
        "yard/a.jpg": (saved(_plain(DARK), "JPEG"), saved(_plain(LIGHT), "JPEG")),
        "b.png": (saved(_plain(DARK, 40, 64), "PNG"), saved(_plain(LIGHT, 40, 64), "PNG")),
        "clip.mp4": (
            clip([_plain(DARK)] * 25, rate=10, extras=Sound(seconds=2.5)),
            clip([_plain(LIGHT)] * 25, rate=10, extras=Sound(seconds=2.5)),
        ),
        "failed.jpg": (b"broken", b""),
        "notes.txt": (b"copied", b"copied"),
        "IMG.jpg(1)": (saved(_plain(DARK), "JPEG"), saved(_plain(LIGHT), "JPEG")),
    }
    manifest = Manifest(Storage(), str(tmp_path / "out"), "settings", {})
    manifest.begin()
    for name, contents in files.items():
        for folder, content in zip(("in", "out"), contents, strict=True):
            if content:
                path = tmp_path / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        source, target = (str(tmp_path / folder / name) for folder in ("in", "out"))
        outcome = Outcome.of(Record(source=source, version="1", size_bytes=1, destination=target))
        outcome.outcome = "done" if contents[1] else "failed"
        outcome.bytes_out, outcome.frames = len(contents[1]), 1
        outcome.code = "copied" if name == "notes.txt" else ""
        manifest.append([outcome])
    manifest.close()
    return tmp_path


def _compared(job: Path, *flags: str) -> int:
    return main(["compare", str(job / "in"), str(job / "out"), str(job / "shown"), *flags])


def _levels(pixels: Samples) -> tuple[int, int]:
    """The level near the left and near the right edge, at half height."""
    row = pixels[len(pixels) // 2].mean(axis=1)
    return round(row[2]), round(row[-3])


def _is_both(pixels: Samples, left: int = DARK, right: int = LIGHT) -> bool:
    return np.allclose(_levels(pixels), (left, right), atol=LEVELS)


@pytest.mark.parametrize(("layout", "width"), [("side", 2 * 96 + 4), ("split", 96)])
def test_photos_and_films_show_both_sides_and_keep_their_folders(job: Path, layout: str, width: int) -> None:
    assert _compared(job, "--layout", layout) == 0
    shown = job / "shown"
    assert {str(path.relative_to(shown)) for path in shown.rglob("*.*")} == {
        *("yard/a.webp", "b.webp", "clip.mp4", "IMG.jpg(1).webp")
    }
    photo = np.asarray(Image.open(shown / "yard/a.webp").convert("RGB"))
    assert photo.shape == (64, width, 3)
    assert _is_both(photo)
    frames = rgb(shown / "clip.mp4")
    assert (len(frames), frames[0].shape) == (25, (64, width, 3))
    assert all(map(_is_both, frames))
    assert times(shown / "clip.mp4") == times(job / "out/clip.mp4")
    assert packets(shown / "clip.mp4", "audio") == packets(job / "out/clip.mp4", "audio")


def test_in_turns_each_is_shown_for_a_second(job: Path) -> None:
    assert _compared(job, "--layout", "flip") == 0
    with Image.open(job / "shown/b.webp") as photo:
        assert (photo.n_frames, photo.size) == (2, (40, 64))
    seen = [_levels(frame)[0] for frame in rgb(job / "shown/clip.mp4")]
    assert np.allclose(seen, [DARK] * 10 + [LIGHT] * 10 + [DARK] * 5, atol=LEVELS)


def test_a_part_smaller_and_again(job: Path) -> None:
    for _ in range(2):  # what is there is ours to replace
        assert _compared(job, "--include", "yard/*", "--long-side-px", "64") == 0
    with Image.open(job / "shown/yard/a.webp") as photo:
        assert photo.size == (2 * 64 + 4, 42)
    assert not (job / "shown/clip.mp4").exists()


def test_one_file(job: Path) -> None:
    assert main(["compare", str(job / "in/clip.mp4"), str(job / "out"), str(job / "one.mp4")]) == 0
    assert len(rgb(job / "one.mp4")) == 25


def test_frames_are_paired_by_their_times(job: Path) -> None:
    frames = [_plain(40 + 8 * number) for number in range(10)]
    (job / "in/clip.mp4").write_bytes(clip(frames, rate=10))
    (job / "out/clip.mp4").write_bytes(clip(frames[::2], rate=5))  # as if half of them had been lost
    assert _compared(job, "--include", "*.mp4") == 0
    assert all(_is_both(frame, 40 + 16 * at, 40 + 16 * at) for at, frame in enumerate(rgb(job / "shown/clip.mp4")))


def test_what_cannot_be_shown_is_named_and_the_others_are_shown(job: Path, caplog: pytest.LogCaptureFixture) -> None:
    (job / "out/b.png").write_bytes(b"cut off")
    (job / "out/clip.mp4").unlink()
    with caplog.at_level("ERROR", "nightlift"):
        assert _compared(job) == 1
    assert [Path(line.partition(":")[0]).name for line in caplog.messages] == ["b.png", "clip.mp4"]
    assert (job / "shown/yard/a.webp").exists()
    assert not (job / "shown/b.webp").exists()


@pytest.mark.parametrize(
    ("places", "told"),
    [
        (("in/failed.jpg", "out", "shown"), "has done none of these files"),
        (("in", "in", "shown"), "no manifest of a job there"),
        (("in", "ouf", "shown"), "ouf: nothing is there"),
        (("in", "out", "out"), "OUT must differ from DST"),
        (("in", "out", "one.webp"), "give a folder as DST"),
        (("in/clip.mp4", "out", "one.webp"), "not named like a video"),
    ],
)
def test_wrong_places_are_told(
    job: Path, places: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *(str(job / place) for place in places)]) == 2
    assert told in capsys.readouterr().err
