"""What a network is shown: small images, in one colour space."""

import numpy as np
import pytest

from pipeline.images.color.cicp import profile
from pipeline.records import Record
from pipeline.storage.storage import Storage
from pipeline.training.samples import ReadImages, Reading, small
from tests.support import media

DISPLAY_P3 = profile(12, 13)


def _read(tmp_path, coded: bytes) -> np.ndarray:
    path = tmp_path / "photo.png"
    path.write_bytes(coded)
    record = Record(source=str(path), version="", size_bytes=len(coded), destination="")
    [image] = ReadImages(Storage(), 16, 1)(Reading.of(record)).images
    return image


def test_a_tagged_photo_is_read_as_srgb(tmp_path) -> None:
    orange = np.full((40, 30, 3), (230, 120, 60), np.uint8)
    plain = _read(tmp_path, media.saved(orange, "PNG"))
    assert plain.shape == (3, 16, 12)
    assert plain[:, 8, 8].tolist() == [230, 120, 60]
    wide = _read(tmp_path, media.saved(orange, "PNG", icc_profile=DISPLAY_P3))
    # made linear by the curve of both, times the matrix from P3 to sRGB, and curved again: (246.6, 112.1, 37.9)
    assert wide[:, 8, 8].tolist() == pytest.approx([247, 112, 38], abs=1)
    grey = media.saved(np.full((8, 8), 55, np.uint8), "PNG", icc_profile=media.grey_profile())  # linear in light
    assert _read(tmp_path, grey)[:, 4, 4].tolist() == pytest.approx([127] * 3, abs=2)


def test_of_a_photo_only_what_is_seen_is_shown(tmp_path) -> None:
    scene = media.landscape(96, 64)
    framed = np.zeros((104, 136, 3), np.uint8)
    framed[20:84, 20:116] = scene
    hidden, alpha = np.full((104, 136, 3), 255, np.uint8), np.zeros((104, 136), np.uint8)
    hidden[20:84, 20:116], alpha[20:84, 20:116] = scene, 255
    plain, *others = (_read(tmp_path, media.saved(each, "PNG")) for each in (scene, framed, np.dstack((hidden, alpha))))
    for other in others:
        assert np.array_equal(other, plain)


def test_a_photo_of_which_nothing_is_seen_is_left_out(tmp_path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(media.saved(np.zeros((20, 20, 4), np.uint8), "PNG"))
    record = Record(source=str(path), version="", size_bytes=1, destination="")
    reading = ReadImages(Storage(), 16, 1)(Reading.of(record))
    assert reading.images == [] and reading.outcome.code == "unsupported"


def test_an_unusable_profile_is_passed_over() -> None:
    frame = np.full((8, 8, 1), 55, np.uint8)
    for icc in (b"", b"no profile", media.grey_profile()[:140]):
        assert np.array_equal(small(frame, 8, icc), np.full((3, 8, 8), 55))
