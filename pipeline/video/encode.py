"""Encoders: which one, with which settings. What they write: `segment_files.py`."""

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from io import BytesIO

import av
from av.codec import Codec, codecs_available
from av.video.format import VideoFormat

from pipeline.errors import Unsupported, UsageError
from pipeline.video.color import SDR, Colours, Hdr
from pipeline.video.probe import VideoInfo

CONTAINERS = {  # extension -> FFmpeg's muxer
    ".3gp": "3gp",
    ".m2ts": "mpegts",
    ".m4v": "mp4",
    ".mkv": "matroska",
    ".mov": "mov",
    ".mp4": "mp4",
    ".mts": "mpegts",
    ".ts": "mpegts",
    ".webm": "webm",
}
REPLACED = {".avi": ".mp4", ".flv": ".mp4", ".mpeg": ".mp4", ".mpg": ".mp4", ".ogv": ".mkv", ".wmv": ".mkv"}
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
    "libx265": (22, "fast"),
    "libsvtav1": (28, "8"),
    "libvpx-vp9": (28, "4"),
}
PRESETS = (  # from the fastest to the slowest, in the words of x264 and x265
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow", "placebo"),
)
NUMBERED = {  # the same in the numbers of other encoders
    "libsvtav1": ("preset", (12, 11, 10, 9, 8, 7, 6, 4, 2, 1)),
    "libvpx": ("cpu-used", (8, 7, 6, 5, 4, 3, 2, 1, 0, 0)),
    "libvpx-vp9": ("cpu-used", (8, 7, 6, 5, 4, 3, 2, 1, 0, 0)),
}
WORST_CRF = 63  # of VP9 and AV1
QUALITY_OPTION = {"nvenc": "cq", "qsv": "global_quality", "amf": "qp_i"}
CODINGS = {"av1", "ffv1", "h264", "hevc", "prores", "vp8", "vp9"}  # that films are kept in
OF_MPEGTS = {"h264", "hevc", "mpeg2video", "mpeg4"}  # FFmpeg does not tell


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodeSettings:
    """How the output is encoded. None: as fits the source."""

    codec: str | None = None
    """An encoder of FFmpeg: `libx264`, `libx265`, `libsvtav1`, `libvpx-vp9`, `h264_nvenc`, ..."""
    crf: int | None = None
    """Quality: lower is better and larger."""
    preset: str | None = None
    """Speed against size, in x264's words, from `ultrafast` to `veryslow`, or in the encoder's own."""
    pixel_format: str | None = None
    """FFmpeg's name: `yuv420p`, `yuv420p10le`, ..."""

    def __post_init__(self) -> None:
        if self.codec is not None and self.codec not in available_encoders():
            raise UsageError(f"there is no encoder {self.codec}; there are: {', '.join(available_encoders())}")
        if self.crf is not None and not 0 <= self.crf <= WORST_CRF:
            raise UsageError(f"--crf is {self.crf}; it must be between 0 and {WORST_CRF}, or 51 for H.264 and HEVC")
        own_words = self.codec is not None and not self.codec.startswith("lib")
        if not (self.preset is None or self.preset in PRESETS or self.preset.isdigit() or own_words):
            raise UsageError(f"--preset {self.preset}: there is none; choose one of {', '.join(PRESETS)}")
        if self.pixel_format is not None:
            try:
                VideoFormat(self.pixel_format)
            except ValueError as error:
                raise UsageError(
                    f"--pixel-format {self.pixel_format}: there is none; try yuv420p or yuv420p10le"
                ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """All that decides how the frames of one video are encoded: the same for each of its segments."""

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
    """What is not as in the source, in sentences."""

    @property
    def segment_format(self) -> str:
        """Muxer of segment files. NUT takes any coding and time base, but not VP9's alpha."""
        return "matroska" if "yuva" in self.pixel_format and self.codec == "libvpx-vp9" else "nut"


@cache
def available_encoders() -> list[str]:
    """Names of this PyAV's encoders for CODINGS; those of hardware may still find none."""
    names = []
    for name in codecs_available:
        try:
            codec = Codec(name, "w")
        except ValueError:  # a decoder
            continue
        if codec.canonical_name in CODINGS:
            names.append(codec.name)
    return sorted(set(names))


def written_name(name: str, container: str | None = None) -> str:
    """A file's name with the extension of its output. `container`: an extension that was asked for, as `.mkv`."""
    stem, dot, extension = name.rpartition(".")
    extension = dot + extension.lower()
    if container is not None:
        return stem + container
    return name if extension in CONTAINERS else stem + REPLACED.get(extension, ".mkv")


def muxer_of(name: str) -> str:
    """FFmpeg's muxer for a file of this name. Raises UsageError."""
    extension = "." + name.rpartition(".")[2].lower()
    if extension not in CONTAINERS:
        raise UsageError(f"{extension} is not written; use one of: {', '.join(CONTAINERS)}")
    return CONTAINERS[extension]


def choose(info: VideoInfo, settings: EncodeSettings, muxer: str, hdr: Hdr) -> Encoding:
    """How to encode a video of this kind into this container. Raises Unsupported where that cannot be."""
    to_sdr = info.colours.hdr is not None and hdr == "sdr"
    deep = info.depth > 8 and not to_sdr
    codec = settings.codec or _codec(info, muxer, deep)
    if not _holds(muxer, codec):
        raise Unsupported(f"{muxer} cannot hold what {codec} encodes; choose another container or codec")
    notes = []
    if not settings.codec and Codec(codec, "w").canonical_name != info.codec:
        notes.append(f"{info.codec} is written as {Codec(codec, 'w').canonical_name}")
    pixel_format = settings.pixel_format or _pixel_format(info, codec, deep)
    if pixel_format != info.pixel_format.replace("yuvj", "yuv"):
        notes.append(f"{info.pixel_format} is written as {pixel_format}")
    if info.alpha and pixel_format != info.pixel_format:
        notes.append(f"its transparency is lost: {codec} has no {info.pixel_format}")
    colours = SDR if to_sdr else info.colours
    if to_sdr:
        notes.append(f"{info.colours.hdr} is written as SDR")
    if VideoFormat(info.pixel_format).is_rgb:  # the matrix of RGB is none, which no YUV has
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


def _codec(info: VideoInfo, muxer: str, deep: bool) -> str:
    """The encoder of the source's own coding, or else of the one that most players of the container know."""
    same = SAME_CODING.get(info.codec)
    if same is not None and _holds(muxer, same) and (not deep or _deep_formats(same)):
        return same
    if muxer == "webm" or info.codec in ("vp8", "vp9"):
        return OF_WEBM_10 if deep else OF_WEBM
    return DEFAULT_10 if deep else DEFAULT


def _pixel_format(info: VideoInfo, codec: str, deep: bool) -> str:
    """The source's pixel format, or what comes nearest to it of those that the encoder takes."""
    source = info.pixel_format.replace("yuvj", "yuv")
    taken = _formats(codec)
    name = source if source in taken and deep == (info.depth > 8) else _nearest(source, taken, deep)
    if info.width_px % 2 and codec in ("libx264", "libx265"):  # where pixels share chroma, they take even sizes only
        name = name.replace("420", "444").replace("422", "444")
    elif info.height_px % 2 and codec in ("libx264", "libx265"):
        name = name.replace("420", "444")
    return name


def _nearest(source: str, taken: list[str], deep: bool) -> str:
    """Planar YUV with at least as much colour as the source, if there is any."""
    parts = VideoFormat(source, 16, 16).components
    chroma = parts[min(1, len(parts) - 1)]
    kinds = ["420", "422", "444"] if len(parts) < 3 or chroma.height < 16 else ["422", "444", "420"]
    if len(parts) > 2 and chroma.width == 16:
        kinds = ["444", "422", "420"]
    for depth in ("10le", "12le", "") if deep else ("", "10le"):
        for kind in kinds:
            for name in (f"yuv{kind}p{depth}", f"p0{depth}" if kind == "420" else ""):
                if name in taken:
                    return name
    return taken[0]


def _options(codec: str, settings: EncodeSettings, info: VideoInfo, colours: Colours) -> dict[str, str]:
    crf, preset = DEFAULTS.get(codec, (None, None))
    crf = settings.crf if settings.crf is not None else crf
    preset = settings.preset or preset
    options: dict[str, str] = {}
    family = next((name for name in QUALITY_OPTION if codec.endswith(name)), None)
    if crf is not None:
        options[QUALITY_OPTION[family] if family else "crf"] = str(crf)
    if preset is not None:
        name, numbers = NUMBERED.get(codec, ("preset", ()))
        options[name] = str(numbers[PRESETS.index(preset)]) if numbers and preset in PRESETS else preset
    if codec == "libx264":
        options["x264-params"] = "open-gop=0:stitchable=1"
    elif codec == "libx265":  # info=0: its banner names the machine, and all segments must have one header
        options["x265-params"] = ":".join(["open-gop=0:info=0:log-level=none", *_hdr10(info, colours)])
    elif codec.startswith("libvpx"):
        options |= {"b": "0", "deadline": "good", "row-mt": "1"}
        if "a" in info.pixel_format.removeprefix("yuv")[:1]:
            options["auto-alt-ref"] = "0"  # hidden frames have no alpha of their own
    elif codec == "prores_ks":
        options["profile"] = "4" if "444" in info.pixel_format else "3"
    return options


def _hdr10(info: VideoInfo, colours: Colours) -> list[str]:
    if not colours.hdr:
        return []
    return [f"{name}={value}" for name, value in info.mastering.items()] + ["hdr10-opt=0", "repeat-headers=0"]


@cache
def _formats(codec: str) -> list[str]:
    return [known.name for known in Codec(codec, "w").video_formats or []] or ["yuv420p"]


def _deep_formats(codec: str) -> bool:
    return any("10le" in name for name in _formats(codec))


@cache
def _holds(muxer: str, codec: str) -> bool:
    """Whether the container takes what the encoder makes."""
    if muxer == "mpegts":
        return Codec(codec, "w").canonical_name in OF_MPEGTS
    with av.open(BytesIO(), "w", format=muxer) as output:
        return codec in output.supported_codecs
