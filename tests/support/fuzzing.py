"""Broken photos and clips through all that a worker does to them, in processes of their own that may die of it.

A long hunt: python -m tests.support.fuzzing photos --seed 7 --count 20000 [--also FOLDER] [--keep FOLDER]
One file again: python -m tests.support.fuzzing photos --seed 7 --first 1234 --count 1
"""

import argparse
import faulthandler
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from random import Random
from tempfile import TemporaryFile
from typing import Any

import fsspec
import imagecodecs
import numpy as np
from PIL import Image

from model import DEFAULT_WEIGHTS, load
from pipeline.errors import is_of_the_file
from pipeline.flow.time_limit import time_limit
from pipeline.images import FORMATS, decode
from pipeline.photos import PhotoSettings, PhotoSteps, PhotoWork, ReadAndDecode
from pipeline.planning.media_kinds import PHOTOS, VIDEOS
from pipeline.process import use_one_core
from pipeline.records import Outcome, Record
from pipeline.storage.storage import Storage
from pipeline.video.reading.probe import probe
from pipeline.videos import VideoSteps
from tests.pipeline.images.test_damage import every_format
from tests.support import gain_maps, media, raw_files
from tests.support.clips import Sound, clip, streets
from tests.support.enhanced import SETTINGS
from tests.support.killed import ROOT
from tests.support.mutations import mutated

PLACE = "memory://fuzz"
MAX_PX = 2_000_000
ROOM_BYTES = 1 << 29  # that a worker may take for one file, beyond what it has taken before
LIMIT_S = 60.0  # for one file
SLOW_S = 8.0  # of processor time, that no file may take
LARGEST_SEED_BYTES = 300_000
LOG_SHOWN = 4000


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one broken file."""

    number: int
    name: str
    code: str
    """Of its outcome, empty where it is done; `crashed` where none came."""
    message: str
    seconds: float
    """Of processor time."""
    memory_bytes: int
    """That the process took for it, beyond what it has taken before."""

    @property
    def is_fault(self) -> bool:
        """Ours: a file that is broken has a code that says so."""
        known = not self.code or is_of_the_file(self.code)
        return not known or self.seconds > SLOW_S or self.memory_bytes > ROOM_BYTES


def photos() -> dict[str, bytes]:
    """Small ones of every format and coding that can be written here."""
    scene = media.night(48, 32)
    image = Image.fromarray(scene)
    found = every_format()
    found |= {
        "jpeg-cmyk": media.saved(image.convert("CMYK"), "JPEG", icc_profile=media.cmyk_profile()),
        "jpeg-grey": media.saved(image.convert("L"), "JPEG", icc_profile=media.grey_profile()),
        "jpeg-restarts": media.jpeg(scene, restart_marker_blocks=2, subsampling=0),
        "jpeg-mpo": media.saved(image, "MPO", save_all=True, append_images=[Image.fromarray(media.night(24, 16))]),
        "png-palette": media.saved(image.quantize(16), "PNG", transparency=3),
        "png-1": media.saved(image.convert("1"), "PNG"),
        "png-text": media.with_chunks(
            media.saved(image, "PNG"),
            media.png_chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + media.xmp_packet(6)),
            media.png_chunk(b"zTXt", b"Comment\x00\x00x\x9c\x03\x00\x00\x00\x00\x01"),
            media.png_chunk(b"cICP", bytes((12, 13, 0, 1))),
        ),
        "gif": media.saved(image.quantize(32), "GIF", interlace=1, comment=b"by the harbour"),
        "bmp-palette": media.saved(image.quantize(16), "BMP"),
        "bmp-alpha": media.saved(np.dstack((scene, media.soft_alpha(48, 32))), "BMP"),
        "pnm-text": b"P3 # by hand\n2 2\n255\n1 2 3 4 5 6\n7 8 9 10 11 12\n",
        "pnm-1": media.saved(image.convert("1"), "PPM"),
        "tiff-pages": media.saved(image, "TIFF", save_all=True, append_images=[image.convert("L")]),
        "tiff-big": media.saved(image, "TIFF", big_tiff=True),
        "tiff-palette": media.saved(image.quantize(16), "TIFF"),
        "tiff-cmyk": media.saved(image.convert("CMYK"), "TIFF", compression="tiff_deflate"),
    }
    for coding in ("packbits", "tiff_adobe_deflate", "jpeg", "zstd", "lzma"):
        found[f"tiff-{coding}"] = media.saved(image, "TIFF", compression=coding)
    for coding in ("group3", "group4", "tiff_ccitt"):
        found[f"tiff-{coding}"] = media.saved(image.convert("1"), "TIFF", compression=coding)
    found |= _heif(image) | _gain_maps(scene)
    light = raw_files.linear(scene)
    found |= {
        "raw-big-endian": raw_files.dng(light, order=">", jpeg=media.jpeg(scene), shots=2),
        "raw-preview": raw_files.dng(light, jpeg=media.jpeg(scene), xmp=media.xmp_packet(6)),
        "jxl-grey-16": imagecodecs.jpegxl_encode(media.night_16()[..., :1], lossless=True),
        "jxl-of-a-jpeg": imagecodecs.jpegxl_encode_jpeg(media.jpeg(scene, exif=media.exif_block(6))),
    }
    return {f"{name}{FORMATS[name.split('-')[0]].extensions[0]}": content for name, content in found.items()}


def _heif(image: Image.Image) -> dict[str, bytes]:
    try:
        import pillow_heif
    except ImportError:
        return {}
    found = {}
    for name, options in (("heif", {}), ("heif-lossless", {"quality": -1}), ("heif-444", {"chroma": 444})):
        file = BytesIO()
        pillow_heif.from_pillow(image).save(file, exif=media.exif_block(6), **options)
        found[name] = file.getvalue()
    return found


def _gain_maps(scene: media.Samples) -> dict[str, bytes]:
    values = np.ascontiguousarray(scene[::2, ::2, 0]) + np.uint8(100)
    parts = media.jpeg(scene), media.jpeg(values)
    xmp = gain_maps.packet('HDRGainMap:HDRGainMapVersion="65536"')
    exif = gain_maps.apple_exif(0.9, 0.1)
    return {
        "jpeg-ultra-hdr": gain_maps.ultra_hdr(*parts, xmp=gain_maps.hdrgm(0, 3)),
        "jpeg-iso-gain-map": gain_maps.ultra_hdr(*parts, iso=gain_maps.iso(-1, 2)),
        "heif-gain-map": gain_maps.apple_heic(scene, values.repeat(2, axis=0).repeat(2, axis=1), xmp, exif),
    }


def clips() -> dict[str, bytes]:
    """Short ones of every container that is read, in as many codings as can be written here."""
    frames = streets(12, width=64, height=48)
    sound = Sound(seconds=0.4, chapters=True, attachment=b"font")
    ms = Fraction(1, 1000)
    return {
        "h264.mp4": clip(frames, "mp4", params="bframes=2", gop=4, extras=Sound(seconds=0.4, chapters=True)),
        "hevc.mp4": clip(frames, "mp4", "libx265", gop=4),
        "h264.mkv": clip(frames, "matroska", gop=4, extras=sound, time_base=ms),
        "vp9.webm": clip(frames, "webm", "libvpx-vp9", gop=4, time_base=ms),
        "av1.mkv": clip(frames, "matroska", "libsvtav1", time_base=ms),
        "prores.mov": clip(frames[:4], "mov", "prores_ks", pixel_format="yuv422p10le"),
        "mjpeg.mov": clip(frames[:6], "mov", "mjpeg", pixel_format="yuvj420p"),
        "ffv1.mkv": clip(frames[:4], "matroska", "ffv1", time_base=ms),
        "mpeg2.ts": clip(frames, "mpegts", "mpeg2video", gop=4, time_base=Fraction(1, 25)),
        "h264.ts": clip(frames, "mpegts", gop=4, extras=Sound(seconds=0.4)),
        "mpeg1.mpg": clip(frames, "mpeg", "mpeg1video", gop=4, time_base=Fraction(1, 25)),
        "mpeg4.avi": clip(frames, "avi", "mpeg4", gop=4, time_base=Fraction(1, 25)),
        "flv1.flv": clip(frames, "flv", "flv", gop=4, time_base=ms),
        "wmv2.wmv": clip(frames, "asf", "wmv2", gop=4, time_base=ms),
        "h263.3gp": clip(
            streets(6, width=176, height=144), "3gp", "h263", gop=4, time_base=Fraction(1, 30000), rate=30
        ),
    }


def seeds_of(kind: str, also: Path | None) -> dict[str, bytes]:
    """By name, whose extension is that of the content. `also`: a folder whose small files count, too."""
    found = photos() if kind == "photos" else clips()
    for path in sorted(also.rglob("*")) if also else ():
        accepted = (PHOTOS if kind == "photos" else VIDEOS).accepts(path.name)
        if accepted and 0 < path.stat().st_size <= LARGEST_SEED_BYTES:
            found[path.name] = path.read_bytes()
    return found


def broken(seeds: Mapping[str, bytes], seed: int, number: int) -> tuple[str, bytes]:
    """The `number`-th broken file of a hunt, and the name of what it was made from."""
    dice = Random(f"{seed} {number}")
    name = dice.choice(sorted(seeds))
    return name, mutated(seeds[name], list(seeds.values()), dice)


def findings(kind: str, seed: int, count: int, *, first: int = 0, also: str = "") -> Iterator[Finding]:
    """Of `count` broken files, from the `first` on; `kind`: `photos` or `clips`. What dies is begun again behind it."""
    end = first + count
    while first < end:
        worker = [sys.executable, "-m", "tests.support.fuzzing", kind, "--work", f"--seed={seed}", f"--first={first}"]
        worker += [f"--count={end - first}", *([f"--also={also}"] if also else [])]
        begun: list[Any] = []
        with TemporaryFile("w+") as log:
            with subprocess.Popen(worker, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True) as process:
                for line in process.stdout or ():
                    told = json.loads(line)
                    if isinstance(told, dict):
                        yield Finding(**told)
                        told = []
                    begun = told
            log.seek(0)
            errors = log.read()[-LOG_SHOWN:]
        if not begun:
            assert process.returncode == 0, errors
            return
        number, name = begun
        yield Finding(number, name, "crashed", f"{process.returncode}: {errors}", 0, 0)
        first = number + 1


def work(kind: str, seed: int, first: int, count: int, also: Path | None) -> None:
    """One worker: writes a line of JSON before each file, and one behind it."""
    faulthandler.enable()
    use_one_core()
    seeds = seeds_of(kind, also)
    do = photo_steps() if kind == "photos" else video_steps()
    for name, content in seeds.items():
        do(name, content)  # loads what is loaded only once
    resource.setrlimit(resource.RLIMIT_AS, (_reserved_bytes() + 4 * ROOM_BYTES, resource.RLIM_INFINITY))
    for number in range(first, first + count):
        name, content = broken(seeds, seed, number)
        _tell([number, name])
        start, before_bytes = time.process_time(), _most_bytes()
        with time_limit(LIMIT_S, lambda: None):
            outcome = do(name, content)
        seconds, memory_bytes = time.process_time() - start, _most_bytes() - before_bytes
        _tell(asdict(Finding(number, name, outcome.code, outcome.message, seconds, memory_bytes)))


def photo_steps() -> Callable[[str, bytes], Outcome]:
    """All that a worker does to a photo; what is written must be one again."""
    settings = PhotoSettings(estimate_size=32, max_pixels=MAX_PX)
    steps = PhotoSteps.of(Storage(), settings, load(DEFAULT_WEIGHTS["plus"]))
    decoding = ReadAndDecode(Storage(), replace(settings, raw="preview"))

    def do(name: str, content: bytes) -> Outcome:
        record = _record(name, PHOTOS.renamed(name, None), content)
        decode_step = decoding if name.startswith("raw-preview") else steps.decode
        outcome = steps.encode(steps.enhance(decode_step(PhotoWork.of(record)))).outcome
        if outcome.outcome == "done":
            decode(Storage().read(record.destination), max_pixels=MAX_PX)
        return outcome

    return do


def video_steps() -> Callable[[str, bytes], Outcome]:
    """The same for a video, in segments of a few frames."""
    settings = replace(SETTINGS, frames_per_segment=4, max_pixels=MAX_PX)
    steps = VideoSteps.of(Storage(), settings, load(DEFAULT_WEIGHTS["plus"]))

    def do(name: str, content: bytes) -> Outcome:
        record = _record(name, VIDEOS.renamed(name, None), content)
        outcome = steps(record, f"{PLACE}/segments")
        if outcome.outcome == "done":
            with Storage().open(record.destination) as file:
                assert probe(file).frames == outcome.frames
        return outcome

    return do


def _record(name: str, written: str, content: bytes) -> Record:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    source = f"{PLACE}/in/{name}"
    memory.pipe_file(source, content)
    return Record(source=source, version="", size_bytes=len(content), destination=f"{PLACE}/out/{written}")


def _tell(line: object) -> None:
    print(json.dumps(line), flush=True)


def _most_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _reserved_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("photos", "clips"))
    for flag, value in (("--seed", 0), ("--first", 0), ("--count", 1000)):
        parser.add_argument(flag, type=int, default=value)
    parser.add_argument("--also", default="", help="folder of real files to break")
    parser.add_argument("--keep", type=Path, help="folder for the files that something is wrong with")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    also = Path(given.also) if given.also else None
    if given.work:
        work(given.kind, given.seed, given.first, given.count, also)
        return
    codes: Counter[str] = Counter()
    for found in findings(given.kind, given.seed, given.count, first=given.first, also=given.also):
        codes[found.code] += 1
        if found.is_fault:
            print(found, flush=True)
            if given.keep:
                name, content = broken(seeds_of(given.kind, also), given.seed, found.number)
                (given.keep / f"{given.seed}-{found.number}-{name}").write_bytes(content)
    print(dict(codes))


if __name__ == "__main__":
    main()
