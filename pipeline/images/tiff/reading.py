"""Reading of TIFF and BigTIFF: all pages, and the fields that are not about how pixels are stored."""

from pipeline.errors import MediaError
from pipeline.images.metadata import ifd, regions, tags
from pipeline.images.photo import Coding, Frame, Metadata, Photo
from pipeline.images.pixels import check_size, frame_of, turned
from pipeline.images.silence import silent_stderr
from pipeline.images.tiff.frames import frame_of_samples
from pipeline.images.tiff.layout import JPEG, OLD_JPEG, STRUCTURE, UNCOMPRESSED, WEBP, Layout, layout_of
from pipeline.images.tiff.samples import File, samples_of

REDUCED, MASK = 1, 4  # bits of the field NewSubfileType


def read(data: bytes, max_pixels: int) -> Photo:
    """Read all pages of a TIFF except reduced copies. Raises MediaError, or what Pillow raises on damage."""
    notes: list[str] = []
    order, first = ifd.byte_order(data), ifd.read(data)
    if first.lost:
        notes.append(f"{first.lost} metadata fields dropped: they are broken or lie outside the file")
    with silent_stderr():
        frames = _frames(data, max_pixels, notes)
    if len(frames) > 1:
        notes.append(f"metadata of the first page kept for all {len(frames)}")
    if tags.LAYERS in first.fields:
        notes.append("Photoshop layers dropped: they show the image before enhancement")
    metadata = _metadata(first, order, frames[0].size, notes)
    compression = ifd.numbers(first, tags.COMPRESSION, order)
    lossy = not {JPEG, OLD_JPEG, WEBP}.isdisjoint(compression)
    coding = Coding(uncompressed=compression in ((), (UNCOMPRESSED,)), lossy=lossy)
    return Photo(format="tiff", frames=frames, metadata=metadata, coding=coding, notes=notes)


def _frames(data: bytes, max_pixels: int, notes: list[str]) -> list[Frame]:
    """Read all pages but reduced copies and masks. Raises MediaError, which names the page if it is not the first."""
    order, file = ifd.byte_order(data), File(data)
    frames: list[Frame] = []
    total_px = reduced = masks = 0
    for number, page in enumerate(ifd.pages(data), 1):
        subfile = (ifd.numbers(page, tags.SUBFILE, order) or (0,))[0] if frames else 0
        if subfile & REDUCED:
            reduced += 1
        elif subfile & MASK:
            masks += 1
        else:
            try:
                layout = layout_of(page, order)
                total_px += layout.size[0] * layout.size[1]
                check_size((total_px, 1) if frames else layout.size, 1, max_pixels)
                frames.append(_frame(file, page, layout, max_pixels, notes))
            except MediaError as error:
                raise type(error)(f"page {number}: {error}" if frames else str(error)) from error
    if reduced:
        notes.append(f"{reduced} reduced copies dropped: they show the image before enhancement")
    if masks:
        notes.append(f"{masks} transparency masks dropped: nightlift does not apply them")
    return frames


def _frame(file: File, page: ifd.Directory, layout: Layout, max_pixels: int, notes: list[str]) -> Frame:
    """Read one page and turn it upright."""
    # memory is taken for whole tiles, however small the image is
    check_size((layout.tiles[0] * layout.segment[0], layout.tiles[1] * layout.segment[1]), 1, max_pixels)
    profile = page.fields.get(tags.ICC)
    icc = profile.value if profile else None
    if layout.by_pillow:
        with file.opened(page.at) as image:
            return frame_of(image, notes, icc=icc)  # Pillow has turned it already
    return turned(frame_of_samples(samples_of(file, layout), layout, notes, icc), layout.orientation)


def _metadata(first: ifd.Directory, order: str, size: tuple[int, int], notes: list[str]) -> Metadata:
    packet, icc = first.fields.get(tags.XMP), first.fields.get(tags.ICC)
    kept = ifd.Directory(
        fields={tag: value for tag, value in first.fields.items() if tag not in STRUCTURE}, nested=first.nested
    )
    orientation = (ifd.numbers(first, tags.ORIENTATION, order) or (1,))[0]
    if orientation in range(5, 9):  # the pages have been turned
        sides = (tags.X_RESOLUTION, tags.Y_RESOLUTION)
        swapped = {
            tag: first.fields[other] for tag, other in zip(sides, sides[::-1], strict=True) if other in first.fields
        }
        kept.fields = {tag: value for tag, value in kept.fields.items() if tag not in sides} | swapped
    return Metadata(
        exif=_exif(kept, order, notes) if kept.fields or kept.nested else None,
        icc=icc.value if icc else None,
        xmp=regions.upright(packet.value, orientation, size) if packet else None,
        dpi=_resolution(kept, order),
    )


def _exif(kept: ifd.Directory, order: str, notes: list[str]) -> bytes:
    try:
        return ifd.block(kept, order)
    except ValueError as error:
        maker = (
            kept.fields[tags.MAKE].value.rstrip(b"\x00 ").decode("latin-1") if tags.MAKE in kept.fields else "unknown"
        )
        notes.append(f"maker note (of {maker}) dropped: {error}")
    del kept.nested[tags.EXIF_IFD].fields[tags.MAKER_NOTE]
    return ifd.block(kept, order)


def _resolution(first: ifd.Directory, order: str) -> tuple[float, float] | None:
    """Return dots per inch; None unless both sides and the unit are stated."""
    unit = ifd.numbers(first, tags.RESOLUTION_UNIT, order)
    scale = {2: 1.0, 3: 2.54}.get(unit[0]) if unit else None
    sides = [side for tag in (tags.X_RESOLUTION, tags.Y_RESOLUTION) for side in ifd.rationals(first, tag, order)]
    if scale is None or len(sides) != 2 or not all(sides):
        return None
    return sides[0] * scale, sides[1] * scale
