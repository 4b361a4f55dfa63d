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


def test_an_unusable_profile_is_passed_over() -> None:
    frame = np.full((8, 8, 1), 55, np.uint8)
    for icc in (b"", b"no profile", media.grey_profile()[:140]):
        assert np.array_equal(small(frame, 8, icc), np.full((3, 8, 8), 55))
