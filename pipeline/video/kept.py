"""What of a file is not in the one that was made from it: read back and compared."""

from collections import Counter

from av.container import InputContainer
from av.video.stream import VideoStream

# written by muxers for themselves
STRUCTURE = frozenset(
    "major_brand minor_version compatible_brands encoder ENCODER duration DURATION vendor_id "  # noqa: SIM905
    "number_of_frames NUMBER_OF_FRAMES BPS _STATISTICS_TAGS".split()
)


def lost(original: InputContainer, written: InputContainer, video: int, new_video: int) -> list[str]:
    """In sentences; streams that are missing altogether are not named here. `video`: its index, here and there."""
    notes = [f"metadata {key!r} is lost" for key in _lost_keys(original.metadata, written.metadata)]
    if len(written.chapters()) < len(original.chapters()):
        notes.append("chapters are lost")
    notes += [f"metadata {key!r} of a stream is lost" for key in _lost_of_streams(original, written)]
    before, after = original.streams[video], written.streams[new_video]
    if isinstance(before, VideoStream) and isinstance(after, VideoStream) and _aspect(before) != _aspect(after):
        notes.append(f"the shape of a pixel ({before.sample_aspect_ratio}) is lost")
    return notes


def _aspect(stream: VideoStream) -> float:
    return round(float(stream.sample_aspect_ratio or 1), 3)


def _lost_keys(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Keys whose value is nowhere: containers spell keys in their own ways."""
    kept = set(after.values())
    return sorted(
        key
        for key, value in before.items()
        if key not in STRUCTURE and value not in kept and key.lower() not in {other.lower() for other in after}
    )


def _lost_of_streams(original: InputContainer, written: InputContainer) -> list[str]:
    """Only what a person wrote there: titles and languages."""

    def told(container: InputContainer) -> Counter[tuple[str, str]]:
        return Counter(
            (key, stream.metadata[key])
            for stream in container.streams
            for key in ("language", "title")
            if stream.metadata.get(key, "und") != "und"
        )

    return sorted({key for key, _ in told(original) - told(written)})
