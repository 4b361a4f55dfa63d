"""TIFF 6.0: pages are read by Pillow (16 bits per colour without loss) and written here with 8 or 16 bits.

Pillow cannot write 16-bit colour; writing here also keeps the source's fields (EXIF, GPS, IPTC and others) unchanged.
"""

import struct
import sys
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from pipeline.errors import Unsupported
from pipeline.images.metadata import ifd, xmp
from pipeline.images.photo import Coding, Frame, Metadata, Photo, Samples, full_range
from pipeline.images.pixels import check_size, frame_of
from pipeline.images.silence import silent_stderr
from pipeline.images.tiff.strips import direct_layout, read_directly

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, STRIP_OFFSETS = 256, 257, 258, 259, 262, 273
ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES = 274, 277, 278, 279
X_RESOLUTION, Y_RESOLUTION, PLANAR, RESOLUTION_UNIT, PREDICTOR = 282, 283, 284, 296, 317
TILE_WIDTH, TILE_LENGTH = 322, 323
EXTRA_SAMPLES, XMP, ICC, SUBFILE, LAYERS = 338, 700, 34675, 254, 37724
UNCOMPRESSED, DEFLATE = 1, 8
UNASSOCIATED_ALPHA = 2

# Fields that are never copied: they describe how pixels are stored, or are handled separately (XMP, ICC, layers).
STRUCTURE = frozenset(
    tag
    for first, last in (
        (254, 259), (262, 266), (273, 274), (277, 281), (284, 284), (288, 293), (297, 297), (301, 301), (317, 317),
        (320, 333), (336, 347), (512, 521), (529, 532), (559, 559), (XMP, XMP), (ICC, ICC), (LAYERS, LAYERS),
    )
    for tag in range(first, last + 1)
)  # fmt: skip
STRIP_BYTES_TARGET = 1 << 18


def read(data: bytes, max_pixels: int) -> Photo:
    """Read all pages of a TIFF except reduced copies. Raises MediaError, or what Pillow raises on damage."""
    notes: list[str] = []
    if data[2:4] in (b"+\x00", b"\x00+"):
        first, order = ifd.Directory(), "<"
        notes.append("EXIF and other fields dropped: nightlift does not read them from a BigTIFF")
    else:
        order = ifd.byte_order(data)
        first = ifd.read(data)
    if first.lost:
        notes.append(f"{first.lost} metadata fields dropped: they are broken or lie outside the file")
    info: dict[Any, Any] = {}
    if direct_layout(first, order) is not None:
        frames = _direct_pages(data, order, max_pixels, notes)
    else:
        with silent_stderr():
            frames, info = _pages(data, max_pixels, notes)
    if len(frames) > 1:
        notes.append(f"metadata of the first page kept for all {len(frames)}")
    if LAYERS in first.fields:
        notes.append("Photoshop layers dropped: they show the image before enhancement")
    metadata = _metadata(first, order, info)
    coding = Coding(uncompressed=ifd.numbers(first, COMPRESSION, order) in ((), (UNCOMPRESSED,)))
    return Photo(format="tiff", frames=frames, metadata=metadata, coding=coding, notes=notes)


def write(photo: Photo, quality: int | None, notes: list[str]) -> bytes:
    """Write the frames as pages of a TIFF, deflated unless the source was uncompressed; `quality` is ignored."""
    order, first = _metadata_fields(photo.metadata, notes)
    compressed = not photo.coding.uncompressed
    parts = [(b"II*\x00" if order == "<" else b"MM\x00*"), bytes(4)]
    end = 8
    link = 1  # index in `parts` of the piece that ends with the link to the next directory
    for index, frame in enumerate(photo.frames):
        strips = _strips(frame, order, compressed=compressed)
        directory = ifd.Directory()
        if index == 0:
            directory = first
        elif ICC in first.fields:
            directory.fields[ICC] = first.fields[ICC]
        _describe(directory, frame, order, strips, end, compressed=compressed)
        parts += strips
        end += sum(map(len, strips))
        if end & 1:
            parts.append(b"\x00")
            end += 1
        if end >= 1 << 32:
            raise Unsupported("the result would be larger than a TIFF can be (4 GiB); write it as PNG")
        parts[link] = parts[link][:-4] + struct.pack(order + "I", end)
        packed = ifd.written(directory, order, end)
        split = 2 + 12 * (len(directory.fields) + len(directory.nested)) + 4
        parts += [packed[:split], packed[split:]]
        link = len(parts) - 2
        end += len(packed)
    return b"".join(parts)


def _direct_pages(data: bytes, order: str, max_pixels: int, notes: list[str]) -> list[Frame]:
    """Read the pages that have one of the layouts of tiff_strips.py, as the first one has."""
    frames: list[Frame] = []
    total_px = reduced = others = 0
    for page in ifd.pages(data):
        layout = direct_layout(page, order)
        if frames and (ifd.numbers(page, SUBFILE, order) or (0,))[0] & 1:
            reduced += 1
        elif layout is None:
            others += 1
        else:
            total_px += layout.size[0] * layout.size[1]
            check_size((total_px, 1) if frames else layout.size, 1, max_pixels)
            frames.append(read_directly(data, layout))
    _note_reduced(reduced, notes)
    if others:
        notes.append(f"{others} pages dropped: their samples are not stored like those of the first page")
    return frames


def _note_reduced(count: int, notes: list[str]) -> None:
    if count:
        notes.append(f"{count} reduced copies dropped: they show the image before enhancement")


def _pages(data: bytes, max_pixels: int, notes: list[str]) -> tuple[list[Frame], dict[Any, Any]]:
    frames: list[Frame] = []
    total_px = reduced = 0
    with Image.open(BytesIO(data), formats=("TIFF",)) as image:
        info = dict(image.info)
        count = int(getattr(image, "n_frames", 1))
        for index in range(count):
            image.seek(index)
            tags = getattr(image, "tag_v2", {})
            if index and tags.get(SUBFILE, 0) & 1:
                reduced += 1
                continue
            total_px += image.size[0] * image.size[1]
            check_size((total_px, 1) if frames else image.size, 1, max_pixels)
            check_size(_tile(tags), 1, max_pixels)
            frames.append(_page(data, image, index, notes))
    _note_reduced(reduced, notes)
    return frames, info


def _tile(tags: Any) -> tuple[int, int]:
    """Return width and height of a tile, for which libtiff allocates memory however small the image is."""
    return tags.get(TILE_WIDTH, 0), tags.get(TILE_LENGTH, 0)


def _page(data: bytes, image: ImageFile, index: int, notes: list[str]) -> Frame:
    layout = image.tile[0].args if image.tile else ()
    layout = layout[0] if isinstance(layout, tuple) else layout
    tags = getattr(image, "tag_v2", {})
    if isinstance(layout, str) and layout.split(";")[0] in ("RGB", "RGBX", "RGBA", "RGBa") and ";16" in layout:
        return _sixteen_bits(data, index, layout)
    frame = frame_of(image, notes, icc=image.info.get("icc_profile"))
    if frame.pixels.dtype == np.uint16:
        bits = tags.get(BITS, (16,))[0]
        white = (1 << bits) - 1 if bits < 16 else 65535
        pixels = full_range(frame.pixels, white)
        if image.mode.startswith("I;16") and tags.get(PHOTOMETRIC) == 0:  # WhiteIsZero, which Pillow does not invert
            pixels = 65535 - pixels
        return Frame(pixels=pixels, alpha=frame.alpha)
    if max(tags.get(BITS, (8,))) > 8:
        notes.append("16 bits became 8")
    return frame


def _sixteen_bits(data: bytes, index: int, layout: str) -> Frame:
    """Read all 16 bits in two passes: Pillow holds 8 per channel, but can unpack either byte of each sample."""
    channels, order = layout.split(";16")
    little = order == "L" or (order == "N" and sys.byteorder == "little")
    # Pillow would divide RGBa by its alpha in 8 bits; read as RGBA, the samples stay as they are
    plain = channels.replace("a", "A")
    samples = _unpacked(data, index, plain + (";16L" if little else ";16B")).astype(np.uint16) << 8
    samples |= _unpacked(data, index, plain + (";16B" if little else ";16L"))
    if samples.shape[2] == 3:
        return Frame(pixels=samples)
    pixels, alpha = samples[..., :3], np.ascontiguousarray(samples[..., 3])
    if channels == "RGBa":
        opacity = np.maximum(alpha, 1)[..., None].astype(np.uint32)
        pixels = np.minimum((pixels.astype(np.uint32) * 65535 + opacity // 2) // opacity, 65535).astype(np.uint16)
    return Frame(pixels=np.ascontiguousarray(pixels), alpha=alpha)


def _unpacked(data: bytes, index: int, layout: str) -> Samples:
    with Image.open(BytesIO(data), formats=("TIFF",)) as image:
        image.seek(index)
        image.tile = [tile._replace(args=(layout, *(tile.args or ())[1:])) for tile in image.tile]
        return np.asarray(image)


def _metadata(first: ifd.Directory, order: str, info: dict[Any, Any]) -> Metadata:
    packet = first.fields.get(XMP)
    icc = first.fields.get(ICC)
    kept = ifd.Directory(
        fields={tag: value for tag, value in first.fields.items() if tag not in STRUCTURE}, nested=first.nested
    )
    return Metadata(
        exif=ifd.block(kept, order) if kept.fields or kept.nested else None,
        icc=icc.value if icc else info.get("icc_profile"),
        xmp=xmp.upright(packet.value) if packet else None,
        dpi=_resolution(first, order),
    )


def _resolution(first: ifd.Directory, order: str) -> tuple[float, float] | None:
    """Return dots per inch; None unless both sides and the unit are stated."""
    unit = ifd.numbers(first, RESOLUTION_UNIT, order)
    scale = {2: 1.0, 3: 2.54}.get(unit[0]) if unit else None
    sides = []
    for tag in (X_RESOLUTION, Y_RESOLUTION):
        entry = first.fields.get(tag)
        if entry is not None and entry.kind == ifd.RATIONAL and entry.length == 1:
            above, below = struct.unpack(order + "II", entry.value)
            sides.append(above / below if below else 0.0)
    if scale is None or len(sides) != 2 or not all(sides):
        return None
    return sides[0] * scale, sides[1] * scale


def _metadata_fields(metadata: Metadata, notes: list[str]) -> tuple[str, ifd.Directory]:
    """Return the byte order (that of the EXIF) and the fields of the first page that do not describe its pixels."""
    order, first = "<", ifd.Directory()
    if metadata.exif is not None:
        try:
            order, first = ifd.byte_order(metadata.exif), ifd.read(metadata.exif)
        except ValueError as error:
            notes.append(f"EXIF dropped: {error}")
    first.fields = {tag: value for tag, value in first.fields.items() if tag not in STRUCTURE}
    for tag, kind, content in ((XMP, ifd.BYTE, metadata.xmp), (ICC, ifd.UNDEFINED, metadata.icc)):
        if content is not None:
            first.fields[tag] = ifd.Field(kind, len(content), content)
    if metadata.dpi is not None and X_RESOLUTION not in first.fields:
        for tag, side in zip((X_RESOLUTION, Y_RESOLUTION), metadata.dpi, strict=True):
            first.fields[tag] = ifd.Field(ifd.RATIONAL, 1, struct.pack(order + "II", round(side * 10000), 10000))
        first.fields[RESOLUTION_UNIT] = _short(order, 2)
    return order, first


def _strips(frame: Frame, order: str, *, compressed: bool) -> list[bytes]:
    step = _rows_per_strip(frame)
    strips = []
    for top in range(0, frame.pixels.shape[0], step):
        rows = frame.pixels[top : top + step]
        if frame.alpha is not None:
            rows = np.dstack((rows, frame.alpha[top : top + step]))
        if compressed:  # horizontal differencing (TIFF 6.0 section 14)
            rows = np.concatenate((rows[:, :1], rows[:, 1:] - rows[:, :-1]), axis=1)
        packed = rows.astype(rows.dtype.newbyteorder("<" if order == "<" else ">"), copy=False).tobytes()
        strips.append(zlib.compress(packed, 6) if compressed else packed)
    return strips


def _rows_per_strip(frame: Frame) -> int:
    samples = frame.pixels.shape[2] + (frame.alpha is not None)
    row_bytes = frame.size[0] * samples * int(frame.pixels.dtype.itemsize)
    return int(max(1, STRIP_BYTES_TARGET // row_bytes))


def _describe(
    directory: ifd.Directory, frame: Frame, order: str, strips: list[bytes], at: int, *, compressed: bool
) -> None:
    """Add the fields that describe how the pixels of `frame` are stored, in `strips` from offset `at` on."""
    width, height = frame.size
    channels = frame.pixels.shape[2]
    samples = channels + (frame.alpha is not None)
    sizes = [len(strip) for strip in strips]
    offsets = [at + sum_before for sum_before in np.cumsum([0, *sizes[:-1]]).tolist()]
    if offsets[-1] + sizes[-1] >= 1 << 32:
        raise Unsupported("the result would be larger than a TIFF can be (4 GiB); write it as PNG")
    fields = directory.fields
    fields[WIDTH], fields[LENGTH] = _longs(order, width), _longs(order, height)
    fields[BITS] = _short(order, *[8 * frame.pixels.dtype.itemsize] * samples)
    fields[COMPRESSION] = _short(order, DEFLATE if compressed else UNCOMPRESSED)
    fields[PHOTOMETRIC] = _short(order, 2 if channels == 3 else 1)
    fields[STRIP_OFFSETS], fields[STRIP_BYTES] = _longs(order, *offsets), _longs(order, *sizes)
    fields[ORIENTATION], fields[SAMPLES] = _short(order, 1), _short(order, samples)
    fields[ROWS_PER_STRIP] = _longs(order, _rows_per_strip(frame))
    fields[PLANAR] = _short(order, 1)
    if compressed:
        fields[PREDICTOR] = _short(order, 2)
    if frame.alpha is not None:
        fields[EXTRA_SAMPLES] = _short(order, UNASSOCIATED_ALPHA)


def _short(order: str, *values: int) -> ifd.Field:
    return ifd.Field(ifd.SHORT, len(values), struct.pack(f"{order}{len(values)}H", *values))


def _longs(order: str, *values: int) -> ifd.Field:
    return ifd.Field(ifd.LONG, len(values), struct.pack(f"{order}{len(values)}I", *values))
