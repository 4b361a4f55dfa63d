"""AVIF, stills and image sequences: 8 bits are read by Pillow, more by `av1.py`; see there for what is written how."""

import struct
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from PIL import Image

from pipeline.errors import Damaged, Unsupported
from pipeline.images.codecs import av1
from pipeline.images.color import cicp, ycc
from pipeline.images.isobmff import heif_items
from pipeline.images.isobmff.boxes import Box, Colours, clean_aperture, coding_of, colours_of, content_of
from pipeline.images.isobmff.reading import Grid, Items, items_of, sequence_properties
from pipeline.images.isobmff.writing import Item, exif_item, still, xmp_item
from pipeline.images.metadata import exif
from pipeline.images.photo import Coding, Compression, Frame, Metadata, Photo, Samples
from pipeline.images.pixels import check_size, frame_of, image_of
from pipeline.video.signal.color import MATRICES, UNKNOWN_MATRICES
from pipeline.video.signal.transfer import BT2020, HDR

DEFAULT_QUALITY = 85
SAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
DEEP_BITS = 10  # of HDR with 8 bits, and of photos with 16: what screens show, and every encoder has
MATRIX_BT601, MATRIX_BT2020 = 6, 9  # of H.273
OF_ALPHA = Colours(cicp.UNSPECIFIED, cicp.UNSPECIFIED, MATRIX_BT601, full=True)
# properties that stay valid: shape of pixels, display that HDR was mastered on, light around it
KEPT = frozenset((b"pasp", b"mdcv", b"amve"))
ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\x00"
WITH_EXTRA = 'pip install "nightlift[avif]" keeps'


def read(data: bytes, max_pixels: int) -> Photo:
    """Read all frames of an AVIF. Raises MediaError, or what Pillow or FFmpeg raises on damage."""
    notes = list(dict.fromkeys(heif_items.lost(data)))
    with Image.open(BytesIO(data), formats=("AVIF",)) as image:
        count = int(getattr(image, "n_frames", 1))
        check_size(image.size, count, max_pixels)
        info = image.info
        items = items_of(data)
        properties = sequence_properties(data) if count > 1 else items.properties[items.primary]
        coded = coding_of([*properties, *items.properties[items.tiles(items.primary)[1][0]]])
        colours = colours_of(properties)
        deep = coded.bits > 8 and count == 1
        if colours:
            _check_matrix(colours.matrix, deep=deep)
        if deep:
            frame, colours = _deep(items, colours, max_pixels)
            frames = [frame]
        else:
            frames = _frames(image, count, notes)
            if coded.bits > 8:
                notes.append(f"{coded.bits} bits became 8")
    if count == 1 and heif_items.sequence(data):
        notes.append("image sequence dropped: only the still image kept")
    frames = [_shown(frame, properties, grey=coded.sampling == "4:0:0") for frame in frames]
    numbers = (colours.primaries, colours.transfer) if colours else None
    if content_of(properties, b"clli"):
        notes.append(cicp.LIGHT_DROPPED)
    metadata = Metadata(
        # Pillow reports the container's rotation and mirroring as EXIF orientation, which decode.py applies
        exif=exif.without_prefix(info["exif"]) if info.get("exif") else None,
        icc=info.get("icc_profile") or (cicp.profile(*numbers) if numbers else None),
        xmp=info.get("xmp"),
        cicp=numbers,
        avif_boxes=tuple(each for each in properties if each.type in KEPT),
    )
    matrix = colours.matrix if colours else None
    coding = Coding(
        sampling=coded.sampling,
        bits=8 if frames[0].pixels.dtype == np.uint8 else coded.bits,
        matrix=matrix,
        full=colours is None or colours.full,
        lossless=matrix in (ycc.IDENTITY, *ycc.REVERSIBLE),
    )
    return Photo(format="avif", frames=frames, metadata=metadata, coding=coding, notes=notes)


def _check_matrix(matrix: int, *, deep: bool) -> None:
    """Raise Unsupported for colours that are not converted. Pillow would take some for BT.601."""
    if matrix in av1.READ and (deep or matrix not in ycc.REVERSIBLE):
        return
    name = {av1.BT2020_CONSTANT: "BT.2020 of constant luminance", **UNKNOWN_MATRICES}.get(matrix, "unknown")
    raise Unsupported(
        f"its colours are coded by matrix {matrix} of ITU-T H.273 ({name}), which nightlift does not read; "
        "convert it to PNG first"
    )


def _frames(image: Image.Image, count: int, notes: list[str]) -> list[Frame]:
    """Read frames with 8 bits. Times are differences of whole milliseconds, so that their errors do not add up."""
    frames, times = [], []
    for index in range(count):
        image.seek(index)
        image.load()  # sets the times
        frames.append(frame_of(image, notes))
        times.append(image.info["timestamp"])
    if count == 1:
        return frames
    times.append(times[-1] + image.info["duration"])
    return [
        replace(frame, duration_ms=end - start) for frame, (start, end) in zip(frames, pairwise(times), strict=True)
    ]


def _deep(items: Items, colours: Colours | None, max_pixels: int) -> tuple[Frame, Colours]:
    """Read the primary image, and its alpha, with all bits, and how it codes colour: by the file, or else by AV1."""
    pixels, colours = samples_of(items, items.primary, colours, max_pixels)
    if items.alpha is None:
        return Frame(pixels=pixels), colours
    grid, tiles = items.tiles(items.alpha)
    alpha = _joined(grid, [av1.alpha_of(frame) for frame in _decoded(items, tiles, max_pixels)])
    if alpha.shape != pixels.shape[:2]:
        raise Damaged("its alpha has another size than its image; copy the file again")
    return Frame(pixels=_divided(pixels, alpha) if items.premultiplied else pixels, alpha=alpha), colours


def samples_of(items: Items, number: int, colours: Colours | None, max_pixels: int) -> tuple[Samples, Colours]:
    """Decode an image as it is stored: see `ycc.rgb`. `colours`: None if the file does not state them."""
    grid, tiles = items.tiles(number)
    decoded = _decoded(items, tiles, max_pixels)
    if colours is None:
        colours = av1.colours_of(decoded[0])
        _check_matrix(colours.matrix, deep=True)
    return _joined(grid, [av1.samples_of(frame, colours) for frame in decoded]), colours


def _decoded(items: Items, tiles: Sequence[int], max_pixels: int) -> list[VideoFrame]:
    """Decode tiles, which together have no more than `max_pixels`, and all the size of the first one."""
    frames: list[VideoFrame] = []
    for tile in tiles:
        frames.append(av1.decoded(items.contents[tile], max_pixels))
        check_size((frames[0].width, frames[0].height), len(frames), max_pixels)
        if (frames[-1].width, frames[-1].height) != (frames[0].width, frames[0].height):
            raise Damaged("tiles of its image differ in size; copy the file again")
    return frames


def _joined(grid: Grid | None, tiles: list[Samples]) -> Samples:
    if grid is None:
        return tiles[0]
    rows = [np.hstack(tiles[at : at + grid.columns]) for at in range(0, len(tiles), grid.columns)]
    return np.ascontiguousarray(np.vstack(rows)[: grid.height, : grid.width])


def _divided(pixels: Samples, alpha: Samples) -> Samples:
    """Return pixels without the alpha that was multiplied into them; where it is 0 they become black."""
    share = np.maximum(alpha, 1).astype(np.uint32)[..., None]
    divided = np.minimum((pixels.astype(np.uint32) * 65535 + share // 2) // share, 65535)
    return np.where(alpha[..., None] > 0, divided, 0).astype(np.uint16)


def _shown(frame: Frame, properties: list[Box], *, grey: bool) -> Frame:
    """Crop a stored frame to its clean aperture, and make it grey if it was stored so."""
    pixels, alpha = frame.pixels, frame.alpha
    if grey:
        pixels = pixels[..., :1]
    aperture = clean_aperture(properties, *frame.size)
    if aperture is not None:
        pixels, alpha = pixels[aperture], None if alpha is None else np.ascontiguousarray(alpha[aperture])
    return replace(frame, pixels=np.ascontiguousarray(pixels), alpha=alpha)


def write(photo: Photo, compression: Compression, notes: list[str]) -> bytes:
    """Write frames as AVIF, a still with the source's own depth and sampling if an encoder at hand has them."""
    if photo.animated:
        return _animation(photo, _sampling(photo), _quality_of(compression), notes)
    return still(items_to_write(photo, compression, notes))


def items_to_write(photo: Photo, compression: Compression, notes: list[str]) -> list[Item]:
    """Encode a still as the items of a file, of which the first is the image. What is lost is noted."""
    sampling = _sampling(photo)
    metadata, colours = photo.metadata, _colours(photo)
    coded, alpha = _coded(photo, sampling, compression, colours, notes)
    bare = items_of(coded)
    made = colours_of(bare.properties[bare.primary]) or colours
    colours = colours._replace(matrix=made.matrix, full=made.full)
    items = [image_item(bare, bare.primary, [*_colour_boxes(metadata, colours), *_boxes(metadata)])]
    if alpha is not None:
        with_alpha = items_of(alpha)
        number = with_alpha.primary if with_alpha.alpha is None else with_alpha.alpha
        item = image_item(with_alpha, number, [Box(b"auxC", bytes(4) + ALPHA)])
        items.append(replace(item, references=[(b"auxl", (1,))]))
    if metadata.exif is not None:
        items.append(exif_item(metadata.exif))
    if metadata.xmp is not None:
        items.append(xmp_item(metadata.xmp))
    return items


def _sampling(photo: Photo) -> str:
    if photo.frames[0].pixels.shape[2] == 1:
        return "4:0:0"
    return photo.coding.sampling if photo.coding.sampling in SAMPLINGS else "4:4:4"


def _colours(photo: Photo) -> Colours:
    """Return how the source codes colour, or what suits its primaries."""
    unstated = (cicp.UNSPECIFIED, cicp.UNSPECIFIED) if photo.metadata.icc is not None else cicp.SRGB_NUMBERS
    primaries, transfer = cicp.numbers_of(photo.metadata) or unstated
    own = MATRIX_BT2020 if primaries == BT2020 else MATRIX_BT601
    matrix = photo.coding.matrix if photo.coding.matrix in MATRICES else own
    return Colours(primaries, transfer, matrix, photo.coding.full)


def _coded(
    photo: Photo, sampling: str, compression: Compression, colours: Colours, notes: list[str]
) -> tuple[bytes, bytes | None]:
    """Encode a still; return files that hold its image and its alpha, which may be one. What is lost is noted."""
    frame, hdr = photo.frames[0], colours.transfer in HDR
    lossless = photo.coding.lossless and photo.format == "avif" and compression.quality is None
    level = av1.LOSSLESS_QUALITY if lossless else _quality_of(compression)
    source_bits = 8 if frame.pixels.dtype == np.uint8 else photo.coding.bits or 16
    bits = DEEP_BITS if source_bits > 12 or (hdr and source_bits < DEEP_BITS) else source_bits
    if av1.keeps_all() and (bits > 8 or lossless):
        if bits < source_bits:
            notes.append(f"{source_bits} bits became {bits}")
        colours = colours._replace(matrix=ycc.IDENTITY) if lossless else colours
        coded = av1.by_imagecodecs(frame, bits, sampling, level, colours)
        return coded, None if frame.alpha is None else coded
    if lossless:
        notes.append(f"lossless compression became quality {level}: {WITH_EXTRA} it")
    if bits > 8 and (hdr or sampling == "4:2:0") and av1.svt_takes(frame.size):
        if source_bits > DEEP_BITS:
            notes.append(f"{source_bits} bits became {DEEP_BITS}: {WITH_EXTRA} more")
        if sampling != "4:2:0":
            notes.append(f"chroma sampling of {sampling} became 4:2:0: {WITH_EXTRA} it")
        alpha = None if frame.alpha is None else av1.by_svt(frame.alpha[..., None], av1.LOSSLESS_QUALITY, OF_ALPHA)
        return av1.by_svt(frame.pixels, level, colours), alpha
    if hdr:
        raise Unsupported(f"its {HDR[colours.transfer]} is too small for the encoder at hand; write it as PNG")
    if source_bits > 8:
        notes.append(f"{source_bits} bits became 8: {WITH_EXTRA} more")
    coded = av1.by_pillow(frame, sampling, level, full=colours.full)
    return coded, None if frame.alpha is None else coded


def image_item(file: Items, number: int, properties: list[Box]) -> Item:
    """Return an image of another file as an item, with its size, coding and these properties."""
    own = [each for each in file.properties[number] if each.type in (b"ispe", b"pixi", b"av1C")]
    return Item(kind=b"av01", content=file.contents[number], properties=[*own, *properties])


def _colour_boxes(metadata: Metadata, colours: Colours) -> list[Box]:
    numbers = struct.pack(">HHHB", colours.primaries, colours.transfer, colours.matrix, colours.full << 7)
    found = [Box(b"colr", b"nclx" + numbers)]
    if metadata.icc is not None and metadata.icc != cicp.profile(colours.primaries, colours.transfer):
        found.append(Box(b"colr", b"prof" + metadata.icc))
    return found


def _boxes(metadata: Metadata) -> list[Box]:
    return [Box(*each) for each in metadata.avif_boxes]


def _quality_of(compression: Compression) -> int:
    return DEFAULT_QUALITY if compression.quality is None else compression.quality


def _animation(photo: Photo, sampling: str, quality: int, notes: list[str]) -> bytes:
    """Write uint8 frames as an image sequence."""
    frames, metadata = photo.frames, photo.metadata
    if frames[0].pixels.dtype != np.uint8:
        raise Unsupported("animations of more than 8 bits cannot be written as AVIF; write it as PNG")
    options: dict[str, Any] = {"quality": quality, "subsampling": sampling, **av1.alpha_without_loss(frames[0])}
    if metadata.exif is not None:
        # AVIF states orientation in its container; with the tag left in, Pillow would rewrite the whole block
        options["exif"] = exif.without_orientation(metadata.exif)
    if metadata.icc is not None:
        options["icc_profile"] = metadata.icc
    if metadata.xmp is not None:
        options["xmp"] = metadata.xmp
    if metadata.avif_boxes:
        notes.append("shape of pixels dropped: animations are written without it")
    if photo.loop:
        notes.append(f"loop count of {photo.loop} dropped: the animation plays for ever")
    times = [round(time) for time in accumulate((frame.duration_ms or 0 for frame in frames), initial=0.0)]
    first, *others = (image_of(frame) for frame in frames)
    buffer = BytesIO()
    durations = [end - start for start, end in pairwise(times)]
    first.save(buffer, "AVIF", save_all=True, append_images=others, duration=durations, **options)
    return buffer.getvalue()
