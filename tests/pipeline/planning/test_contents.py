"""Files whose names tell nothing: their first bytes decide."""

from pathlib import Path

import pytest

from jobs.cli import main
from pipeline.images.recognition import format_of_content
from pipeline.planning.destination import Destination
from pipeline.planning.history import History
from pipeline.planning.inputs import Selection
from pipeline.planning.media_kinds import PHOTOS, VIDEOS, Kind, is_cut
from pipeline.planning.plan import Plan
from pipeline.planning.planner import make_plan
from pipeline.storage.storage import Storage
from tests.support.clips import clip, streets
from tests.support.media import jpeg, night
from tests.support.outputs import rows_of, tree

PHOTO = jpeg(night(32, 48))
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(8)
BY_NAME = ("a.mpo", "a.jps", "a.insp", "a.jif", "a.jfif", "a.pjpeg", "a.jpe")
BY_CONTENT = ("IMG_1", "a.jp", "a.jpg(1)", "a.jpg ", "a.PN", "v1.2", "a.jpg_original")
TEXTS = {"BMW.txt": b"BM and Audi, as they were in their day", "P1": b"P1 is the first plan, P2 the second"}


def _plan(source: str, kind: Kind = PHOTOS, format_name: str | None = None, include: tuple[str, ...] = ()) -> Plan:
    storage = Storage.from_environment([source], {})
    destination = Destination(kind=kind, root="/out", format=format_name)
    return make_plan(storage, source, destination, Selection(include=include), History())


def _outputs(plan: Plan) -> list[str]:
    return sorted(record.destination.removeprefix("/out/") for record in plan.records)


def test_photos_by_odd_names_are_enhanced_and_keep_their_names(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in (*BY_NAME, *BY_CONTENT):
        (source / name).write_bytes(PHOTO)
    for name, content in {"scan.raw": b"II*\0" + bytes(28), "empty": b"", **TEXTS}.items():
        (source / name).write_bytes(content)
    assert main(["images", str(source), str(out)]) == 0
    outputs = tree(out)
    assert outputs.keys() == {*BY_NAME, *BY_CONTENT}
    assert {format_of_content(content) for content in outputs.values()} == {"jpeg"}
    before = rows_of(out)
    assert main(["images", str(source), str(out)]) == 0
    assert rows_of(out) == before


@pytest.mark.parametrize("name", ["notes.txt", "IMG_1", "a.psd"])
def test_a_file_that_is_named_alone_is_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(PHOTO)
    assert main(["images", str(tmp_path / name), str(tmp_path / "out.jpg")]) == 0
    (tmp_path / name).write_bytes(b"8BPS" + bytes(30))
    assert main(["images", str(tmp_path / name), str(tmp_path / "out")]) == 1
    (row,) = rows_of(tmp_path / "out")
    assert row["code"] == "unsupported" and "Photoshop" in str(row["message"])


def test_what_is_converted_gets_an_extension(tmp_path: Path) -> None:
    for name in ("IMG_1", "IMG_2.hei", "IMG_2.jpg"):
        (tmp_path / name).write_bytes(HEIC)
    assert _outputs(_plan(str(tmp_path))) == ["IMG_1.jpg", "IMG_2.hei.jpg", "IMG_2.jpg"]
    assert _outputs(_plan(str(tmp_path), format_name="png")) == ["IMG_1.png", "IMG_2.hei.png", "IMG_2.png"]


def test_a_video_whose_name_was_cut_counts_as_a_video(tmp_path: Path) -> None:
    film = clip(streets(3), rate=25)
    for name in ("PXL.MP", "song.m4a", "proxy.foo"):
        (tmp_path / name).write_bytes(film)
    assert _outputs(_plan(str(tmp_path), kind=VIDEOS)) == ["PXL.MP.mp4", "proxy.foo.mp4"]
    assert _outputs(_plan(str(tmp_path / "song.m4a"), kind=VIDEOS)) == ["song.m4a.mp4"]
    assert _outputs(_plan(str(tmp_path))) == []


def test_a_bucket_is_asked_only_about_names_that_may_be_cut(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage.from_environment([bucket], {})
    contents = {"IMG_1": PHOTO, "a.jpg(1)": PHOTO, "b.txt": PHOTO, "c.xmp": b"<x>", "d.jpg": PHOTO, "e": b"text"}
    for key, content in contents.items():
        storage.write(f"{bucket}/{key}", content)
    asked = []
    read = Storage.read_part
    monkeypatch.setattr(Storage, "read_part", lambda self, url, *more: asked.append(url) or read(self, url, *more))
    assert _outputs(_plan(bucket)) == ["IMG_1", "a.jpg(1)", "d.jpg"]
    assert sorted(url.rpartition("/")[2] for url in asked) == ["IMG_1", "a.jpg(1)", "e"]
    assert _outputs(_plan(bucket, include=("d.jpg",))) == ["d.jpg"]
    assert len(asked) == 3


def test_names_that_were_cut() -> None:
    assert all(map(is_cut, ("a", "a.", "a.j", "a.jp", "a.jpg(12)", "a.JPG (1)", "a.jpg ", "a.hei", "PXL.MP")))
    assert not any(map(is_cut, ("a.txt", "a.xmp", "a.json", "a.jpgx", "a.psd")))
