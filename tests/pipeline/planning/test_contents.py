"""Files whose names tell nothing: their first bytes decide."""

from pathlib import Path

import numpy as np
import pytest

from jobs.cli import main
from jobs.preview.job import PreviewConfig, exhibit_of
from pipeline.images.recognition import format_of_content
from pipeline.planning.destination import Destination
from pipeline.planning.history import History
from pipeline.planning.inputs import Selection
from pipeline.planning.media_kinds import PHOTOS, VIDEOS, Kind, is_cut
from pipeline.planning.plan import Plan
from pipeline.planning.planner import make_plan
from pipeline.storage.storage import Storage
from pipeline.training.files import training_files
from pipeline.training.samples import ReadImages, Reading
from tests.pipeline.images.test_high_dynamic_range import hdr_png
from tests.support import raw_files
from tests.support.clips import clip, streets
from tests.support.media import jpeg, night
from tests.support.outputs import rows_of, tree
from tests.support.recordings import recording

PHOTO = jpeg(night(32, 48))
FILM = clip(streets(3), rate=25)
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


KINDS = {
    "bright": jpeg(np.full((32, 48, 3), 200, np.uint8)),
    "hdr": hdr_png(night(48, 32).astype(np.uint16) * 257, 9, 16),
    "night": PHOTO,
    "raw": raw_files.dng(raw_files.linear(night(48, 32)), jpeg=PHOTO),
    "text": b"hello",
}


@pytest.mark.parametrize(
    ("flags", "formats"),
    [
        ("", "bright jpeg, hdr png, night jpeg, raw tiff"),
        ("--raw preview --skip-bright copy --others copy", "bright jpeg, hdr png, night jpeg, raw jpeg, text"),
        ("--format png --skip-bright leave", "hdr png, night.png png, raw.png png"),
        ("--format jpeg --others copy", "bright jpeg, hdr.jpg jpeg, night jpeg, raw.jpg jpeg, text"),
    ],
)
def test_files_without_an_extension_follow_every_flag_and_a_rerun_does_nothing(
    tmp_path: Path, flags: str, formats: str
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name, content in KINDS.items():
        (source / name).write_bytes(content)
    command = ["images", str(source), str(out), "--denoise", "0", "--no-report", *flags.split()]
    assert main(command) == 0
    outputs = {name: "" if name == "text" else format_of_content(content) for name, content in tree(out).items()}
    assert ", ".join(f"{name} {kind}".strip() for name, kind in sorted(outputs.items())) == formats
    if "bright" in outputs and "copy" in flags.partition("--others")[0]:
        assert tree(out)["bright"] == KINDS["bright"]
    if outputs.get("hdr"):
        assert b"cICP" in tree(out)["hdr"]  # it stays HDR
    before = rows_of(out)
    assert main(command) == 0
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
    for name in ("PXL.MP", "song.m4a", "proxy.foo"):
        (tmp_path / name).write_bytes(FILM)
    assert _outputs(_plan(str(tmp_path), kind=VIDEOS)) == ["PXL.MP.mp4", "proxy.foo.mp4"]
    assert _outputs(_plan(str(tmp_path / "song.m4a"), kind=VIDEOS)) == ["song.m4a.mp4"]
    assert _outputs(_plan(str(tmp_path))) == []


@pytest.mark.parametrize(
    ("names", "outputs"),
    [
        ("clip.mp4(1)", "clip(1).mp4"),
        ("clip.mp4 (1)", "clip (1).mp4"),
        ("clip (1).mp4", "clip (1).mp4"),
        ("clip.mp4.1", "clip.1.mp4"),
        ("clip.MP4~", "clip~.MP4"),
        ("clip.avi(2)", "clip(2).mkv"),
        ("clip.mkv.part", "clip.part.mkv"),
        ("clip.jpg(1)", "clip(1).mp4"),  # a photo by its name
        ("clip", "clip.mp4"),
        (".mp4~", ".mp4~.mp4"),
        ("clip.mp4(1) | clip(1).mp4", "clip(1).mp4 clip.mp4(1).mp4"),
        ("clip.mp4(1) | CLIP(1).MP4", "CLIP(1).MP4 clip.mp4(1).mp4"),
        ("clip.mp4~ | clip.mov~", "clip~.mov clip~.mp4"),
        ("clip.mp4(1) | clip.mpg(1)", "clip.mp4(1).mp4 clip.mpg(1).mp4"),
        ("clip | clip.mp4", "clip.mp4 clip.mp4.mp4"),
        ("clip.mp4(1) | clip(1)", "clip(1).mp4 clip.mp4(1).mp4"),
    ],
)
def test_names_of_downloads_and_backups_stay_readable(tmp_path: Path, names: str, outputs: str) -> None:
    for name in names.split(" | "):
        (tmp_path / name).write_bytes(FILM)
    assert " ".join(_outputs(_plan(str(tmp_path), kind=VIDEOS))) == outputs
    if "|" not in names:
        assert " ".join(_outputs(_plan(str(tmp_path / names), kind=VIDEOS))) == outputs


def test_names_that_others_have_too_are_videos_only_by_their_content(tmp_path: Path) -> None:
    stream = recording("mpegts", "libx264", "aac", frames=3)
    contents = {
        "a.ts": stream,
        "app.ts": b"export const a = 1;\n",
        "broken.ts": bytes(99) + stream,
        "clip.foo": recording("h264", "libx264", frames=3),
        "go.mod": b"module example.com/a\n",
        "MOV001.MOD": recording("vob", "mpeg2video", frames=3),
        "song.mod": b"a song".ljust(1080, b"\0") + b"M.K." + bytes(99),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    plan = _plan(str(tmp_path), kind=VIDEOS)
    assert _outputs(plan) == ["MOV001.mp4", "a.ts", "broken.ts", "clip.foo.mp4"]
    assert {refusal.message for refusal in plan.refused if refusal.ending == "skipped"} == {
        "app.ts: not a video that nightlift reads (.ts: a text)",
        "go.mod: not a video that nightlift reads (.mod: a text)",
        "song.mod: not a video that nightlift reads (.mod: music of a tracker)",
    }
    assert _outputs(_plan(str(tmp_path / "app.ts"), kind=VIDEOS)) == ["app.ts"]  # reading it says why not


def test_videos_of_one_name_come_out_apart(tmp_path: Path) -> None:
    for name in ("CLIP.264", "CLIP.mp4", "CLIP.MXF", "b.vob", "b.avi", "c.mxf"):
        (tmp_path / name).write_bytes(b"\0")
    expected = ["CLIP.264.mp4", "CLIP.mov", "CLIP.mp4", "b.avi.mkv", "b.vob.mkv", "c.mov"]
    assert _outputs(_plan(str(tmp_path), kind=VIDEOS)) == expected


@pytest.mark.parametrize(
    ("contents", "status", "said"),
    [
        (
            {"a.ts": b"let a;\n", "b.xyz": b"?"},
            2,
            "(found: 1 .ts, 1 .xyz); a file that is given alone as SRC",
        ),
        ({"a.jpg": PHOTO}, 2, "(found: 1 .jpg); for these: nightlift images"),
        ({"a.mp4": recording("ipod", "", "aac")}, 1, "skipped, no_video: "),
    ],
)
def test_where_no_video_is_read_the_status_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], contents: dict[str, bytes], status: int, said: str
) -> None:
    (tmp_path / "in").mkdir()
    for name, content in contents.items():
        (tmp_path / "in" / name).write_bytes(content)
    assert main(["videos", str(tmp_path / "in"), str(tmp_path / "out"), "--no-report"]) == status
    assert said in "".join(capfd.readouterr())


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
    for key in ("a.ts", "b.mp4", "c.foo"):
        storage.write(f"{bucket}/{key}", b"import a\n")
    asked.clear()
    assert _outputs(_plan(bucket, kind=VIDEOS)) == ["b.mp4"]
    assert sorted(url.rpartition("/")[2] for url in asked) == ["IMG_1", "a.jpg(1)", "a.ts", "e"]


def test_names_that_were_cut() -> None:
    assert all(map(is_cut, ("a", "a.", "a.j", "a.jp", "a.jpg(12)", "a.JPG (1)", "a.jpg ", "a.hei", "PXL.MP")))
    assert not any(map(is_cut, ("a.txt", "a.xmp", "a.json", "a.jpgx", "a.psd")))


def test_training_and_preview_go_by_the_same_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = recording("mpegts", "libx264", frames=3)
    contents = {"IMG_1": PHOTO, "a.jpg(1)": PHOTO, "b.xyz": PHOTO, "clip": FILM, "a.ts": stream, "rec.dat": stream}
    others = {
        "app.ts": b"export const a = 1;\n",
        "go.mod": b"module a\n",
        "notes": b"as they were",
        "._IMG_1.jpg": b"x",
    }
    for name, content in {**contents, **others}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "song.mp4").write_bytes(FILM)
    shown = {file.name: file.is_video for file in exhibit_of(PreviewConfig(src=str(tmp_path))).files}
    assert shown == {name: content in (FILM, stream) for name, content in contents.items()} | {"song.mp4": True}
    files = training_files(Storage(), [str(tmp_path)], "/nowhere", Selection(), None)
    assert sorted(name for name, _ in files.names) == sorted(shown)
    assert {refusal.message for refusal in files.refused if refusal.source.endswith((".ts", ".jpg"))} == {
        "app.ts: neither a photo nor a video that nightlift reads (.ts: a text)",
        "._IMG_1.jpg: neither a photo nor a video that nightlift reads (.jpg: notes of macOS on another file)",
    }
    for record in files.records:
        outcome = ReadImages(Storage(), 16, 1)(Reading.of(record)).outcome
        assert (outcome.outcome, outcome.frames) == ("done", 1), outcome.message
    asked = []
    read = Storage.read_part
    monkeypatch.setattr(Storage, "read_part", lambda self, url, *more: asked.append(url) or read(self, url, *more))
    training_files(Storage(), [str(tmp_path)], "/nowhere", Selection(), None)
    assert sorted(Path(url).name for url in asked) == sorted({*contents, *others} - {"._IMG_1.jpg"})
    assert [file.is_video for file in exhibit_of(PreviewConfig(src=str(tmp_path / "clip"))).files] == [True]
