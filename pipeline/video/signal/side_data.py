"""Side data of frames: HDR10 metadata, captions, the projection of a spherical video."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from av.video.frame import VideoFrame

NAMES = {  # FFmpeg's names of side data whose loss a viewer may notice -> description and verb, for messages
    "A53_CC": "closed captions are",
    "AFD": "the active format description (AFD) is",
    "AMBIENT_VIEWING_ENVIRONMENT": "the ambient viewing environment is",
    "CONTENT_LIGHT_LEVEL": "HDR10 metadata (MaxCLL, MaxFALL) is",
    "DOVI_METADATA": "Dolby Vision metadata is",
    "DOVI_RPU_BUFFER": "Dolby Vision metadata is",
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata is",
    "DYNAMIC_HDR_VIVID": "HDR Vivid metadata is",
    "ICC_PROFILE": "the ICC profile is",
    "MASTERING_DISPLAY_METADATA": "HDR10 metadata (mastering display) is",
    "S12M_TIMECODE": "timecodes in the frames are",
    "SEI_UNREGISTERED": "user data (SEI), such as what a camera measures, is",
    "SPHERICAL": "the projection of a spherical (360°) video is",
    "STEREO3D": "the layout of a stereoscopic video is",
}
CAPTIONS, USER_DATA, STEREO = "A53_CC", "SEI_UNREGISTERED", "STEREO3D"
ON_FRAMES = frozenset({CAPTIONS, USER_DATA, STEREO})  # kinds that encoders take from each frame
OF_ENCODERS = (  # UUIDs of user data by which encoders tell of themselves: x264, x265, Apple's, Adobe's
    bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef"),
    bytes.fromhex("2ca2de09b51747dbbb55a4fe7fc2fc4e"),
    bytes.fromhex("47564adc5c4c433f94efc5113cd143a8"),
    bytes.fromhex("b9edb9305d214b7183712c10a314bb29"),
)
DOLBY_VISION = frozenset({"DOVI_METADATA", "DOVI_RPU_BUFFER"})
OF_CONTAINERS = frozenset(  # kinds that a container can state for the whole video
    {"CONTENT_LIGHT_LEVEL", "ICC_PROFILE", "MASTERING_DISPLAY_METADATA", "SPHERICAL", "STEREO3D"}
)
OF_HDR = DOLBY_VISION | {kind for kind, name in NAMES.items() if "HDR" in name or "ambient" in name}


@dataclass(frozen=True, kw_only=True, slots=True)
class Mastering:
    """Static metadata of HDR10: SMPTE ST 2086 and CTA-861.3."""

    display: tuple[Fraction, ...] | None = None
    """x and y of red, green, blue and white, then the lowest and the highest luminance in cd/m2."""
    light: tuple[int, int] | None = None
    """MaxCLL and MaxFALL in cd/m2."""

    def for_x265(self) -> list[str]:
        """Return the parameters for x265: chromaticities in units of 0.00002, luminances in units of 0.0001."""
        units = [50_000] * 8 + [10_000] * 2
        display = [round(x * unit) for x, unit in zip(self.display or (), units, strict=False)]
        return self._words("master-display", display, "max-cll")

    def for_svt_av1(self) -> list[str]:
        return self._words("mastering-display", [float(x) for x in self.display or ()], "content-light")

    def _words(self, display_name: str, display: Sequence[float], light_name: str) -> list[str]:
        words = []
        if display:
            red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y, low, high = display
            primaries = f"G({green_x},{green_y})B({blue_x},{blue_y})R({red_x},{red_y})WP({white_x},{white_y})"
            words.append(f"{display_name}={primaries}L({high},{low})")
        if self.light is not None:
            words.append(f"{light_name}={self.light[0]},{self.light[1]}")
        return words


def side(frame: VideoFrame, kind: str) -> bytes | None:
    """Return the side data of a frame by its name in FFmpeg, or None."""
    return next((bytes(data) for data in _all(frame) if data.type.name == kind), None)


def has_side(frame: VideoFrame, kinds: frozenset[str]) -> bool:
    return any(data.type.name in kinds for data in _all(frame))


def kinds(frames: Iterable[VideoFrame]) -> frozenset[str]:
    """Return those of NAMES that any of the frames carries."""
    found = (data for frame in frames for data in _all(frame))
    return frozenset(data.type.name for data in found if not bytes(data).startswith(OF_ENCODERS)) & NAMES.keys()


def mastering(frame: VideoFrame) -> Mastering:
    """Read a frame's HDR10 metadata: libavutil's AVMasteringDisplayMetadata and AVContentLightMetadata."""
    display, light = side(frame, "MASTERING_DISPLAY_METADATA"), side(frame, "CONTENT_LIGHT_LEVEL")
    told: tuple[Fraction, ...] | None = None
    if display is not None:
        numbers = np.frombuffer(display, np.int32).tolist()
        if numbers[20] and numbers[21]:  # has_primaries, has_luminance
            told = tuple(Fraction(numbers[at], numbers[at + 1] or 1) for at in range(0, 20, 2))
    levels = None if light is None else np.frombuffer(light, np.uint32).tolist()
    return Mastering(display=told, light=levels and (levels[0], levels[1]))


def _all(frame: VideoFrame) -> list[Any]:
    """Return all side data of a frame, or none if PyAV does not know one kind: it then lists no other either."""
    try:
        found: Any = frame.side_data  # a mapping that iterates over its values
    except ValueError:
        return []
    return list(found)
