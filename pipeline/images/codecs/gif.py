"""GIF 89a: frames are read as shown, and written in full, each with its own palette.

Pillow's writer merges identical frames into one; here each source frame stays a frame.
"""

import struct
from collections.abc import Iterator
from io import BytesIO

import numpy as np
from PIL import Image

from pipeline.images.photo import Compression, Frame, Metadata, Photo
from pipeline.images.pixels import add_note, check_size, frame_of, image_of
from pipeline.video.structure.iso_boxes import CREDENTIALS_DROPPED

MAX_COMMENT_BYTES = 1 << 16
KEEP, RESTORE_TO_BACKGROUND = 1, 2  # disposal methods, section 23
TRANSPARENT = 255  # palette index of transparent pixels in files written here
OPAQUE = 128  # alpha from which a pixel is shown
EXTENSION, DESCRIPTOR, TRAILER = b"\x21", b"\x2c", b"\x3b"
COMMENT, PLAIN_TEXT = b"\xfe", b"\x01"  # labels of extensions, sections 24 and 25
# Application extensions, section 26
APPLICATION = b"\x21\xff\x0b"
ICC = b"ICCRGBG1012"  # ICC.1:2022 section B.5
XMP = b"XMP DataXMP"  # XMP specification part 3, section 1.1.2: its packet is not cut into sub-blocks
# These bytes follow it: readers that take any byte of the packet for the length of a sub-block get to their end
MAGIC = bytes((1, *range(255, -1, -1), 0))
LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
CREDENTIALS = b"C2PA_GIF"


def read(data: bytes, max_pixels: int) -> Photo:
    """Read all frames of a GIF. Raises MediaError, or what Pillow raises on damage."""
    notes: list[str] = []
    # check before opening: Pillow allocates memory for a frame as soon as it finds it
    check_size(_extent(data), 1, max_pixels)
    with Image.open(BytesIO(data), formats=("GIF",)) as image:
        loop = image.info.get("loop")
        count = int(getattr(image, "n_frames", 1))
        check_size(_extent(data), count, max_pixels)
        frames = [_frame(image, index, count) for index in range(count)]
    metadata = _metadata(data, notes)
    return Photo(format="gif", frames=frames, metadata=metadata, loop=loop if count > 1 else None, notes=notes)


def write(photo: Photo, compression: Compression, notes: list[str]) -> bytes:
    """Write uint8 RGB frames as GIF; `compression` is ignored."""
    width, height = photo.frames[0].size
    parts = [struct.pack("<6sHHBBB", b"GIF89a", width, height, 0x70, 0, 0)]
    if photo.animated and photo.loop is not None:
        parts.append(APPLICATION + LOOPS[0] + b"\x03\x01" + struct.pack("<H", min(photo.loop, 65535)) + b"\x00")
    if photo.metadata.icc:
        parts.append(APPLICATION + ICC + _sub_blocks(photo.metadata.icc))
    if photo.metadata.xmp:
        parts.append(APPLICATION + XMP + photo.metadata.xmp + MAGIC)
    if photo.metadata.comment:
        parts.append(EXTENSION + COMMENT + _sub_blocks(photo.metadata.comment[:MAX_COMMENT_BYTES]))
    exact = True
    for frame in photo.frames:
        paletted, kept_all = _paletted(frame)
        exact = exact and kept_all
        parts.append(_block(paletted, frame))
    if not exact:
        notes.append("colours reduced to 256 in each frame: GIF holds no more")
    return b"".join((*parts, TRAILER))


def _frame(image: Image.Image, index: int, count: int) -> Frame:
    image.seek(index)
    # without notes: every GIF has a palette, so converting it is not worth one
    return frame_of(image, [], duration_ms=image.info.get("duration", 0) if count > 1 else None)


def _metadata(data: bytes, notes: list[str]) -> Metadata:
    """Return comments, ICC profile and XMP. Other extensions, which Pillow does not draw, are noted."""
    comments, icc, packet = [], None, None
    for label, at in _extensions(data):
        name = data[at + 1 : at + 12]
        if label == COMMENT:
            comments.append(_joined_blocks(data, at))
        elif label == PLAIN_TEXT:
            add_note(notes, "plain text over the image dropped")
        elif label != APPLICATION[1:2] or name in LOOPS:
            continue
        elif name == XMP:
            end = data.find(MAGIC[:-1], at)
            packet = data[at + 12 : end] if end > 0 else None
        elif name == ICC:
            icc = _joined_blocks(data, at + 12)
        elif name.startswith(CREDENTIALS):
            add_note(notes, CREDENTIALS_DROPPED)
        else:
            add_note(notes, f"data of another program dropped: {name.decode('latin-1')!a}")
    return Metadata(comment=b"\n".join(comments) or None, icc=icc or None, xmp=packet or None)


def _extensions(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield label and offset of the first sub-block of each extension."""
    at = 13 + _palette_bytes(data[10])
    while at + 2 < len(data) and (kind := data[at : at + 1]) != TRAILER:
        if kind == EXTENSION:
            yield data[at + 1 : at + 2], at + 2
            at = _behind_blocks(data, at + 2)
        elif kind == DESCRIPTOR and at + 9 < len(data):
            at = _behind_blocks(data, at + 11 + _palette_bytes(data[at + 9]))
        else:
            at += 1


def _joined_blocks(data: bytes, at: int) -> bytes:
    parts = []
    while at < len(data) and data[at]:
        parts.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return b"".join(parts)


def _extent(data: bytes) -> tuple[int, int]:
    """Return width and height that hold the screen and all frames, which may exceed it (sections 18 and 20)."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _palette_bytes(flags)
    while at < len(data) and (kind := data[at : at + 1]) != TRAILER:
        if kind == EXTENSION:
            blocks_at = at + 2
            at = _behind_blocks(data, blocks_at)
            # except for a comment, Pillow reads on after an empty extension
            if at == blocks_at + 1 and data[blocks_at - 1 : blocks_at] != COMMENT:
                at = _behind_blocks(data, at)
        elif kind == DESCRIPTOR:
            x, y, wide, high, flags = struct.unpack_from("<HHHHB", data, at + 1)
            width, height = max(width, x + wide), max(height, y + high)
            at = _behind_blocks(data, at + 11 + _palette_bytes(flags))
        else:
            at += 1
    return width, height


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _behind_blocks(data: bytes, at: int) -> int:
    """Return the offset after the sub-blocks that begin at `at` and the empty one that ends them (section 15)."""
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


def _paletted(frame: Frame) -> tuple[Image.Image, bool]:
    """Convert a frame, without its alpha, to a palette; return it and whether every colour that is seen was kept."""
    pixels, most = frame.pixels, 256
    if frame.alpha is not None:  # colours of hidden pixels take no place in the palette
        shown = frame.alpha >= OPAQUE
        pixels, most = np.where(shown[..., None], pixels, pixels[shown][0] if shown.any() else 0), TRANSPARENT
    opaque = image_of(Frame(pixels=pixels))
    if opaque.getcolors(most) is not None:
        return opaque.quantize(most, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE), True
    palette = opaque.quantize(most, Image.Quantize.MEDIANCUT)
    return opaque.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG), False


def _block(image: Image.Image, frame: Frame) -> bytes:
    """Encode a frame: graphic control extension (section 23), image descriptor with local palette, and pixels."""
    transparent = frame.alpha is not None
    if frame.alpha is not None:
        indices = np.asarray(image).copy()
        indices[frame.alpha < OPAQUE] = TRANSPARENT
        palette = image.getpalette()
        image = Image.frombytes("P", frame.size, indices.tobytes())
        image.putpalette(palette or [])
    # hundredths of a second
    delay = min(round((frame.duration_ms or 0) / 10), 65535)
    disposal = RESTORE_TO_BACKGROUND if transparent else KEEP
    control = struct.pack("<BHB", disposal << 2 | transparent, delay, TRANSPARENT if transparent else 0)
    colours = bytes(image.getpalette() or []).ljust(768, b"\x00")[:768]
    descriptor = struct.pack("<BHHHHB", 0x2C, 0, 0, *frame.size, 0x87)
    return b"\x21\xf9\x04" + control + b"\x00" + descriptor + colours + _lzw(image)


def _lzw(image: Image.Image) -> bytes:
    """Encode palette indices as GIF stores them: code size, then blocks. Taken from a GIF that Pillow writes."""
    buffer = BytesIO()
    plain = Image.frombytes("L", image.size, image.tobytes())  # grey keeps all indices as they are
    plain.save(buffer, "GIF", optimize=False, interlace=False)
    data = buffer.getvalue()
    at = 13 + _palette_bytes(data[10])
    while data[at : at + 1] == EXTENSION:
        at = _behind_blocks(data, at + 2)
    at += 10 + _palette_bytes(data[at + 9])
    return data[at : -len(TRAILER)]


def _sub_blocks(payload: bytes) -> bytes:
    parts = [payload[at : at + 255] for at in range(0, len(payload), 255)]
    return b"".join(bytes((len(part),)) + part for part in parts) + b"\x00"
