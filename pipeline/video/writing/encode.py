"""Choice of an encoder and its settings. `segment_files.py` runs it."""

from bisect import bisect_left
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from io import BytesIO
from itertools import product

import av
from av.codec import Codec, codecs_available
from av.video.format import VideoFormat
from llvmlite.binding import get_host_cpu_features

from pipeline.errors import Unsupported, UsageError
from pipeline.video.reading.probe import VideoInfo
from pipeline.video.signal.color import MATRICES, SDR, UNKNOWN_MATRICES, UNSPECIFIED, Colours, Hdr
from pipeline.video.signal.side_data import DOLBY_VISION, USER_DATA

SAME_CODING = {
    "h264": "libx264",
    "hevc": "libx265",
    "av1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "vp8": "libvpx-vp9",
    "prores": "prores_ks",
    "ffv1": "ffv1",
}
DEFAULT, DEFAULT_10 = "libx264", "libx265"
OF_WEBM, OF_WEBM_10 = "libvpx-vp9", "libsvtav1"
DEFAULTS: dict[str, tuple[int | None, str | None]] = {  # CRF and preset
    "libx264": (20, "fast"),
    "libx265": (24, "fast"),
    "libsvtav1": (28, "8"),
    "libvpx-vp9": (28, "4"),
}
X264_WITHOUT_AVX512 = "asm=avx2,bmi1,bmi2,lzcnt"  # with AVX-512, x264's decisions depend on uninitialised memory
STEADY = "cutree=0:pbratio=1"  # equal quality for all frame types; otherwise the mean luma of still scenes pulses
PRESETS = (  # x264's and x265's names, from the fastest to the slowest
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow", "placebo"),
)
NUMBERED = {  # the same presets as numbers of other encoders
    "libsvtav1": ("preset", (12, 11, 10, 9, 8, 7, 6, 4, 2, 1)),
    "libvpx": ("cpu-used", (8, 7, 6, 5, 4, 3, 2, 1, 0, 0)),
    "libvpx-vp9": ("cpu-used", (8, 7, 6, 5, 4, 3, 2, 1, 0, 0)),
}
WORST_CRF, WORST_OF_H264 = 63, 51  # highest CRF of VP9 and AV1, and of H.264 and HEVC
AV1_STEPS = 4  # steps of AV1's own scale (0 to 255) per step of CRF
LEVELS = (1, 2, 5, 11, 23)  # most cores for which SVT-AV1 itself chooses parallelism 1 to 5; above: 6
HARDWARE: dict[str, dict[str, str]] = {  # options that make the encoders of each family aim at a quality
    "nvenc": {"rc": "vbr", "b": "0", "cq": "{}"},
    "qsv": {"global_quality": "{}"},  # without a bit rate: ICQ
    "amf": {"rc": "cqp", "qp_i": "{}", "qp_p": "{}"},
}
HARDWARE_CRF = 22
PRORES = {"Proxy": "0", "LT": "1", "Standard": "2", "HQ": "3", "4444": "4", "XQ": "5"}  # profiles, by FFmpeg's names
CODINGS = {"av1", "ffv1", "h264", "hevc", "prores", "vp8", "vp9"}  # codecs that videos are stored in
ALPHA_OF_VP9 = {"matroska", "webm"}
OF_MPEGTS = {"h264", "hevc", "mpeg2video", "mpeg4"}  # codecs that MPEG-TS holds, which FFmpeg does not list


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodeSettings:
    """Settings of the encoding. None: chosen to fit the source."""

    codec: str | None = None
    """FFmpeg encoder: `libx264`, `libx265`, `libsvtav1`, `libvpx-vp9`, `h264_nvenc`, ..."""
    crf: int | None = None
    """Quality: a lower number gives a better image and a larger file."""
    preset: str | None = None
    """Trade-off of speed and size: a name of x264, from `ultrafast` to `veryslow`, or the encoder's own."""
    pixel_format: str | None = None
    """FFmpeg's name: `yuv420p`, `yuv420p10le`, ..."""

    def __post_init__(self) -> None:
        if self.codec is not None and self.codec not in available_encoders():
            raise UsageError(f'unknown --codec "{self.codec}"; choose from {", ".join(available_encoders())}')
        if self.crf is not None and not 0 <= self.crf <= WORST_CRF:
            raise UsageError(
                f"--crf is {self.crf}; it must be between 0 and {WORST_CRF} ({WORST_OF_H264} for H.264 and HEVC)"
            )
        if self.codec is not None and _is_beyond(self.crf, self.codec):
            raise UsageError(f"--crf is {self.crf}; for {self.codec} it must be between 0 and {WORST_OF_H264}")
        own_words = self.codec is not None and not self.codec.startswith("lib")
        if not (self.preset is None or self.preset in PRESETS or self.preset.isdigit() or own_words):
            raise UsageError(f'unknown --preset "{self.preset}"; choose from {", ".join(PRESETS)}')
        if self.pixel_format is not None:
            try:
                VideoFormat(self.pixel_format)
            except ValueError as error:
                raise UsageError(f'unknown --pixel-format "{self.pixel_format}"; try yuv420p or yuv420p10le') from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """Parameters that decide how a video is encoded: the same for all of its segments."""

    codec: str
    pixel_format: str
    options: dict[str, str]
    width_px: int
    height_px: int
    colours: Colours
    time_base: Fraction
    frame_rate: Fraction
    sample_aspect: Fraction | None
    notes: list[str] = field(default_factory=list)
    """Differences from the source, in sentences."""

    @property
    def segment_format(self) -> str:
        """Return the muxer of segment files. NUT takes any time base, but neither ProRes nor VP9's alpha."""
        if self.codec.startswith("prores"):
            return "mov"
        return "matroska" if "yuva" in self.pixel_format and self.codec == "libvpx-vp9" else "nut"

    def options_of(self, threads: int) -> dict[str, str]:
        """Return the options, with those that limit threads if `thread_count` does not. The output is the same."""
        if self.codec == "libx265":
            return self.options | {"x265-params": f"{self.options['x265-params']}:pools={threads}"}
        if self.codec == "libsvtav1":
            words = [self.options.get("svtav1-params"), f"lp={1 + bisect_left(LEVELS, threads)}"]
            return self.options | {"svtav1-params": ":".join(filter(None, words))}
        return self.options


@cache
def available_encoders() -> list[str]:
    """Return the names of this PyAV's encoders for CODINGS; hardware encoders may still lack their hardware."""
    names = []
    for name in codecs_available:
        try:
            codec = Codec(name, "w")
        except ValueError:  # a decoder
            continue
        if codec.canonical_name in CODINGS:
            names.append(codec.name)
    return sorted(set(names))


def choose(info: VideoInfo, settings: EncodeSettings, muxer: str, hdr: Hdr) -> Encoding:
    """Choose how to encode a video of this kind into this container. Raises Unsupported if that is impossible."""
    _check_colours(info)
    to_sdr = info.colours.hdr is not None and hdr == "sdr"
    deep = info.depth > 8 and not to_sdr
    codec = settings.codec or _codec(info, muxer, deep)
    if not takes(muxer, codec):
        raise Unsupported(f"{muxer} cannot hold video encoded with {codec}; choose another --container or --codec")
    if _is_beyond(settings.crf, codec):
        raise Unsupported(f"--crf is {settings.crf}; for {codec} it must be between 0 and {WORST_OF_H264}")
    notes = []
    if not settings.codec and Codec(codec, "w").canonical_name != info.codec:
        notes.append(f"{info.codec} is written as {Codec(codec, 'w').canonical_name}")
    pixel_format = settings.pixel_format or _pixel_format(info, codec, deep)
    if pixel_format != info.pixel_format.replace("yuvj", "yuv"):
        notes.append(f"{info.pixel_format} is written as {pixel_format}")
    if info.alpha and not any(component.is_alpha for component in VideoFormat(pixel_format).components):
        notes.append(f"its transparency is lost: {pixel_format} has none")
    elif info.alpha and codec.startswith("libvpx") and muxer not in ALPHA_OF_VP9:
        notes.append(f"its transparency is lost: {muxer} cannot hold that of VP9")
    if info.beyond:
        fate = "kept" if pixel_format == info.pixel_format and not info.colours.hdr else "cut off"
        notes.append(f"luma goes below black (16 in 8 bits) or above white (235); what is beyond them is {fate}")
    colours = SDR if to_sdr else info.colours
    if to_sdr:
        notes.append(f"{info.colours.hdr} is written as SDR")
    if VideoFormat(info.pixel_format).is_rgb:  # RGB has no matrix, but YUV must have one
        colours = Colours(matrix=1, primaries=colours.primaries, transfer=colours.transfer, range=1)
    return Encoding(
        codec=codec,
        pixel_format=pixel_format,
        options=_options(codec, settings, info, colours),
        width_px=info.width_px,
        height_px=info.height_px,
        colours=colours,
        time_base=info.time_base,
        frame_rate=info.frame_rate,
        sample_aspect=info.sample_aspect,
        notes=notes,
    )


def _check_colours(info: VideoInfo) -> None:
    """Raise Unsupported if colours are coded in a way that is not converted."""
    if info.carried & DOLBY_VISION and info.colours == Colours(range=info.colours.range):
        raise Unsupported(
            "Dolby Vision profile 5 is not supported, as only its metadata describes its colours; "
            "convert it to HDR10 first"
        )
    number, coded = info.colours.matrix, VideoFormat(info.pixel_format)
    if number not in MATRICES and number != UNSPECIFIED and not coded.is_rgb and len(coded.components) > 2:
        name = UNKNOWN_MATRICES.get(number, "unknown")
        raise Unsupported(
            f"its colours are coded by matrix {number} of ITU-T H.273 ({name}), which nightlift does not support; "
            "convert it to BT.709 or BT.2020 first"
        )


def _is_beyond(crf: int | None, codec: str) -> bool:
    return (crf or 0) > WORST_OF_H264 and Codec(codec, "w").canonical_name in ("h264", "hevc")


def _codec(info: VideoInfo, muxer: str, deep: bool) -> str:
    """Return the encoder of the source's own codec, or else of the one that most players of the container know."""
    same = SAME_CODING.get(info.codec)
    if same is not None and takes(muxer, same) and (not deep or _deep_formats(same)):
        return same
    if muxer == "webm" or info.codec in ("vp8", "vp9"):
        return OF_WEBM_10 if deep else OF_WEBM
    return DEFAULT_10 if deep else DEFAULT


def _pixel_format(info: VideoInfo, codec: str, deep: bool) -> str:
    """Return the source's pixel format, or the nearest one that the encoder takes."""
    source = info.pixel_format.replace("yuvj", "yuv")
    taken = _formats(codec)
    name = source if source in taken and deep == (info.depth > 8) else pixel_format_near(source, codec, deep)
    if info.width_px % 2 and codec in ("libx264", "libx265"):  # with subsampled chroma, they take only even sizes
        name = name.replace("420", "444").replace("422", "444")
    elif info.height_px % 2 and codec in ("libx264", "libx265"):
        name = name.replace("420", "444")
    return name


def pixel_format_near(source: str, codec: str, deep: bool = False) -> str:
    """Return a YUV format with the source's alpha and at least its chroma, or the nearest that the encoder takes."""
    taken, parts = _formats(codec), VideoFormat(source, 16, 16).components
    alphas = ("a", "") if any(part.is_alpha for part in parts) else ("",)
    chroma = parts[min(1, len(parts) - 1)]
    kinds = ["420", "422", "444"] if len(parts) < 3 or chroma.height < 16 else ["422", "444", "420"]
    if len(parts) > 2 and chroma.width == 16:
        kinds = ["444", "422", "420"]
    depths = ("10le", "12le", "") if deep else ("", "10le")
    for alpha, depth, kind in product(alphas, depths, kinds):
        for name in (f"yuv{alpha}{kind}p{depth}", f"p0{depth}" if kind == "420" and not alpha else ""):
            if name in taken:
                return name
    return taken[0]


def _options(codec: str, settings: EncodeSettings, info: VideoInfo, colours: Colours) -> dict[str, str]:
    family = next((name for name in HARDWARE if codec.endswith(name)), None)
    crf, preset = DEFAULTS.get(codec, (HARDWARE_CRF if family else None, None))
    crf = settings.crf if settings.crf is not None else crf
    preset = settings.preset or preset
    options: dict[str, str] = {}
    if crf is not None:
        level = crf * AV1_STEPS if codec == "av1_amf" else crf
        options |= {name: text.format(level) for name, text in HARDWARE.get(family or "", {"crf": "{}"}).items()}
    if preset is not None:
        name, numbers = NUMBERED.get(codec, ("preset", ()))
        options[name] = str(numbers[PRESETS.index(preset)]) if numbers and preset in PRESETS else preset
    if codec in ("libx264", "libx265") and USER_DATA in info.carried:
        options["udu_sei"] = "1"
    if info.chroma_location:
        options["chroma_sample_location"] = info.chroma_location
    if codec == "libx264":
        words = ["open-gop=0", "stitchable=1"]
        if get_host_cpu_features().get("avx512f", False):
            words.append(X264_WITHOUT_AVX512)
        options["x264-params"] = ":".join(words)
    elif codec == "libx265":
        options["a53cc"] = "1"
        # info=0: the banner would name the machine, but all segments must have the same header
        words = [f"open-gop=0:info=0:log-level=none:frame-threads=1:{STEADY}"]
        if colours.hdr:
            words += [*info.mastering.for_x265(), "hdr10-opt=0", "repeat-headers=0"]
        options["x265-params"] = ":".join(words)
    elif codec == "libsvtav1" and colours.hdr and (words := info.mastering.for_svt_av1()):
        options["svtav1-params"] = ":".join(words)
    elif codec.startswith("libvpx"):
        options |= {"b": "0", "deadline": "good", "row-mt": "1"}
        if "a" in info.pixel_format.removeprefix("yuv")[:1]:
            options["auto-alt-ref"] = "0"  # hidden frames have no alpha of their own
    elif codec == "prores_ks":
        profile = PRORES.get(info.profile or "", "4" if "444" in info.pixel_format else "3")
        options["profile"] = profile
    return options


@cache
def _formats(codec: str) -> list[str]:
    return [known.name for known in Codec(codec, "w").video_formats or []] or ["yuv420p"]


def _deep_formats(codec: str) -> bool:
    return any("10le" in name for name in _formats(codec))


@cache
def takes(muxer: str, codec: str) -> bool:
    """Return whether the container takes what the encoder makes."""
    if muxer == "mpegts":
        return Codec(codec, "w").canonical_name in OF_MPEGTS
    with av.open(BytesIO(), "w", format=muxer) as output:
        return codec in output.supported_codecs
