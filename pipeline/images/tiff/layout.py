"""How one page of a TIFF stores its pixels (TIFF 6.0; its supplements 1 and 2), and whether nightlift reads that."""

from dataclasses import dataclass

from pipeline.errors import Damaged, Unsupported
from pipeline.images.metadata import ifd, tags

# Fields that are never copied: they describe how pixels are stored, or are handled separately (XMP, ICC, layers).
STRUCTURE = frozenset(
    tag
    for first, last in (
        (254, 259), (262, 266), (273, 274), (277, 281), (284, 284), (288, 293), (297, 297), (301, 301), (317, 317),
        (320, 333), (336, 347), (512, 521), (529, 532), (559, 559),
        (tags.XMP, tags.XMP), (tags.ICC, tags.ICC), (tags.LAYERS, tags.LAYERS),
    )
    for tag in range(first, last + 1)
)  # fmt: skip
USUAL = ((), (0.299, 0.587, 0.114)), ((), (0, 255, 128, 255, 128, 255))

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB, ICCLAB = 0, 1, 2, 3, 5, 6, 8, 9
COLORS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, CIELAB: 3, ICCLAB: 3}
OTHER_PHOTOMETRICS = {
    4: "a transparency mask", 10: "ITU L*a*b* colours", 32803: "raw sensor data", 32844: "LogL brightness",
    32845: "LogLuv colours", 34892: "raw sensor data",
}  # fmt: skip

UNCOMPRESSED, LZW, DEFLATE, PACKBITS, OLD_DEFLATE, LZMA, ZSTD = 1, 5, 8, 32773, 32946, 34925, 50000
BYTEWISE = frozenset((UNCOMPRESSED, LZW, DEFLATE, PACKBITS, OLD_DEFLATE, LZMA, ZSTD))
PREDICTED = BYTEWISE - {UNCOMPRESSED, PACKBITS}  # for the others, the field Predictor has no meaning
CCITT, OLD_JPEG, JPEG, WEBP = frozenset((2, 3, 4, 32771)), 6, 7, 50001
CODECS = CCITT | {OLD_JPEG, JPEG}
JPEG_PHOTOMETRICS = frozenset((WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK, YCBCR))
OTHER_COMPRESSIONS = {
    32766: "NeXT", 32809: "ThunderScan", 32909: "PixarLog", 33003: "JPEG 2000", 33005: "JPEG 2000", 34661: "JBIG",
    34676: "LogLuv", 34677: "LogLuv", 34712: "JPEG 2000", 34887: "LERC", 34892: "lossy JPEG", 50002: "JPEG XL",
    52546: "JPEG XL",
}  # fmt: skip

ASSOCIATED, UNASSOCIATED = 1, 2
UNSIGNED, SIGNED, FLOATING = 1, 2, 3
FORMATS = {FLOATING: "floating point", 5: "complex integers", 6: "complex floating point"}
MOST_SAMPLES = 8  # red, green, blue and a few more: memory is taken for all


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The fields of a page that say how its pixels are stored, checked against each other."""

    order: str
    """Byte order as in struct."""
    size: tuple[int, int]
    photometric: int
    """A key of COLORS."""
    bits: int
    samples: int
    extra: tuple[int, ...]
    """Meaning of each sample behind the colours: ASSOCIATED, UNASSOCIATED or 0."""
    signed: bool
    planar: bool
    """Whether each sample has a plane of its own."""
    compression: int
    by_pillow: bool
    """Whether Pillow reads the page as a whole."""
    predictor: bool
    """Whether differences between neighbours are stored."""
    fill_order: int
    orientation: int
    segment: tuple[int, int]
    """Width and height of a tile or strip."""
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    color_map: tuple[int, ...]

    @property
    def colors(self) -> int:
        return COLORS[self.photometric]

    @property
    def tiles(self) -> tuple[int, int]:
        """Return how many segments lie beside and below each other."""
        return -(-self.size[0] // self.segment[0]), -(-self.size[1] // self.segment[1])


def layout_of(page: ifd.Directory, order: str) -> Layout:
    """Return the layout of a page. Raises Unsupported for one that nightlift does not read, Damaged for nonsense."""

    def one(tag: int, default: int) -> int:
        return (ifd.numbers(page, tag, order) or (default,))[0]

    size = one(tags.WIDTH, 0), one(tags.LENGTH, 0)
    if not all(size):
        raise Damaged("its TIFF header states no width or height; copy the file again")
    bits = ifd.numbers(page, tags.BITS, order) or (1,)
    compression = one(tags.COMPRESSION, UNCOMPRESSED)
    samples = one(tags.SAMPLES, 3 if compression == OLD_JPEG else len(bits))
    photometric = one(
        tags.PHOTOMETRIC, RGB if samples == 3 else WHITE_IS_ZERO if compression in CCITT else BLACK_IS_ZERO
    )
    if compression == OLD_JPEG:
        photometric = YCBCR  # whatever the file says: old writers were careless
    formats = set(ifd.numbers(page, tags.SAMPLE_FORMAT, order)) or {UNSIGNED}
    _check_samples(set(bits[:samples]), samples, formats)
    _check_colors(photometric, samples, one(tags.INK_SET, 1))
    # YCbCr in its simplest form is read here; with halved colours or a scale of its own libtiff knows how
    scale = ifd.rationals(page, tags.COEFFICIENTS, order), ifd.rationals(page, tags.REFERENCE, order)
    simple = ifd.numbers(page, tags.SUBSAMPLING, order) == (1, 1) and scale[0] in USUAL[0] and scale[1] in USUAL[1]
    by_pillow = compression in CODECS or (photometric == YCBCR and not simple)
    if by_pillow or photometric == YCBCR or compression not in BYTEWISE:
        _check_codec(compression, photometric, bits[0], samples, planar=one(tags.PLANAR, 1) == 2, simple=simple)
    predictor = one(tags.PREDICTOR, 1) if compression in PREDICTED else 1
    if predictor not in (1, 2) or (predictor == 2 and bits[0] not in (8, 16, 32)):
        raise Unsupported(f"it has predictor {predictor} for samples of {bits[0]} bits; {CONVERT}")
    tiled = tags.TILE_OFFSETS in page.fields
    return Layout(
        order=order,
        size=size,
        photometric=photometric,
        bits=bits[0],
        samples=samples,
        extra=_extra(ifd.numbers(page, tags.EXTRA_SAMPLES, order), samples - COLORS[photometric]),
        signed=formats == {SIGNED} and photometric not in (CIELAB, ICCLAB),  # of a* and b* this is known
        planar=one(tags.PLANAR, 1) == 2 and samples > 1,
        compression=compression,
        by_pillow=by_pillow,
        predictor=predictor == 2,
        fill_order=one(tags.FILL_ORDER, 1),
        orientation=one(tags.ORIENTATION, 1) if one(tags.ORIENTATION, 1) in range(1, 9) else 1,
        segment=_segment(page, order, size),
        offsets=ifd.numbers(page, tags.TILE_OFFSETS if tiled else tags.STRIP_OFFSETS, order),
        sizes=ifd.numbers(page, tags.TILE_BYTES if tiled else tags.STRIP_BYTES, order),
        color_map=ifd.numbers(page, tags.COLOR_MAP, order) if photometric == PALETTE else (),
    )


CONVERT = "convert it to 8 or 16 bits first"


def _check_samples(bits: set[int], samples: int, formats: set[int]) -> None:
    depth = " and ".join(map(str, sorted(bits)))
    if formats & FORMATS.keys():
        kind = FORMATS[max(formats & FORMATS.keys())]
        raise Unsupported(f"its samples are {depth}-bit {kind}, for which no white is defined; {CONVERT}")
    if len(bits) > 1:
        raise Unsupported(f"its samples have different sizes, {depth} bits; {CONVERT}")
    if not bits <= {*range(1, 17), 32} or (SIGNED in formats and not bits <= {8, 16, 32}):
        raise Unsupported(f"its samples are {depth}-bit integers; {CONVERT}")
    if samples > MOST_SAMPLES:
        raise Unsupported(f"it has {samples} channels; nightlift reads up to {MOST_SAMPLES}")


def _check_colors(photometric: int, samples: int, ink_set: int) -> None:
    if photometric not in COLORS:
        kind = OTHER_PHOTOMETRICS.get(photometric, f"of an unknown kind ({photometric})")
        raise Unsupported(f"its pixels are {kind}, which nightlift does not read; convert it to RGB first")
    if photometric == CMYK and (ink_set != 1 or samples < 4):
        raise Unsupported(f"its {samples} inks are not CMYK; convert it to RGB first")
    if samples < COLORS[photometric]:
        raise Damaged(f"its TIFF header states {samples} samples for {COLORS[photometric]} colours; copy it again")


def _check_codec(compression: int, photometric: int, bits: int, samples: int, *, planar: bool, simple: bool) -> None:
    """Raise Unsupported for codecs, which have rules of their own, unless this use is known to be read rightly."""
    exactly, in_8_bits = samples == COLORS[photometric], bits == 8 and photometric in JPEG_PHOTOMETRICS
    known = {
        JPEG: in_8_bits and (exactly or (planar and samples == COLORS[photometric] + 1)),
        OLD_JPEG: in_8_bits and exactly and not planar,
        WEBP: in_8_bits and samples in (3, 4) and photometric == RGB and not planar,
    }
    known[JPEG] &= not (photometric == YCBCR and planar)
    known |= dict.fromkeys(CCITT, bits == 1 and samples == 1 and photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO))
    by_libtiff = compression != UNCOMPRESSED and not planar
    known |= dict.fromkeys(BYTEWISE, in_8_bits and exactly and (simple or by_libtiff))
    names = {JPEG: "JPEG", OLD_JPEG: "old-style JPEG", WEBP: "WebP"} | dict.fromkeys(CCITT, "CCITT fax")
    if compression not in known:
        name = OTHER_COMPRESSIONS.get(compression, f"an unknown method ({compression})")
        raise Unsupported(f"it is compressed by {name}, which nightlift does not read in TIFF; save it with LZW or ZIP")
    if not known[compression]:
        name = names.get(compression, "YCbCr")
        raise Unsupported(
            f"it is a TIFF of {name} with {samples} samples of {bits} bits; save it as RGB with LZW or ZIP"
        )


def _extra(stated: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return the meaning of each extra sample. One that is not stated is alpha, as other readers take it."""
    if not stated and count == 1:
        return (UNASSOCIATED,)
    return (*stated[:count], *[0] * (count - len(stated)))


def _segment(page: ifd.Directory, order: str, size: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of a tile, or of a strip. Raises Damaged if a tile has none."""
    if tags.TILE_OFFSETS not in page.fields:
        rows = (ifd.numbers(page, tags.ROWS_PER_STRIP, order) or (0,))[0]
        return size[0], min(rows or size[1], size[1])
    width, height = ((ifd.numbers(page, tag, order) or (0,))[0] for tag in (tags.TILE_WIDTH, tags.TILE_LENGTH))
    if not width or not height:
        raise Damaged("its TIFF header states tiles without a size; copy the file again")
    return width, height
