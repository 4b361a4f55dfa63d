"""Measurements and checks of a GPU, for `nightlift benchmark --device cuda`.

Every part takes a torch device and sizes, so that it runs on a CPU too; its checks then hold, its numbers mean nothing.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch

from jobs.benchmark.gpu_jobs import (
    CLOSE_DB,
    measure_split,
    measure_training_step,
    measure_training_whole,
    measure_videos,
)
from jobs.benchmark.measurement import Row, Section, side_by_side
from jobs.benchmark.media import Pixels, night_pixels
from model import DEFAULT_WEIGHTS, Enhancer, Precision, Space, load
from model.curve.light import lift as lift_by_reference
from model.curve.reference import upsample
from model.full_size.gpu_transfer import in_bands, sent, tensor_of
from model.quality.metrics import psnr_db
from pipeline.errors import UsageError

log = logging.getLogger("nightlift")

FACTOR = 32  # image pixels that one pixel of the curve maps covers, along each side
# of curve maps: their number, channels and space
KINDS: tuple[tuple[int, int, Space], ...] = ((8, 1, "srgb"), (8, 3, "srgb"), (1, 1, "srgb"), (8, 2, "light"))
SMALL_PX = 600, 400
NEAR_DB = 60.0  # least PSNR of results in fp32 against those on a CPU
NETWORK_ROOM_BYTES, CURVE_ROOM_BYTES = 256 << 20, 64 << 20  # less than a large batch and a whole photo need

Limited = Callable[[int], AbstractContextManager[None]]


def check_gpu() -> None:
    """Raise UsageError if torch finds no GPU."""
    if not torch.cuda.is_available():
        raise UsageError(
            f"--device cuda: PyTorch {torch.__version__} finds no GPU on this machine; "
            "install PyTorch's CUDA build and the GPU's driver, or leave out --device"
        )


def measure_gpu(cores: int, *, quick: bool) -> Iterator[Section]:
    """Run all parts and yield their sections. A part that raises an error counts as a failed check."""
    device: Literal["cuda"] = "cuda"
    rounds = 1 if quick else 7
    large = (800, 600) if quick else (4000, 3000)
    batches = (1, 4) if quick else (1, 4, 16, 64, 256)
    codecs = "libx264", "h264_nvenc", "hevc_nvenc", "av1_nvenc"
    parts: Mapping[str, Callable[[], Section]] = {
        "kernel": lambda: measure_kernel(device, (1000, 750)),
        "network": lambda: measure_precisions(device, large),
        "photo": lambda: measure_photo(device, large, rounds),
        "batches": lambda: measure_batches(device, SMALL_PX, batches, rounds),
        "copies": lambda: measure_copies(device, large, rounds),
        "recovery from too little memory": lambda: measure_out_of_memory(device, _limited_memory, (4000, 3000), 64),
        "topologies": lambda: measure_split(device, cores, 8 if quick else 120, large),
        "videos": lambda: measure_videos(device, codecs, (320, 180), 12) if quick else _full_videos(device, codecs),
        "a step of training": lambda: measure_training_step(device, 8, 256, rounds),
        "training": lambda: measure_training_whole(device, 8, cores),
    }
    for name, measure in parts.items():
        log.info("measuring %s", name)
        try:
            yield measure()
        except Exception as error:
            log.exception("measuring %s failed", name)  # with its traceback, for a report of the error
            yield Section(name, [Row(f"failed with {type(error).__name__}", 0, "", passed=False)])


def _full_videos(device: str, codecs: Sequence[str]) -> Section:
    return measure_videos(device, codecs, (1920, 1080), 100)


def measure_kernel(device: str, size: tuple[int, int]) -> Section:
    """Compare the curve of the GPU's kernel with the readable reference on the CPU."""
    from model.full_size.gpu_kernel import lift

    width, height = size
    generator, rows = torch.Generator().manual_seed(0), []
    for bits, dtype, most in ((8, torch.uint8, 1), (16, torch.int32, 4)):
        white = 2**bits - 1
        for count, channels, space in KINDS:
            image_HWC = torch.randint(0, white + 1, (height, width, 3), generator=generator, dtype=dtype)
            small = -(-height // FACTOR), -(-width // FACTOR)
            maps_KMHW = torch.rand((count, channels, *small), generator=generator) * 2 - 1
            lifted_HWC = lift(image_HWC.to(device), [maps_KMHW.to(device)], FACTOR, 8, space, float(white)).cpu()
            large_1KMHW = upsample(maps_KMHW[None], FACTOR, slice(0, height), width)
            image_1CHW = image_HWC.permute(2, 0, 1)[None].float() / white
            expected = lift_by_reference(image_1CHW, [large_1KMHW], 8, space)[0] * white
            difference = int((lifted_HWC.int() - expected.round().permute(1, 2, 0).int()).abs().max())
            name = f"{bits} bits, {count} maps of {channels} channels, {space}: largest difference (limit {most})"
            rows.append(Row(name, difference, f"of {white}", passed=difference <= most))
    return Section(f"the GPU kernel against the CPU reference ({width}x{height})", rows)


def _enhancer(device: str, variant: str = "dce", precision: Precision = "fp32") -> Enhancer:
    checkpoint = load(DEFAULT_WEIGHTS[variant])  # type: ignore[index]
    return Enhancer(checkpoint, estimate_size=checkpoint.estimate_size, device=device, precision=precision)


def measure_precisions(device: str, size: tuple[int, int]) -> Section:
    """Compare a photo enhanced on the device in each precision with the same on the CPU in fp32."""
    photo, rows = night_pixels(*size), []
    precisions: tuple[tuple[Precision, float], ...] = ("fp32", NEAR_DB), ("bf16", CLOSE_DB)
    for variant in DEFAULT_WEIGHTS:
        [expected] = _enhancer("cpu", variant).enhance([photo])
        for precision, least_db in precisions:
            [enhanced] = _enhancer(device, variant, precision).enhance([photo])
            near_db = psnr_db(enhanced, expected)
            name = f"{variant}, {precision}: PSNR against fp32 on the CPU (at least {least_db:g})"
            rows.append(Row(name, near_db, "dB", passed=near_db >= least_db))
    return Section(f"the network in each precision ({size[0]}x{size[1]})", rows)


def measure_photo(device: str, size: tuple[int, int], rounds: int) -> Section:
    """Time one photo by itself, from memory to memory."""
    photo, enhancer = night_pixels(*size), _enhancer(device, precision="auto")
    maps = enhancer.estimate([photo])[0]
    functions: dict[str, Callable[[], object]] = {
        "reduce and estimate": lambda: enhancer.estimate([photo]),
        "apply, with copies to and from the device": lambda: enhancer.apply(photo, maps),
        "both": lambda: enhancer.enhance([photo]),
    }
    fastest = side_by_side(functions, rounds, time.perf_counter)
    rows = [Row(name, 1e3 * each_s, "ms") for name, each_s in fastest.items()]
    rows.append(Row("megapixels", photo.shape[0] * photo.shape[1] / 1e6 / fastest["both"], "per second"))
    return Section(f"a photo on {device} ({size[0]}x{size[1]})", rows)


def measure_batches(device: str, size: tuple[int, int], batches: Sequence[int], rounds: int) -> Section:
    """Time small photos of one shape in batches, to see what a larger batch gains."""
    few = [night_pixels(*size, seed) for seed in range(4)]
    photos = [few[index % 4] for index in range(max(batches))]
    enhancer = _enhancer(device, precision="auto")
    functions: dict[str, Callable[[], object]] = {}
    for count in batches:
        functions[f"estimate {count} at once"] = lambda count=count: enhancer.estimate(photos[:count])  # type: ignore[misc]
        functions[f"enhance {count} at once"] = lambda count=count: enhancer.enhance(photos[:count])  # type: ignore[misc]
    fastest = side_by_side(functions, rounds, time.perf_counter)
    rows = [Row(name, int(name.split()[1]) / each_s, "images per second") for name, each_s in fastest.items()]
    rows.append(Row("largest batch of the network", enhancer.batch_px / _copy_px(enhancer, few[0]), "images"))
    return Section(f"small photos on {device} ({size[0]}x{size[1]})", rows)


def _copy_px(enhancer: Enhancer, photo: Pixels) -> int:
    """Return the number of pixels of a photo's reduced copy."""
    height, width = enhancer.copy_size(photo)
    return height * width


def measure_copies(device: str, size: tuple[int, int], rounds: int) -> Section:
    """Time an image's copies to the GPU and back.

    They are whole from pageable memory, or in bands from and into pinned memory, as `apply` does.
    """
    photo, there = night_pixels(*size), torch.device(device)
    rows_at_once = max(1, 1 + photo.shape[0] // 3)

    def whole() -> Pixels:
        back: Pixels = tensor_of(photo).to(there).cpu().numpy()
        return back

    def bands() -> Pixels:
        return in_bands(photo, rows_at_once, lambda band, top: band, there)

    ways: dict[str, Callable[[], object]] = {
        "to the device, from pageable memory": lambda: _finished(tensor_of(photo).to(there)),
        "to the device, from pinned memory": lambda: _finished(sent(tensor_of(photo), there)),
        "to the device and back, pageable memory": whole,
        "to the device and back, pinned memory, in three bands": bands,
    }
    fastest = side_by_side(ways, rounds, time.perf_counter)
    rows = [Row(name, photo.nbytes / 1e9 / each_s, "GB per second") for name, each_s in fastest.items()]
    changed = int((bands() != photo).sum())
    rows.append(Row("values changed by copying (limit 0)", changed, "", passed=not changed))
    return Section(f"copies to {device} and back ({photo.nbytes / 1e6:.0f} MB)", rows)


def _finished(x: torch.Tensor) -> None:
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)


@contextmanager
def _limited_memory(room_bytes: int) -> Iterator[None]:
    """Limit torch in the body to `room_bytes` of the GPU's memory beyond what it has reserved."""
    torch.cuda.empty_cache()
    total_bytes = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + room_bytes) / total_bytes)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def measure_out_of_memory(device: str, limited: Limited, size: tuple[int, int], count: int) -> Section:
    """Check that too little memory halves batches and bands, and hardly changes the results.

    `limited`: returns a context in which only so many more bytes are available. `count`: small photos in a batch.
    """
    enhancer, halvings = _enhancer(device), list[None]()
    enhancer.on_out_of_memory = lambda: halvings.append(None)
    photos, photo = [night_pixels(*SMALL_PX)] * count, night_pixels(*size)
    enhancer.batch_px = count * _copy_px(enhancer, photos[0])
    enhancer.band_px = photo.shape[0] * photo.shape[1]
    maps, expected = enhancer.estimate(photos)[0], enhancer.apply(photo, enhancer.estimate([photo])[0])
    with limited(NETWORK_ROOM_BYTES):
        found = enhancer.estimate(photos)
    batches, largest = len(halvings), enhancer.batch_px // _copy_px(enhancer, photos[0])
    other = max(float((each.passes[0] - maps.passes[0]).abs().max()) for each in found)
    maps = enhancer.estimate([photo])[0]
    with limited(CURVE_ROOM_BYTES):
        enhanced = enhancer.apply(photo, maps)
    bands, near_db = len(halvings) - batches, psnr_db(enhanced, expected)
    rows = [
        Row("batches: halved (at least once)", batches, "times", passed=batches > 0),
        Row("batches: largest batch afterwards", largest, "images", passed=0 < largest < count),
        Row("batches: largest difference of curve maps (limit 0.001)", other, "", passed=other <= 1e-3),
        Row("bands: halved (at least once)", bands, "times", passed=bands > 0),
        Row(f"bands: PSNR against a single band (at least {NEAR_DB:g})", near_db, "dB", passed=near_db >= NEAR_DB),
    ]
    return Section("recovery from too little GPU memory", rows)
