"""HDR stills (PQ and HLG): kept with their tags, or converted as videos are; never written as if they were SDR."""

import struct
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from jobs.images import ImagesConfig
from model import Architecture, Checkpoint, Look, build
from pipeline.errors import Unsupported
from pipeline.images import FORMATS, Frame, Photo, decode, encode
from pipeline.images.isobmff.reading import items_of
from pipeline.images.isobmff.writing import Item, still
from pipeline.images.photo import Metadata
from pipeline.images.seen.view import parts_of, views_of
from pipeline.photos import PhotoSettings, PhotoSteps, PhotoWork
from pipeline.records import Outcome, Record
from pipeline.storage.storage import Storage
from pipeline.video.signal.transfer import to_sdr
from tests.support import media

MAX_PX = 10_000_000
CHECKPOINT = Checkpoint(network=build(Architecture(map_channels=1)), estimate_size=256)
REPORT = Path("data", "dev", "reports_photos")
FILES = [("pq.avif", 16), ("hlg.avif", 18), ("cicp-pq.png", 16), ("cicp-hlg.png", 18)]
NAMES = {16: "PQ", 18: "HLG"}


def kept(coded: bytes, name: str = "avif") -> Photo:
    return decode(coded, max_pixels=MAX_PX, hdr_for=FORMATS[name])


def done(source: Path, folder: Path, extension: str, settings: PhotoSettings) -> tuple[Outcome, bytes]:
    """What a job makes of one file."""
    destination = folder / f"out{extension}"
    record = Record(source=str(source), version="", size_bytes=1, destination=str(destination))
    outcome = PhotoSteps.of(Storage(), settings, CHECKPOINT)(PhotoWork.of(record)).outcome
    return outcome, destination.read_bytes() if destination.exists() else b""


def frame_of(coded: bytes) -> Any:
    with av.open(BytesIO(coded), format="png_pipe" if coded.startswith(b"\x89PNG") else None) as container:
        return next(container.decode(video=0))


def pq(light_cd: float) -> int:
    """The 16-bit code of BT.2100's inverse EOTF."""
    power = (light_cd / 10_000) ** (2610 / 16384)
    return round(((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32) * 65535)


def hdr_png(samples: Any, primaries: int, transfer: int, *chunks: bytes, full: int = 1) -> bytes:
    cicp = media.png_chunk(b"cICP", bytes((primaries, transfer, 0, full)))
    return media.with_chunks(media.png_16(samples), cicp, *chunks)


@pytest.mark.parametrize(("name", "transfer"), FILES)
def test_hdr_is_lifted_and_stays_hdr(shared: Path, tmp_path: Path, name: str, transfer: int) -> None:
    source, extension = shared / REPORT / "15-hdr-stills" / name, Path(name).suffix
    outcome, written = done(source, tmp_path, extension, PhotoSettings(look=Look(denoise=0, floor="off")))
    assert outcome.outcome == "done"
    assert not any("SDR" in note or "became" in note for note in outcome.notes)
    assert outcome.luma_before is not None and outcome.luma_after != outcome.luma_before
    frame = frame_of(written)
    assert (frame.color_primaries, frame.color_trc) == (9, transfer)
    assert frame.format.components[0].bits == (10 if extension == ".avif" else 16)
    before, after = (kept(coded, "png").frames[0].pixels for coded in (source.read_bytes(), written))
    photo = kept(source.read_bytes())
    lamps = views_of(photo, parts_of(photo))[0].pixels == 65535  # diffuse white and above
    assert lamps.any()
    error = np.abs(after.astype(int) - before)[lamps]
    assert error.max() == 0 if extension == ".png" else error.mean() < 600


@pytest.mark.parametrize(("name", "transfer"), FILES)
def test_without_a_curve_hdr_comes_out_as_it_was(shared: Path, tmp_path: Path, name: str, transfer: int) -> None:
    source, extension = shared / REPORT / "15-hdr-stills" / name, Path(name).suffix
    _, written = done(source, tmp_path, extension, PhotoSettings(look=Look(iterations=0, denoise=0, floor="off")))
    before, after = (kept(coded).frames[0].pixels.astype(int) for coded in (source.read_bytes(), written))
    assert np.abs(after - before).max() <= 1 if extension == ".png" else np.abs(after - before).mean() < 300


@pytest.mark.parametrize(("name", "transfer"), FILES)
def test_hdr_becomes_sdr_when_asked_or_where_it_must(shared: Path, tmp_path: Path, name: str, transfer: int) -> None:
    source, extension = shared / REPORT / "15-hdr-stills" / name, Path(name).suffix
    plain = Look(iterations=0, denoise=0, floor="off")
    asked, written = done(source, tmp_path, extension, PhotoSettings(look=plain, hdr="sdr"))
    assert f"{NAMES[transfer]} became SDR" in asked.notes
    assert kept(written).metadata.cicp in (None, (1, 13))
    assert kept(written).frames[0].pixels.dtype == np.uint8
    must, jpeg = done(source, tmp_path, ".jpg", PhotoSettings(look=plain, format="jpeg"))
    assert f"{NAMES[transfer]} became SDR: JPEG cannot hold it" in must.notes
    shown = [np.asarray(Image.open(BytesIO(each)).convert("RGB")).astype(int) for each in (written, jpeg)]
    assert np.abs(shown[0] - shown[1]).mean() < 4
    coded = kept(source.read_bytes()).frames[0].pixels
    assert np.abs(shown[0] - to_sdr(coded, transfer)).mean() < 12  # a video's, but for sRGB's curve


@pytest.mark.parametrize(("name", "transfer"), FILES[:1])
def test_hdr_is_left_out_if_asked(shared: Path, tmp_path: Path, name: str, transfer: int) -> None:
    source = shared / REPORT / "15-hdr-stills" / name
    for extension in (source.suffix, ".jpg"):
        outcome, written = done(source, tmp_path, extension, PhotoSettings(skip_hdr=True))
        assert (outcome.outcome, outcome.code, written) == ("skipped", "is_hdr", b"")


def test_light_becomes_the_srgb_that_it_is() -> None:
    levels = [0.2, 5, 50, 100]  # cd/m2, below the roll-off; diffuse white is 203
    samples = np.repeat(np.array([[pq(level) for level in levels]], np.uint16)[..., None], 3, axis=2)
    light = np.array(levels) / 203
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    for primaries in (1, 9, 12):
        found = decode(hdr_png(samples, primaries, 16), max_pixels=MAX_PX)
        assert np.abs(found.frames[0].pixels[0] - expected[:, None]).max() <= 1
        assert (found.metadata.cicp, found.metadata.icc) == (None, None)
    red = np.array([[[pq(60), pq(1e-4), pq(1e-4)]]], np.uint16)
    plain, wide = (decode(hdr_png(red, each, 16), max_pixels=MAX_PX).frames[0].pixels for each in (1, 12))
    assert plain[0, 0, 1] == 0 and wide[0, 0, 0] > plain[0, 0, 0]


def test_what_stays_true_is_kept_and_what_does_not_is_said() -> None:
    display, light = media.png_chunk(b"mDCV", bytes(range(24))), media.png_chunk(b"cLLI", bytes(8))
    photo = kept(hdr_png(media.night_16(), 9, 16, display, light), "png")
    coded, _ = encode(photo, "png", quality=None)
    assert photo.notes == ["content light level dropped: it was measured before enhancement"]
    assert (coded.count(b"mDCV"), coded.count(b"cLLI"), coded.count(b"cICP")) == (1, 0, 1)
    sdr, notes = encode(photo, "tiff", quality=None)
    assert notes == ["PQ became SDR: TIFF cannot hold it"]
    assert decode(sdr, max_pixels=MAX_PX).frames[0].pixels.dtype == np.uint8


def test_hdr_goes_between_png_and_avif() -> None:
    photo = kept(hdr_png(media.night_16(96, 64), 9, 18))
    assert photo.metadata.cicp == (9, 18)
    coded, _ = encode(photo, "avif", quality=95)
    frame = frame_of(coded)
    assert (frame.color_primaries, frame.color_trc, frame.colorspace) == (9, 18, 9)
    back, _ = encode(kept(coded), "png", quality=None)
    assert kept(back, "png").metadata.cicp == (9, 18)


def test_hdr_that_only_an_icc_profile_states_is_found() -> None:
    """As Photoshop writes it: ICC.1:2022 has a tag for the numbers."""
    icc = media.rgb_profile()
    count = int.from_bytes(icc[128:132], "big")
    entry = struct.pack(">4sII", b"cicp", 132 + 12 * count, 12)
    icc = (
        icc[:128]
        + struct.pack(">I", 1)
        + entry
        + icc[144 : 132 + 12 * count]
        + b"cicp"
        + bytes((0, 0, 0, 0, 9, 16, 0, 1))
    )
    frame = Frame(pixels=media.night_16(96, 64))
    photo = Photo(format="png", frames=[frame], metadata=Metadata(icc=icc))
    for name in ("jpeg", "tiff"):
        coded, notes = encode(photo, name, quality=None)
        assert notes == [f"PQ became SDR: {name.upper()} cannot hold it"]
        assert kept(coded).metadata.icc is None
    coded, notes = encode(photo, "avif", quality=None)
    assert (frame_of(coded).color_trc, kept(coded).metadata.icc) == (16, icc)


def test_hdr_that_only_av1_itself_states_is_found() -> None:
    coded = encode(kept(hdr_png(media.night_16(96, 64), 9, 16)), "avif", quality=95)[0]
    items = items_of(coded)
    unnamed = [each for each in items.properties[items.primary] if each.type != b"colr"]
    photo = kept(still([Item(kind=b"av01", content=items.contents[items.primary], properties=unnamed)]))
    assert (photo.metadata.cicp, photo.coding.matrix, photo.coding.full) == ((9, 16), 9, True)


def test_an_animation_of_avif_becomes_sdr() -> None:
    frames = [Frame(pixels=media.night(32, 16, seed=seed), duration_ms=40) for seed in range(2)]
    photo = Photo(format="png", frames=frames, metadata=Metadata(cicp=(9, 16)))
    coded, notes = encode(photo, "avif", quality=None)
    assert notes == ["PQ became SDR: AVIF cannot hold it in animations"]
    assert len(decode(coded, max_pixels=MAX_PX).frames) == 2
    moving, notes = encode(photo, "png", quality=None)
    assert (kept(moving, "png").metadata.cicp, notes) == ((9, 16), [])


def test_hdr_in_the_limited_range_of_video_is_refused() -> None:
    with pytest.raises(Unsupported, match="limited range"):
        kept(hdr_png(media.night_16(), 9, 16, full=0), "png")


def heic(samples: Any, **options: Any) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = BytesIO()
    file = pillow_heif.from_bytes("RGB;16", (samples.shape[1], samples.shape[0]), samples.tobytes())
    file.save(buffer, quality=95, **options)
    return buffer.getvalue()


def test_heic_of_a_camera_becomes_sdr_in_jpeg_and_stays_hdr_in_avif(tmp_path: Path) -> None:
    """As Canon's .HIF: 10 bits, BT.2020 and PQ by numbers."""
    colours = {"color_primaries": 9, "transfer_characteristics": 16, "matrix_coefficients": 9, "full_range_flag": 1}
    source = tmp_path / "photo.HIF"
    source.write_bytes(heic(media.night_16(96, 64), chroma=422, **colours))
    outcome, _ = done(source, tmp_path, ".jpg", PhotoSettings())
    assert "PQ became SDR: JPEG cannot hold it" in outcome.notes
    outcome, coded = done(source, tmp_path, ".avif", PhotoSettings())
    assert not any("SDR" in note for note in outcome.notes)
    frame = frame_of(coded)
    assert (frame.color_primaries, frame.color_trc, frame.format.components[0].bits) == (9, 16, 10)


@pytest.mark.parametrize("bits", [10, 12])
def test_white_of_a_deep_heic_is_white(shared: Path, bits: int) -> None:
    photo = kept((shared / REPORT / "21-ten-bit-white" / f"white-{bits}-bit.heic").read_bytes(), "png")
    assert photo.frames[0].pixels.max() == 65535
    assert photo.coding.bits == bits


def test_hdr_decides_the_output() -> None:
    settings = PhotoSettings()
    assert ImagesConfig(src="in", dst="out", hdr="sdr").photo_settings(CHECKPOINT).hdr == "sdr"
    assert settings.fingerprint(CHECKPOINT) != replace(settings, hdr="sdr").fingerprint(CHECKPOINT)
