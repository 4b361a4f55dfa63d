"""Comparison of a file with the one made from it, which is read back, to find what was lost."""

from collections import Counter
from collections.abc import Sequence
from itertools import islice

from av.container import InputContainer
from av.video.stream import VideoStream

from pipeline.video.reading.probe import FRAMES_SEEN
from pipeline.video.signal.side_data import NAMES, kinds

# keys that muxers write for themselves
STRUCTURE = frozenset(
    "major_brand minor_version compatible_brands encoder ENCODER duration DURATION vendor_id "  # noqa: SIM905
    "number_of_frames NUMBER_OF_FRAMES BPS _STATISTICS_TAGS".split()
)

ROUNDED = 0.01  # by how much a pixel aspect ratio may change, as Matroska counts whole pixels


def lost(original: InputContainer, written: InputContainer, video: int, new_video: int) -> list[str]:
    """Return what was lost, except whole streams, in sentences. `video`, `new_video`: index of the video in each."""
    of_streams = {value for stream in written.streams for value in stream.metadata.values()}
    notes = [f"metadata {key!r} is lost" for key in _lost_keys(original.metadata, written.metadata, of_streams)]
    if len(written.chapters()) < len(original.chapters()):
        notes.append("chapters are lost")
    notes += [f"metadata {what} is lost" for what in _lost_of_streams(original, written)]
    before, after = original.streams[video], written.streams[new_video]
    if isinstance(before, VideoStream) and isinstance(after, VideoStream) and _differ(before, after):
        notes.append(f"the pixel aspect ratio ({before.sample_aspect_ratio}) is lost")
    return notes


def lost_streams(types: Sequence[str], written: InputContainer) -> list[str]:
    """Return which streams were written but cannot be read back, in sentences. `types`: of all that were written."""
    missing = Counter(types) - Counter(stream.type for stream in written.streams)
    return [
        f"{missing[kind]} of its {types.count(kind)} {kind} streams cannot be read back from {written.format.name}"
        for kind in ("video", "audio", "subtitle")
        if missing[kind]
    ]


def lost_beside_pixels(written: InputContainer, video: int, expected: frozenset[str]) -> list[str]:
    """Return the side data that frames are expected to carry but do not, in sentences."""
    if not expected:
        return []
    frames = islice(written.decode(written.streams[video]), FRAMES_SEEN)
    return sorted({f"{NAMES[kind]} lost" for kind in expected - kinds(frames)})  # type: ignore[arg-type]


def _differ(before: VideoStream, after: VideoStream) -> bool:
    """Return whether the pixel aspect ratios differ by more than what rounding makes of them."""
    one, other = (float(stream.sample_aspect_ratio or 1) for stream in (before, after))
    return abs(one / other - 1) > ROUNDED


def _lost_keys(before: dict[str, str], after: dict[str, str], elsewhere: set[str]) -> list[str]:
    """Return keys of which neither the value nor the name is left. Containers spell keys in their own ways.

    `elsewhere`: further values that are kept, such as a timecode, which MOV keeps as a stream.
    """
    kept = elsewhere | set(after.values())
    return sorted(
        key
        for key, value in before.items()
        if key not in STRUCTURE and value not in kept and key.lower() not in {other.lower() for other in after}
    )


def _lost_of_streams(original: InputContainer, written: InputContainer) -> list[str]:
    """Return which of `language` and `title`, the keys that people write, were lost from streams."""
    kept = Counter(stream.metadata.get("language") for stream in written.streams if stream.type != "data")
    titles = {value for stream in written.streams for value in stream.metadata.values()}
    lost = []
    for stream in original.streams:
        language, title = stream.metadata.get("language", "und"), stream.metadata.get("title")
        if stream.type != "data" and language != "und":
            kept[language] -= 1
            lost += [f"'language' ({language}) of {stream.type} stream {stream.index}"] * (kept[language] < 0)
        if title is not None and title not in titles:
            lost.append(f"'title' ({title}) of {stream.type} stream {stream.index}")
    return lost
