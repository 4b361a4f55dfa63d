"""Which photos follow each other: by the numbers in their names, or by their capture times."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image

from pipeline.images import Frame, Metadata, Photo, decode, encode
from pipeline.images.png.chunks import SIGNATURE, Chunk, packed, split
from pipeline.records import Record
from pipeline.sequences.capture_time import capture_time, captured_at
from pipeline.sequences.order import Order, in_sequence, natural
from pipeline.storage.storage import Storage

NIGHT = Image.fromarray(np.random.default_rng(5).integers(0, 50, (48, 64, 3), dtype=np.uint8))
NOON = datetime(2025, 3, 1, 12)


def _record(url: str) -> Record:
    return Record(source=url, version="", size_bytes=0, destination="")


def _placed(urls: list[str], order: Order = "name") -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    placed = in_sequence(map(_record, urls), [(url, url) for url in urls], order, Storage())
    return {record.source: (record.before, record.after) for record in placed}


def _photo(path: Path, after_s: float | None) -> str:
    """A photo taken so long after noon; None: it does not say when."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Camera"
    if after_s is not None:
        taken = NOON + timedelta(seconds=after_s)
        tags = exif.get_ifd(ExifTags.IFD.Exif)
        tags[ExifTags.Base.DateTimeOriginal] = taken.strftime("%Y:%m:%d %H:%M:%S")
        tags[ExifTags.Base.SubsecTimeOriginal] = f"{taken.microsecond:06d}".rstrip("0")
    if path.suffix == ".jxl":
        metadata = Metadata(exif=exif.tobytes()[6:])
        coded = Photo(format="jxl", frames=[Frame(pixels=np.asarray(NIGHT))], metadata=metadata)
        path.write_bytes(encode(coded, "jxl", quality=None)[0])
    elif path.suffix == ".heic":
        pillow_heif.from_pillow(NIGHT).save(path, exif=exif.tobytes())
    else:
        NIGHT.save(path, exif=exif)
    return str(path)


def test_names_follow_each_other_as_people_count() -> None:
    names = ["IMG_2.JPG", "img_10.jpg", "img_9.jpg", "a.jpg", "img_010b.jpg", "7.png", "IMG_0003.jpg"]
    ordered = ["7.png", "a.jpg", "IMG_2.JPG", "IMG_0003.jpg", "img_9.jpg", "img_10.jpg", "img_010b.jpg"]
    assert sorted(names, key=natural) == ordered


def test_each_folder_is_a_sequence_and_raw_files_are_one_of_their_own() -> None:
    placed = _placed(["/a/1.jpg", "/a/2.jpg", "/a/1.nef", "/a/2.nef", "/b/1.jpg", "/a/b/3.png"])
    assert placed["/a/1.jpg"] == ((), ("/a/2.jpg",))
    assert placed["/a/2.nef"] == (("/a/1.nef",), ())
    assert placed["/b/1.jpg"] == placed["/a/b/3.png"] == ((), ())


def test_photos_that_are_done_are_neighbours_of_new_ones() -> None:
    urls = [f"/a/{number}.jpg" for number in range(1, 13)]
    (new,) = in_sequence([_record("/a/12.jpg")], [(url, url) for url in sorted(urls)], "name", Storage())
    assert new.before == tuple(urls[:11])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif", ".heic", ".jxl"])
def test_capture_times_have_fractions_of_a_second(tmp_path: Path, suffix: str) -> None:
    urls = [_photo(tmp_path / f"{name}{suffix}", after_s) for name, after_s in (("a", 1.0), ("b", 1.25))]
    times = [captured_at(Storage(), url) for url in urls]
    assert times[1] - times[0] == 0.25  # type: ignore[operator]
    assert [capture_time(decode(Path(url).read_bytes(), max_pixels=10_000).metadata) for url in urls] == times


def test_by_time_photos_without_one_stay_behind_the_one_before_them(tmp_path: Path) -> None:
    seconds = {"1.jpg": 30, "2.jpg": None, "3.jpg": 10, "4.png": 0.5, "5.png": 0.25, "6.jpg": None}
    urls = [_photo(tmp_path / name, after_s) for name, after_s in seconds.items()]
    (tmp_path / "7.jpg").write_bytes(b"no photo")
    shutil.copy(tmp_path / "3.jpg", tmp_path / "8.jpg")  # of the same time: as their names follow each other
    placed = list(_placed([*urls, str(tmp_path / "7.jpg"), str(tmp_path / "8.jpg")], "time"))
    assert [Path(url).stem for url in placed] == ["5", "6", "7", "4", "3", "8", "1", "2"]


@pytest.mark.parametrize("text", ["", "0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", "2025:02:30 10:00:00"])
def test_a_time_that_is_none_is_none(tmp_path: Path, text: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Camera"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = text
    NIGHT.save(tmp_path / "a.jpg", exif=exif)
    assert captured_at(Storage(), str(tmp_path / "a.jpg")) is None


def test_the_capture_time_of_a_png_takes_no_pixels(tmp_path: Path) -> None:
    path = Path(_photo(tmp_path / "a.png", 2))
    taken = captured_at(Storage(), str(path))
    chunks = [chunk for chunk in split(path.read_bytes()) if chunk.type != b"IDAT"]
    chunks.insert(1, Chunk(b"IDAT", b"no pixels"))  # and EXIF behind them, as some programs write it
    path.write_bytes(SIGNATURE + b"".join(packed(*chunk) for chunk in (*chunks, Chunk(b"IEND", b""))))
    assert taken is not None and captured_at(Storage(), str(path)) == taken
