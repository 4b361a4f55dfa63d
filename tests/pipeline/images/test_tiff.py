"""TIFF of every layout, written by tifffile, which shares no decoder with ours: the samples that went in come out."""

from collections.abc import Iterator
from io import BytesIO
from itertools import cycle, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline.errors import Damaged, MediaError, Unsupported
from pipeline.images import decode, encode
from pipeline.images.color import conversion
from tests.support import media

MAX_PX = 1_000_000
WIDTH, HEIGHT = 37, 29
REPORTED = "data/dev/reports_photos"
ORIENTATION = 274

# name: samples, photometric, extra samples; of `colors` samples nightlift keeps those, and alpha
KINDS: dict[str, tuple[int, str, list[str]]] = {
    "grey": (1, "minisblack", []),
    "white-is-zero": (1, "miniswhite", []),
    "grey-alpha": (2, "minisblack", ["unassalpha"]),
    "grey-premultiplied": (2, "minisblack", ["assocalpha"]),
    "rgb": (3, "rgb", []),
    "rgb-alpha": (4, "rgb", ["unassalpha"]),
    "rgb-premultiplied": (4, "rgb", ["assocalpha"]),
    "rgb-other": (4, "rgb", ["unspecified"]),
    "rgb-spot-alpha": (5, "rgb", ["unspecified", "unassalpha"]),
    "cmyk": (4, "separated", []),
    "cmyk-alpha": (5, "separated", ["unassalpha"]),
    "ycbcr": (3, "ycbcr", []),
    "lab": (3, "cielab", []),
    "icclab": (3, "icclab", []),
}


def read(coded: bytes) -> Any:
    return decode(coded, max_pixels=MAX_PX)


def layouts(*compressions: str | None) -> Iterator[dict[str, Any]]:
    """Planes together and apart, strips and tiles; byte order, predictor and size of offsets vary."""
    order, big, orientation = cycle("<>"), cycle((False, False, True)), cycle(range(1, 9))
    for planes, tiled, compression in product(("contig", "separate"), (False, True), compressions):
        yield {
            "planarconfig": planes,
            "compression": compression,
            "predictor": 2 if compression in ("lzw", "zlib", "lzma") else None,
            "byteorder": next(order),
            "bigtiff": next(big),
            "orientation": next(orientation),
            **({"tile": (16, 32)} if tiled else {"rowsperstrip": 7}),
        }


def written(pages: list[Any], kind: str, *, byteorder: str, bigtiff: bool, orientation: int, **options: Any) -> bytes:
    """Write HxWxS samples, one page each; pages differ in their orientation."""
    samples, photometric, extra = KINDS[kind]
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer, byteorder=byteorder, bigtiff=bigtiff) as writer:
        for index, page in enumerate(pages):
            if options["planarconfig"] == "separate" and samples > 1:
                page = np.moveaxis(page, -1, 0)
            own = options if samples > 1 else {key: value for key, value in options.items() if key != "planarconfig"}
            writer.write(
                np.ascontiguousarray(page if samples > 1 else page[..., 0]),
                photometric=photometric,
                extrasamples=extra,
                extratags=[(ORIENTATION, 3, 1, (orientation + index - 1) % 8 + 1, True)],
                metadata=None,
                contiguous=False,
                **own,
            )
    return buffer.getvalue()


def shown(samples: Any, kind: str) -> tuple[Any, Any]:
    """Return the pixels and the alpha that samples stand for."""
    _, photometric, extra = KINDS[kind]
    white = np.iinfo(samples.dtype).max
    pixels, alpha = samples[..., : samples.shape[2] - len(extra)], None
    if any("alpha" in name for name in extra):
        alpha = samples[..., -1]
    if photometric == "miniswhite":
        pixels = white - pixels
    if "assocalpha" in extra:
        assert alpha is not None
        opacity = np.maximum(alpha, 1)[..., None].astype(np.int64)
        pixels = np.minimum((2 * white * pixels.astype(np.int64) + opacity) // (2 * opacity), white)
        pixels = pixels.astype(samples.dtype)
    if photometric == "separated":
        pixels, alpha = in_8_bits(pixels), None if alpha is None else in_8_bits(alpha)
        pixels = np.asarray(Image.frombytes("CMYK", (WIDTH, HEIGHT), pixels.tobytes()).convert("RGB"))
    elif photometric == "ycbcr":
        pixels = np.asarray(Image.frombytes("YCbCr", (WIDTH, HEIGHT), pixels.tobytes()).convert("RGB"))
    elif photometric in ("cielab", "icclab"):
        pixels = lab_in_srgb(pixels, signed=photometric == "cielab")
    return pixels, alpha


def in_8_bits(samples: Any) -> Any:
    return samples if samples.dtype == np.uint8 else np.round(samples / 257).astype(np.uint8)


def lab_in_srgb(lab: Any, *, signed: bool) -> Any:
    if signed:  # a* and b* as two's complement
        lab = lab.copy()
        lab[..., 1:] += 1 << (8 * lab.itemsize - 1)
    if lab.dtype == np.uint16:
        light = lab[..., :1] / (257 if signed else 256)
        lab = np.clip(np.floor(np.dstack((light, lab[..., 1:] / 256)) + 0.5), 0, 255).astype(np.uint8)
    lab = lab.copy()
    lab[..., 1:] += 128  # Pillow takes them signed
    image = Image.frombytes("LAB", lab.shape[1::-1], lab.tobytes())
    return np.asarray(conversion.srgb(image, None)[0])


def upright(samples: Any, orientation: int) -> Any:
    """Turn by the definition of the field: where row 0 and column 0 of the stored image are (TIFF 6.0, page 36)."""
    stored = {1: "TL", 2: "TR", 3: "BR", 4: "BL", 5: "LT", 6: "RT", 7: "RB", 8: "LB"}[orientation]
    if stored[0] in "LR":
        samples = samples.swapaxes(0, 1)
    if "B" in stored:
        samples = np.flip(samples, 0)
    return np.flip(samples, 1) if "R" in stored else samples


def check(coded: bytes, expected: list[tuple[Any, Any]]) -> None:
    """Compare the pages of a file with what they should show, and once more after they were written."""
    photo = read(coded)
    again = read(encode(photo, "tiff", quality=None)[0])
    for frames in (photo.frames, again.frames):
        assert len(frames) == len(expected)
        for frame, (pixels, alpha) in zip(frames, expected, strict=True):
            assert frame.pixels.dtype == pixels.dtype
            np.testing.assert_array_equal(frame.pixels, pixels)
            assert (frame.alpha is None) == (alpha is None)
            if alpha is not None:
                np.testing.assert_array_equal(frame.alpha, alpha)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_every_page_of_every_layout_is_read_as_it_was_written(kind: str, depth: int) -> None:
    noise = np.random.default_rng(depth).integers(0, 1 << depth, (2, HEIGHT, WIDTH, KINDS[kind][0]))
    pages = [*noise.astype(np.uint8 if depth == 8 else np.uint16)]
    if kind == "ycbcr" and depth == 16:
        with pytest.raises(Unsupported, match="YCbCr"):
            read(written(pages, kind, **next(layouts(None))))
        return
    known = [shown(page, kind) for page in pages]
    for layout in layouts(*((None, "lzw", "zstd") if depth == 8 else ("packbits", "zlib", "lzma"))):
        expected = [
            tuple(part if part is None else upright(part, (layout["orientation"] + index - 1) % 8 + 1) for part in page)
            for index, page in enumerate(known)
        ]
        check(written(pages, kind, **layout), expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 7, 10, 12, 14])
@pytest.mark.parametrize("channels", [1, 3])
def test_samples_of_any_number_of_bits_fill_the_range(channels: int, bits: int, order: str) -> None:
    white = (1 << bits) - 1
    samples = np.random.default_rng(bits).integers(0, white + 1, (HEIGHT, WIDTH, channels))
    coded = packed(samples, bits, order)
    whole = 255 if bits <= 8 else 65535
    expected = np.floor(samples * (whole / white) + 0.5).astype(np.uint8 if bits <= 8 else np.uint16)
    check(coded, [(expected, None)])


def packed(samples: Any, bits: int, order: str, *, photometric: int | None = None, **fields: Any) -> bytes:
    """Write samples bit by bit, the highest first, each row from a new byte on (TIFF 6.0 section 3)."""
    height, width, channels = samples.shape
    rows = samples.reshape(height, -1, 1) >> np.arange(bits)[::-1] & 1
    coded = np.packbits(rows.reshape(height, -1).astype(np.uint8), axis=1).tobytes()
    if photometric is None:
        photometric = 1 if channels == 1 else 2
    entries = {
        256: [width], 257: [height], 258: [bits] * channels, 259: [1], 262: [photometric], 273: [8], 277: [channels],
        278: [height], 279: [len(coded)],
    } | {int(tag[1:]): values for tag, values in fields.items()}  # fmt: skip
    return media.tiff(coded, entries, order=order)


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("scale", [1, 256, 257])
def test_a_colour_map_may_have_8_bits(bits: int, scale: int) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (3, 1 << bits))
    colors[0, 0] = 255
    indices = np.random.default_rng(1).integers(0, 1 << bits, (HEIGHT, WIDTH, 1))
    coded = packed(indices, bits, "<", photometric=3, t320=(colors * scale).ravel().tolist())
    check(coded, [(colors.T[indices[..., 0]].astype(np.uint8), None)])


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"dtype": np.float16}, "16-bit floating point"),
        ({"dtype": np.float32, "predictor": 3, "compression": "zlib"}, "32-bit floating point"),
        ({"dtype": np.float64}, "64-bit floating point"),
        ({"dtype": np.complex64}, "64-bit complex floating point"),
        ({"dtype": np.uint32}, "32-bit integers beyond 65535"),
        ({"dtype": np.uint64}, "64-bit integers"),
        ({"dtype": np.int8}, "signed"),
        ({"dtype": np.int16}, "signed"),
        ({"compression": "jpegxl"}, "JPEG XL"),
        ({"compression": "jpeg2000"}, "JPEG 2000"),
        ({"photometric": "cfa"}, "camera raw"),
        ({"photometric": 32844}, "LogL"),
        ({"photometric": "separated", "shape": (4,), "extratags": [(332, 3, 1, 2, True)]}, "inks"),
    ],
)
def test_what_nobody_reads_rightly_is_unsupported_and_says_what_it_is(options: dict[str, Any], what: str) -> None:
    dtype, shape = options.pop("dtype", np.uint8), options.pop("shape", ())
    samples = np.random.default_rng(0).integers(-(1 << 15), 1 << 40, (HEIGHT, WIDTH, *shape))
    buffer = BytesIO()
    with np.errstate(over="ignore"):
        samples = samples.astype(dtype)
    tifffile.imwrite(buffer, samples, **({"photometric": "minisblack"} | options))
    with pytest.raises(Unsupported, match=what):
        read(buffer.getvalue())


def test_halved_colours_without_compression_are_unsupported() -> None:
    coded = packed(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 8, "<", photometric=6, t530=[2, 2])
    with pytest.raises(Unsupported, match="YCbCr"):
        read(coded)


def test_a_page_that_cannot_be_read_fails_the_file_and_is_named() -> None:
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(media.night(), photometric="rgb")
        writer.write(media.night().astype(np.float32), photometric="rgb")
    with pytest.raises(Unsupported, match="page 2: its samples are 32-bit floating point"):
        read(buffer.getvalue())


@pytest.mark.parametrize("compression", ["lzw", "zlib", "zstd", "packbits", None])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_a_layout_that_is_cut_stays_damaged(planes: str, compression: str | None) -> None:
    noise = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(np.uint16)
    coded = written(
        [noise], "rgb", byteorder="<", bigtiff=False, orientation=1, planarconfig=planes, compression=compression,
        rowsperstrip=7,
    )  # fmt: skip
    for kept in (0.95, 0.5):
        with pytest.raises(Damaged):
            read(coded[: int(len(coded) * kept)])


@pytest.mark.parametrize("compression", ["jpeg", "webp", "ccittfax4"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_codecs_inside_of_tiff_are_read_on_every_page(compression: str, orientation: int) -> None:
    lines = np.indices((64, 96)).sum(axis=0) % 24 < 12
    first = Image.fromarray(lines) if compression == "ccittfax4" else Image.fromarray(media.night())
    buffer = BytesIO()
    if compression == "webp":  # which Pillow's libtiff may lack
        with tifffile.TiffWriter(buffer) as writer:
            for _ in range(2):
                writer.write(
                    media.night(), photometric="rgb", compression="webp", compressionargs={"level": -1},
                    contiguous=False, extratags=[(ORIENTATION, 3, 1, orientation, True)], metadata=None,
                )  # fmt: skip
    else:
        name = {"jpeg": "jpeg", "ccittfax4": "group4"}[compression]
        first.save(
            buffer, "TIFF", compression=name, save_all=True, append_images=[first], tiffinfo={ORIENTATION: orientation}
        )
    wanted = np.asarray(first.convert("L" if compression == "ccittfax4" else "RGB"))
    frames = read(buffer.getvalue()).frames
    assert len(frames) == 2
    pixels = frames[0].pixels.squeeze().astype(int)
    assert np.abs(pixels - upright(wanted, orientation)).mean() < (4 if compression == "jpeg" else 0.01)


def test_the_reported_files_show_what_their_controls_show(shared: Path) -> None:
    folder = shared / REPORTED

    def pixels(name: str, page: int = 0) -> Any:
        return read((folder / name).read_bytes()).frames[page].pixels.astype(int)

    control = pixels("02-tiff-planar-noise/rgb16-strips-control.tif")
    alike = [
        "02-tiff-planar-noise/rgb16-tiles.tif", "13-not-damaged/rgb-alpha-spot-16.tif",
        "01-tiff-pages-lost/planes-apart-16.tif",
    ]  # fmt: skip
    in_8_bits = [
        "02-tiff-planar-noise/cmyk16.tif", "13-not-damaged/cmyk-alpha-8.tif", "13-not-damaged/rgbx-8-planes.tif",
        "13-not-damaged/bigtiff-big-endian.tif", "13-not-damaged/fields-32.bmp",
    ]  # fmt: skip
    assert all(np.array_equal(pixels(name), control) for name in alike)
    assert all(np.array_equal(pixels(name) * 257, control) for name in in_8_bits)
    assert np.array_equal(pixels("02-tiff-planar-noise/rgb16-orientation6.tif"), np.rot90(control, -1))
    second = pixels("01-tiff-pages-lost/together-16-control.tif", 1)
    assert np.array_equal(pixels("01-tiff-pages-lost/planes-apart-16.tif", 1), second)
    maps = [pixels(f"03-tiff-8bit-colormap/{name}.tif") for name in ("map-0-255", "map-0-65535-control")]
    assert np.array_equal(*maps)
    grey = pixels("13-not-damaged/grey-alpha-16-tiles.tif")
    for name in ("grey-alpha-16-lzw", "white-is-zero-16-big-endian"):
        assert np.array_equal(pixels(f"13-not-damaged/{name}.tif"), grey)
    assert np.abs(pixels("13-not-damaged/lab-16.tif") - control / 257).mean() < 1
    assert np.abs(pixels("13-not-damaged/fields-4444.bmp") - control / 257).max() <= 16
    assert np.abs(pixels("13-not-damaged/empty-jfif-segment.jpg") - control / 257).mean() < 3
    for name in ("grey-float32", "rgb-float16", "rgb-float32", "rgb-uint32"):
        with pytest.raises(Unsupported, match="-bit"):
            pixels(f"13-not-damaged/{name}.tif")


def test_every_reported_tiff_keeps_its_pages_and_pixels(shared: Path) -> None:
    for path in sorted((shared / REPORTED).glob("*/*.tif")):
        try:
            photo = read(path.read_bytes())
        except MediaError as error:
            assert error.code == "unsupported", path.name
            continue
        again = read(encode(photo, "tiff", quality=None)[0])
        with tifffile.TiffFile(path) as file:
            assert len(again.frames) == len(photo.frames) == len(file.pages), path.name
        for one, other in zip(photo.frames, again.frames, strict=True):
            assert np.array_equal(one.pixels, other.pixels), path.name
