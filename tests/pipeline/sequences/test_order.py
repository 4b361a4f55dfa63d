"""Which photos follow each other: by the numbers in their names, or by their capture times."""

import shutil
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image

from pipeline.images import Frame, Metadata, Photo, decode, encode
from pipeline.images.png.chunks import SIGNATURE, Chunk, packed, split
from pipeline.records import Record
from pipeline.sequences.capture_time import capture_time, captured_at
from pipeline.sequences.light_over_time import REACH
from pipeline.sequences.order import Order, in_sequence, natural
from pipeline.storage.listing import Listed
from pipeline.storage.storage import Storage

NIGHT = Image.fromarray(np.random.default_rng(5).integers(0, 50, (48, 64, 3), dtype=np.uint8))
NOON = datetime(2025, 3, 1, 12)
NOON_UTC_S = NOON.replace(tzinfo=UTC).timestamp()


def _record(url: str) -> Record:
    return Record(source=url, version="", size_bytes=0, destination="")


def _named(urls: Iterable[str], version: str = "") -> list[tuple[Listed, str]]:
    return [(Listed(url=url, root="/", version=version), url) for url in urls]


def _around(record: Record) -> tuple[tuple[str, ...], tuple[str, ...]]:
    assert record.place is not None and record.place.urls[record.place.rank] == record.source
    near = record.place.within(REACH)
    return near.urls[: near.rank], near.urls[near.rank + 1 :]


def _placed(urls: list[str], order: Order = "name") -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    placed = in_sequence(map(_record, urls), _named(urls), order, Storage())
    return {record.source: _around(record) for record in placed}


def _photo(path: Path, after_s: float | None, camera: str = "Camera", zone: str = "") -> str:
    """A photo taken so long after noon; None: it does not say when."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = camera
    if zone:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.OffsetTimeOriginal] = zone
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
    (new,) = in_sequence([_record("/a/12.jpg")], _named(sorted(urls)), "name", Storage())
    assert _around(new) == (tuple(urls[:11]), ())


def test_photos_near_new_ones_are_done_again_and_no_others() -> None:
    urls = [f"/a/{number}.jpg" for number in range(2 * REACH + 10)]
    seen: dict[str, str] = {}

    def again(photo: Listed, neighbours: str) -> Record | None:
        return None if seen.get(photo.url) == neighbours else _record(photo.url)

    for count in (REACH + 5, len(urls) - 1, len(urls)):
        new = [_record(url) for url in urls[:count] if url not in seen]
        placed = in_sequence(new, _named(urls[:count]), "name", Storage(), again)
        before = max(0, len(seen) - REACH)
        assert [record.source for record in placed] == urls[before:count]
        seen |= {record.source: record.neighbours for record in placed}
    whole = in_sequence(map(_record, urls), _named(urls), "name", Storage())
    assert seen == {record.source: record.neighbours for record in whole}
    assert in_sequence([_record(urls[3])], _named(urls), "name", Storage(), again)[0].source == urls[3]  # which failed
    changed = in_sequence([_record(urls[3])], _named(urls, version="new"), "name", Storage(), again)
    assert [record.source for record in changed] == urls[: REACH + 4]


def test_photos_stay_the_same_neighbours_under_new_signatures() -> None:
    def neighbours(key: str) -> list[str]:
        urls = [f"https://web/{index}.jpg?signature={key}" for index in range(4)]
        return [each.neighbours for each in in_sequence(map(_record, urls), _named(urls), "name", Storage())]

    assert neighbours("old") == neighbours("new")
    assert len({*neighbours("old")}) == 4


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif", ".heic", ".jxl"])
def test_capture_times_have_fractions_of_a_second(tmp_path: Path, suffix: str) -> None:
    urls = [_photo(tmp_path / f"{name}{suffix}", after_s) for name, after_s in (("a", 1.0), ("b", 1.25))]
    times = [captured_at(Storage(), url) for url in urls]
    seconds = [each.local_s for each in times]
    assert seconds[1] - seconds[0] == 0.25  # type: ignore[operator]
    assert [capture_time(decode(Path(url).read_bytes(), max_pixels=10_000).metadata) for url in urls] == seconds


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
    assert captured_at(Storage(), str(tmp_path / "a.jpg")).local_s is None


def test_the_capture_time_of_a_png_takes_no_pixels(tmp_path: Path) -> None:
    path = Path(_photo(tmp_path / "a.png", 2))
    taken = captured_at(Storage(), str(path))
    chunks = [chunk for chunk in split(path.read_bytes()) if chunk.type != b"IDAT"]
    chunks.insert(1, Chunk(b"IDAT", b"no pixels"))  # and EXIF behind them, as some programs write it
    path.write_bytes(SIGNATURE + b"".join(packed(*chunk) for chunk in (*chunks, Chunk(b"IEND", b""))))
    assert taken.local_s is not None and captured_at(Storage(), str(path)) == taken


def test_two_cameras_in_a_folder_are_two_sequences_by_time(tmp_path: Path) -> None:
    urls = [_photo(tmp_path / f"{rank}.jpg", float(rank), "AB"[rank % 2]) for rank in range(6)]
    alone = _photo(tmp_path / "5b.jpg", None, "")  # tells neither: it stays behind the photo before it
    placed = _placed([*urls, alone], "time")
    assert placed[urls[2]] == ((urls[0],), (urls[4],))
    assert placed[alone] == ((urls[1], urls[3], urls[5]), ())


def test_time_zones_count_where_all_photos_tell_theirs(tmp_path: Path) -> None:
    clocks = {"1.jpg": (0, "+02:00"), "2.jpg": (-3000, "+01:00"), "3.jpg": (-2400, "+01:00")}  # summer time ends
    urls = [_photo(tmp_path / name, after_s, zone=zone) for name, (after_s, zone) in clocks.items()]
    assert list(_placed(urls, "time")) == urls
    assert capture_time(decode(Path(urls[1]).read_bytes(), max_pixels=10_000).metadata) == NOON_UTC_S - 3000 - 3600
    urls.append(_photo(tmp_path / "4.jpg", -2900))
    assert [Path(url).stem for url in _placed(urls, "time")] == ["2", "4", "3", "1"]


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (ExifTags.Base.DateTimeDigitized, "2025:03:01 12:00:00"),
        (ExifTags.Base.DateTime, "2025:03:01 12:00:00"),
        (ExifTags.Base.DateTime, "2025-03-01T12:00:00.00+01:00"),
    ],
)
def test_the_time_is_found_where_cameras_and_programs_write_it(tmp_path: Path, tag: int, text: str) -> None:
    exif = Image.Exif()
    (exif if tag == ExifTags.Base.DateTime else exif.get_ifd(ExifTags.IFD.Exif))[tag] = text
    NIGHT.save(tmp_path / "a.jpg", exif=exif)
    assert captured_at(Storage(), str(tmp_path / "a.jpg")).local_s == NOON_UTC_S
