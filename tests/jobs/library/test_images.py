"""`nightlift.enhance`: each kind of image comes back in its kind, and is what the job makes of the same photo."""

import io
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import nightlift
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from jobs.cli import main
from tests.support import media
from tests.support.media import Samples

NIGHT = media.night()
PHOTOS = {
    "grey.png": media.saved(NIGHT[..., 1], "PNG"),
    "plain.png": media.saved(NIGHT, "PNG"),
    "soft.png": media.saved(np.dstack((NIGHT, media.soft_alpha())), "PNG"),
    "deep.png": media.png_16(media.night_16()),
    "palette.png": media.saved(Image.fromarray(NIGHT).quantize(32), "PNG"),
    "wide.png": media.saved(NIGHT, "PNG", icc_profile=media.grey_profile()),
    "bordered.png": media.saved(np.pad(NIGHT, ((12, 12), (0, 0), (0, 0))), "PNG"),
    "turned.jpg": media.jpeg(media.stored(NIGHT, 6), exif=b"Exif\0\0" + media.exif_block(6), quality=60),
    "cmyk.jpg": media.jpeg(Image.fromarray(NIGHT).convert("CMYK"), icc_profile=media.cmyk_profile()),
    "grey.jpg": media.jpeg(NIGHT[..., 0], quality=50),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of the photos, and of what the job makes of them."""
    source, out = tmp_path_factory.mktemp("in"), tmp_path_factory.mktemp("out")
    for name, content in PHOTOS.items():
        (source / name).write_bytes(content)
    assert main(["images", str(source), str(out)]) == 0
    return source, out


@pytest.fixture
def quiet(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr() == ("", "")


def _opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def _pixels(image: Image.Image) -> Samples:
    return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("name", PHOTOS)
def test_bytes_and_files_are_those_of_the_job(name: str, places: tuple[Path, Path], tmp_path: Path) -> None:
    source, out = places
    assert nightlift.enhance(PHOTOS[name]) == (out / name).read_bytes()
    written = nightlift.enhance(source / name, tmp_path / name)
    assert written == str(tmp_path / name)
    assert Path(written).read_bytes() == (out / name).read_bytes()


@pytest.mark.parametrize("name", [name for name in PHOTOS if name.endswith(".png")])
def test_pixels_are_those_of_the_job(name: str, places: tuple[Path, Path]) -> None:
    source, out = places
    made, image = _opened((out / name).read_bytes()), _opened(PHOTOS[name])
    if name != "deep.png":  # of 16 bits, PIL has no colour
        assert np.array_equal(np.asarray(nightlift.enhance(image)), np.asarray(made))
        assert np.array_equal(np.asarray(nightlift.enhance(str(source / name))), np.asarray(made))
    if name not in ("wide.png", "palette.png", "deep.png"):  # an array has neither a profile nor a palette
        assert np.array_equal(nightlift.enhance(np.asarray(image)), np.asarray(made))


@pytest.mark.parametrize("name", [name for name in PHOTOS if name.endswith(".jpg")])
def test_a_jpeg_opened_by_pillow_is_what_the_job_encodes(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(PHOTOS[name])
    assert main(["images", str(tmp_path / name), str(tmp_path / "made.png"), "--format", "png"]) == 0
    made = np.asarray(Image.open(tmp_path / "made.png"))
    image = _opened(PHOTOS[name])
    enhanced = nightlift.enhance(image)
    assert enhanced.size == image.size
    assert np.array_equal(_pixels(enhanced), made)
    assert np.array_equal(np.asarray(nightlift.enhance(tmp_path / name)), made)
    if name != "cmyk.jpg":  # which becomes RGB by its profile
        assert np.array_equal(nightlift.enhance(_pixels(image), lossy=True), made)
        plain = ImageOps.exif_transpose(image).copy()  # knows nothing of its file
        assert np.array_equal(np.asarray(nightlift.enhance(plain, lossy=True)), made)


def test_arrays_keep_shape_type_and_order() -> None:
    grey, deep = NIGHT[..., 0], media.night_16()
    alpha = np.dstack((NIGHT, media.soft_alpha()))
    for image in (NIGHT, grey, grey[..., None], alpha, np.dstack((grey, grey)), deep, deep[..., 0], deep.astype(">u2")):
        before = image.copy()
        enhanced = nightlift.enhance(image)
        assert (enhanced.shape, enhanced.dtype) == (image.shape, image.dtype)
        assert enhanced.mean() > image.mean()
        assert np.array_equal(image, before)
    bright = nightlift.enhance(NIGHT)
    fixed = NIGHT.copy()
    fixed.flags.writeable = False
    assert np.array_equal(nightlift.enhance(grey.view(np.matrix)), nightlift.enhance(grey))
    for same in (np.asfortranarray(NIGHT), np.flip(NIGHT[::-1].copy(), 0), fixed):
        assert np.array_equal(nightlift.enhance(same), bright)
    assert np.array_equal(nightlift.enhance(alpha)[..., 3], alpha[..., 3])
    assert np.array_equal(nightlift.enhance(deep.astype(">u2")), nightlift.enhance(deep))
    assert nightlift.enhance(NIGHT[:1, :1]).shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("image", "kind", "words"),
    [
        (NIGHT / 255, TypeError, r"float64; give uint8 or uint16.*\(image \* 255\)"),
        (NIGHT > 20, TypeError, "bool; give uint8"),
        (NIGHT.astype(np.int64), TypeError, "int64; give uint8"),
        (NIGHT.transpose(2, 0, 1), ValueError, r"\(3, 64, 96\).*transpose\(1, 2, 0\)"),
        (NIGHT[None], ValueError, "as a batch has"),
        (NIGHT[:0], ValueError, "no pixel"),
        (torch.from_numpy(NIGHT.copy()), TypeError, r"a Tensor; .*: tensor\.cpu\(\)"),
        (torch.from_numpy(NIGHT.transpose(2, 0, 1).copy()), TypeError, r"a Tensor; .*permute\(1, 2, 0\)"),
        ([NIGHT], TypeError, "a list; give a numpy array"),
        (io.BytesIO(b""), TypeError, "a BytesIO"),
        (Image.new("RGB", (0, 4)), ValueError, "0x4 pixels"),
    ],
    ids=lambda each: each if isinstance(each, str) else type(each).__name__,  # the same in all processes of a test run
)
def test_what_is_no_image_is_told_what_to_do(image: object, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        nightlift.enhance(image)  # type: ignore[call-overload]


def test_an_image_that_is_cut_short_is_told_as_damaged() -> None:
    with Image.open(io.BytesIO(media.saved(media.night(), "PNG")[:-400])) as image:
        with pytest.raises(nightlift.NightliftError, match="image cannot be decoded") as raised:
            nightlift.enhance(image)
        assert raised.value.code == "damaged"


def test_options_are_the_flags(tmp_path: Path) -> None:
    assert np.array_equal(nightlift.enhance(NIGHT, strength=0), NIGHT)
    assert nightlift.enhance(NIGHT, strength=0.5).mean() < nightlift.enhance(NIGHT).mean()
    (tmp_path / "a.png").write_bytes(PHOTOS["plain.png"])
    flags = ["--format", "jpeg", "--quality", "70", "--iterations", "6", "--variant", "plus", "--no-mark"]
    assert main(["images", str(tmp_path / "a.png"), str(tmp_path / "out"), *flags]) == 0
    enhancer = nightlift.load(format="jpeg", quality=70, iterations=6, variant="plus", no_mark=True)
    assert enhancer.enhance(PHOTOS["plain.png"]) == (tmp_path / "out/a.jpg").read_bytes()
    with pytest.raises(TypeError, match="no option strenght; choose from strength, iterations"):
        nightlift.enhance(NIGHT, strenght=1)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="device is 'gpu'; it must be 'auto' or 'cpu'"):
        nightlift.load(device="gpu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^strength is 3; it must be between 0 and 2"):
        nightlift.load(strength=3)
    with pytest.raises(ValueError, match=r"^weights .*none\.safetensors: no such weights file"):
        nightlift.load(tmp_path / "none.safetensors")


def test_a_photo_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(PHOTOS["grey.jpg"][:200])
    with pytest.raises(nightlift.NightliftError, match=r"cut\.jpg: it ends after 200 bytes") as raised:
        nightlift.enhance(tmp_path / "cut.jpg", tmp_path / "bright.jpg")
    assert raised.value.code == "damaged"
    with pytest.raises(nightlift.NightliftError, match="more than max_pixels 5;"):
        nightlift.enhance(PHOTOS["plain.png"], max_pixels=5)
    with pytest.raises(nightlift.NightliftError, match="nothing is there"):
        nightlift.enhance(tmp_path / "none.jpg")
    with pytest.raises(ValueError, match="is a folder; give one photo"):
        nightlift.enhance(tmp_path, tmp_path / "out/")
    with pytest.raises(ValueError, match="is a folder; give one photo"):
        nightlift.enhance(tmp_path)
    (tmp_path / "mine.jpg").write_bytes(PHOTOS["grey.jpg"])
    (tmp_path / "dark.jpg").write_bytes(PHOTOS["grey.jpg"])
    with pytest.raises(ValueError, match=r"mine\.jpg already exists.* or choose another destination"):
        nightlift.enhance(tmp_path / "dark.jpg", tmp_path / "mine.jpg")
    assert (tmp_path / "mine.jpg").read_bytes() == PHOTOS["grey.jpg"]


def test_pil_images_keep_what_they_say() -> None:
    image = _opened(PHOTOS["turned.jpg"])
    image.info["icc_profile"] = media.rgb_profile()
    enhanced = nightlift.enhance(image)
    assert enhanced.info == image.info
    assert enhanced.getexif() == image.getexif()
    modes = {mode: nightlift.enhance(Image.fromarray(NIGHT).convert(mode)).mode for mode in ("L", "RGB", "RGBA", "LA")}
    assert modes == {"L": "L", "RGB": "RGB", "RGBA": "RGBA", "LA": "LA"}
    others = {
        mode: nightlift.enhance(Image.fromarray(NIGHT).convert(mode)).mode for mode in ("P", "1", "CMYK", "YCbCr")
    }
    assert others == {"P": "RGB", "1": "L", "CMYK": "RGB", "YCbCr": "RGB"}
    deep = nightlift.enhance(Image.fromarray(media.night_16()[..., 0]))
    assert deep.mode == "I;16"
    assert "icc_profile" not in nightlift.enhance(_opened(PHOTOS["cmyk.jpg"])).info
    with pytest.raises(nightlift.NightliftError, match="type F, for which no white is defined"):
        nightlift.enhance(Image.fromarray(NIGHT[..., 0].astype(np.float32)))


@pytest.mark.usefixtures("quiet")
def test_threads_share_an_enhancer_and_leave_no_trace() -> None:
    enhancer, content = nightlift.load(), PHOTOS["turned.jpg"]
    expected = enhancer.enhance(content)
    limit, filters, threads = Image.MAX_IMAGE_PIXELS, list(warnings.filters), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(enhancer.enhance, [content] * 24)) == {expected}
            assert set(pool.map(lambda _: torch.get_num_threads(), range(8))) == {2}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == (limit, filters)
    assert limit is not None


def test_forked_processes_go_on_with_what_was_loaded() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.ones(512, 512) @ torch.ones(512, 512)  # starts threads, which a child does not have
        expected = nightlift.enhance(PHOTOS["plain.png"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Python, about forks of processes with threads
            with ProcessPoolExecutor(2, get_context("fork")) as pool:  # which ends its processes without a signal
                assert list(pool.map(nightlift.enhance, [PHOTOS["plain.png"]] * 4, timeout=120)) == [expected] * 4
    finally:
        torch.set_num_threads(threads)


def test_the_import_loads_nothing_and_sets_up_nothing() -> None:
    script = """
import logging, sys
before = set(sys.modules)
import nightlift
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
assert loaded <= {"nightlift", "__future__"}, loaded
assert set(nightlift.__all__) <= set(dir(nightlift))
assert nightlift.__version__ == "0.1.0"
import numpy, os
environment = dict(os.environ)
nightlift.enhance(numpy.zeros((8, 8, 3), numpy.uint8))
assert "ray" not in sys.modules
assert logging.getLogger("nightlift").handlers == logging.getLogger().handlers == []
assert {name for name in os.environ if os.environ[name] != environment.get(name)} <= {"SVT_LOG", "KMP_INIT_AT_FORK"}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
