"""The mark of an edit: in XMP wherever there is a place for it, in EXIF's Software where nobody is named there."""

import xml.etree.ElementTree as ET
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jobs.cli import main
from model import Architecture, Checkpoint, build
from pipeline.images import FORMATS, decode, encode
from pipeline.images.metadata.mark import Mark, marked
from pipeline.images.photo import Metadata
from pipeline.photos import PhotoSettings
from tests.support import media

MAX_PX = 10_000_000
MARK = Mark(agent="nightlift 1", parameters='strength 1, weights "<mine>"')
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
MM = "{http://ns.adobe.com/xap/1.0/mm/}"
EVENT = "{http://ns.adobe.com/xap/1.0/sType/ResourceEvent#}"


def history(packet: bytes | None) -> list[dict[str, str]]:
    assert packet is not None
    events = ET.fromstring(packet).findall(f"{RDF}RDF/{RDF}Description/{MM}History/{RDF}Seq/{RDF}li")
    return [{name.removeprefix(EVENT): value for name, value in event.attrib.items()} for event in events]


def with_history(events: str) -> bytes:
    return media.xmp_packet().replace(
        b"</rdf:RDF>",
        b'<rdf:Description rdf:about="" xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"'
        b' xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#">'
        b"<xmpMM:History><rdf:Seq>%s</rdf:Seq>\n </xmpMM:History></rdf:Description></rdf:RDF>" % events.encode(),
    )


def test_the_event_is_the_last_of_the_history() -> None:
    before = with_history('<rdf:li stEvt:action="saved"/>')
    after = marked(Metadata(xmp=before), MARK).xmp
    edited = {"action": "edited", "softwareAgent": "nightlift 1", "parameters": MARK.parameters}
    assert history(after) == [{"action": "saved"}, edited]
    for packet in (None, media.xmp_packet()):
        assert history(marked(Metadata(xmp=packet), MARK).xmp) == [edited]
    assert marked(Metadata(xmp=b"<x:xmpmeta"), MARK).xmp == b"<x:xmpmeta"


@pytest.mark.parametrize("order", ["<", ">"])
def test_software_is_named_in_exif_only_where_none_is(order: str) -> None:
    block = media.exif_block(1, order=order)
    photo = decode(media.saved(media.night(), "WEBP", exif=block), max_pixels=MAX_PX)
    photo = decode(encode(photo, "jpeg", quality=None)[0], max_pixels=MAX_PX)
    once = marked(photo.metadata, MARK)
    twice = marked(once, Mark(agent="another", parameters=""))
    for metadata in (once, twice):
        exif = Image.Exif()
        exif.load(metadata.exif or b"")
        assert exif[0x0131] == "nightlift 1"
        assert exif.get_ifd(0x8769)[0x927C] == media.MAKER_NOTE
        assert [float(part) for part in exif.get_ifd(0x8825)[2]] == [52, 31, 12]
    assert marked(Metadata(), MARK).exif is None


@pytest.mark.parametrize("flags", [[], ["--no-mark"]])
def test_jobs_mark_what_they_enhance(tmp_path: Path, flags: list[str]) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    names = {name: known.extensions[0] for name, known in FORMATS.items() if known.written_as == name}
    for name, extension in names.items():
        kind: dict[str, Any] = {"jpeg": {"quality": 90}, "webp": {"lossless": True}}.get(name, {})
        if name == "jxl":
            coded = encode(decode(media.saved(media.night(), "PNG"), max_pixels=10**6), "jxl", quality=None)[0]
        else:
            coded = media.saved(media.night(), {"pnm": "PPM"}.get(name, name.upper()), **kind)
        (source / f"a{extension}").write_bytes(coded)
    (source / "bright.png").write_bytes(media.saved(media.night() // 8 + 200, "PNG"))
    job = ["images", str(source), str(out), "--no-report", "--iterations", "0", "--skip-bright", "copy", *flags]
    assert main(job) == 0
    first = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    marks = {name for name, coded in first.items() if b'softwareAgent="nightlift ' in coded}
    assert marks == (set() if flags else {"a.jpg", "a.png", "a.webp", "a.tif", "a.gif", "a.avif", "a.jxl"})
    assert first["bright.png"] == (source / "bright.png").read_bytes()
    if not flags:
        with Image.open(BytesIO(first["a.jpg"])) as image:
            assert history(image.info["xmp"])[0]["parameters"].startswith("iterations 0, ")
        assert main([*job, "--fresh"]) == 0
        assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == first
        assert main([*job, "--no-mark", "--dry-run"]) == 0


def test_only_whether_there_is_a_mark_decides_what_is_work_again() -> None:
    checkpoint = Checkpoint(network=build(Architecture(map_channels=1)), estimate_size=256)
    other = Mark(agent="nightlift 2", parameters="")
    prints = [PhotoSettings(mark=mark).fingerprint(checkpoint) for mark in (None, MARK, other)]
    assert prints[0] != prints[1] == prints[2]
