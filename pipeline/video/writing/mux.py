"""Joining of encoded segments with everything else in their source, without encoding anything again.

Frames keep their times from the source. Decoding times are computed anew for the whole video: the n-th packet takes
the time of the frame that is shown `reorder` places before it. This rises from packet to packet, also across joins, and
is never later than the packet's own time.
"""

import heapq
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from pipeline.errors import Damaged, plural
from pipeline.video.reading.containers import muxer_of
from pipeline.video.reading.opening import opened_container, opened_with_all
from pipeline.video.reading.probe import VideoInfo
from pipeline.video.signal.side_data import DOLBY_VISION, OF_CONTAINERS, OF_HDR, STEREO, USER_DATA
from pipeline.video.structure.encryption import check_encryption
from pipeline.video.structure.facts import is_fast_start, private_boxes, programmes, unwritten
from pipeline.video.structure.iso_boxes import is_iso
from pipeline.video.writing import camera_boxes, display_size, uncompressed_sound
from pipeline.video.writing.beside import Beside
from pipeline.video.writing.container_options import SHIFTED, options_for
from pipeline.video.writing.copied_streams import (
    ISO,
    attach_cover,
    copied,
    cover_images,
    holds,
    is_written_anew,
    named,
)
from pipeline.video.writing.encode import Encoding
from pipeline.video.writing.lost_metadata import STRUCTURE, lost, lost_beside_pixels, lost_streams
from pipeline.video.writing.monotonic_dts import Rising, taken
from pipeline.video.writing.segment_files import IDENTITY, tag
from pipeline.video.writing.uncompressed_sound import PcmSound

Opening = Callable[[], AbstractContextManager[BinaryIO]]
ROUNDED, ROUNDED_SHARE = ("matroska", "webm"), 0.05  # muxers that round times; share of a frame from which it shows


@dataclass(frozen=True, kw_only=True, slots=True)
class EnhancedStream:
    """Enhanced video that is to be joined."""

    info: VideoInfo
    encoding: Encoding
    segments: list[tuple[Opening, str]]
    """For each segment, in order: what opens its file, and its identity."""
    pts: list[int]
    """Pts of all frames in them, ascending."""
    reorder: int
    """Most places by which a packet precedes its turn in the order of pts."""


def join(source: BinaryIO, enhanced: EnhancedStream, target: str, name: str) -> list[str]:
    """Write the finished file to the local path `target`, with everything else that is in `source`.

    `name`: the final name of the file, whose extension selects the container.

    Returns what the container could not hold, in sentences. Raises Damaged if the frames of the segments are not those
    of `enhanced.pts`.
    """
    whole, recordings = source, enhanced.info.recordings
    source = recordings[0].stretch.of(source) if recordings else source
    covers, muxer = cover_images(source), muxer_of(name)
    encrypted = check_encryption(source)
    unkept, private = unwritten(source), private_boxes(source)
    fast_start = is_iso(source) and is_fast_start(source)
    source.seek(0)
    with opened_with_all(source, enhanced.info.streams) as original:
        options = options_for(original, enhanced.info, enhanced.pts[0], name, fast_start=fast_start)
        with (
            taken(muxer, "the streams of this video"),
            av.open(target, "w", format=muxer, container_options=options) as output,
        ):
            video, copies, sounds, notes = _streams(original, output, enhanced, covers, encrypted)
            notes += unkept + _of_times(enhanced, muxer)
            if (late := enhanced.info.streams - len(original.streams)) > 0:
                notes.append(f"{plural(late, 'stream')} that begin late in the file are left out")
            if (count := programmes(original)) > 1:
                notes.append(f"its {count} programmes become one")
            if "avoid_negative_ts" in options:
                notes.append(SHIFTED[options["avoid_negative_ts"]])
            output.metadata.update({key: value for key, value in original.metadata.items() if key not in STRUCTURE})
            output.set_chapters(original.chapters())
            written_beside = copies | {index: sound.stream for index, sound in sounds.items()}
            names = {copy.index: named(original.streams[index]) for index, copy in written_beside.items()}
            rising = Rising(output, video.index, names | {video.index: named(original.streams[enhanced.info.stream])})
            beside_video = Beside(original, copies, sounds, enhanced.info, notes)
            for packet in _in_time(_enhanced_packets(enhanced, video), beside_video.packets(whole)):
                rising.write(packet)
            notes += rising.notes() + [note for sound in sounds.values() for note in sound.notes()]
            types = [stream.type for stream in output.streams]
        gone = camera_boxes.append(Path(target), source, private) if muxer in ISO and private else private
        if gone:
            notes.append(f"boxes of the camera are lost: {', '.join(dict.fromkeys(map(str, gone)))}")
        if display_size.is_needed(muxer, enhanced.info.sample_aspect):
            title = original.streams[enhanced.info.stream].metadata.get("title", "")
            display_size.write_aspect(Path(target), enhanced.info.sample_aspect or Fraction(1), title)
        with av.open(target, "r", metadata_errors="backslashreplace") as written:
            notes += lost_streams(types, written) + lost(original, written, enhanced.info.stream, video.index)
            expected = _expected(enhanced)
            if "udu_sei" in enhanced.encoding.options:  # it may come later than the frames that are checked
                expected -= {USER_DATA}
            if recordings:
                expected &= recordings[0].info.carried
            return notes + lost_beside_pixels(written, video.index, expected)


def _of_times(enhanced: EnhancedStream, muxer: str) -> list[str]:
    """Return a note if rounding to Matroska's milliseconds shows. FFmpeg writes no other unit."""
    info, unit = enhanced.info, Fraction(1, 1000)
    if muxer not in ROUNDED or info.time_base % unit == 0:
        return []
    most = max(abs(at * info.time_base - round(at * info.time_base / unit) * unit) for at in set(enhanced.pts))
    if most * info.frame_rate < ROUNDED_SHARE:
        return []
    return [f"its times are rounded to milliseconds, the unit of {muxer}: by up to {float(1000 * most):.2f} ms"]


def _streams(
    original: InputContainer,
    output: OutputContainer,
    enhanced: EnhancedStream,
    covers: dict[int, bytes],
    encrypted: frozenset[int],
) -> tuple[Stream, dict[int, Stream], dict[int, PcmSound], list[str]]:
    """Add all streams to the output, in the order of the source. `encrypted`: see `check_encryption`.

    Returns the video, copies and sound written as PCM by index of their originals, and notes on what cannot be copied.
    """
    video: Stream | None = None
    copies: dict[int, Stream] = {}
    sounds: dict[int, PcmSound] = {}
    notes: list[str] = []
    chapters = bool(original.chapters())
    for stream in original.streams:
        if stream.index == enhanced.info.stream:
            with enhanced.segments[0][0]() as file, opened_container(file) as segment:
                copy: Stream = _video(output, stream, segment.streams.video[0], enhanced)
            video = copy
            notes += _of_crop(cast(VideoStream, stream), enhanced.info)
        elif is_written_anew(stream, output.format.name, chapters=chapters):
            continue
        elif (stream.id or stream.index) in encrypted:  # Matroska has no IDs
            notes.append(f"{named(stream)} is left out: it is encrypted (DRM)")
            continue
        elif stream.index in covers and output.format.name == "matroska":  # stores them as attachments
            attach_cover(output, stream, covers[stream.index])
            continue
        elif holds(output.format.name, stream):
            copy = copies[stream.index] = copied(output, stream)
            if stream.type == "video" and stream.index not in covers:
                notes.append(f"video stream {stream.index} is copied as it is; only one video stream is enhanced")
        elif uncompressed_sound.is_possible(output.format.name, stream):
            sounds[stream.index] = PcmSound(output, stream)
            copy = sounds[stream.index].stream
        else:
            notes.append(f"{named(stream)} is left out: {output.format.name} cannot hold it")
            continue
        copy.metadata.update({key: value for key, value in stream.metadata.items() if key not in STRUCTURE})
        copy.disposition = stream.disposition
        if copy is video and display_size.is_needed(output.format.name, enhanced.info.sample_aspect):
            copy.metadata["title"] = display_size.with_room(stream.metadata.get("title", ""))
    assert video is not None
    return video, copies, sounds, notes


def _video(output: OutputContainer, original: Stream, template: Stream, enhanced: EnhancedStream) -> Stream:
    info, encoding = enhanced.info, enhanced.encoding
    told = _tells_of_the_whole(original, template, enhanced)
    stream: Any = output.add_stream_from_template(original if told else template, opaque=True)
    stream.time_base = info.time_base
    context = stream.codec_context
    if told:  # everything else is taken from the segments
        coded: Any = template.codec_context
        context.extradata, context.pix_fmt, context.profile = coded.extradata, coded.pix_fmt, coded.profile
        context.bit_rate = 0
    context.framerate = info.frame_rate
    if info.sample_aspect:
        context.sample_aspect_ratio = info.sample_aspect
    if template.codec_context.name == "hevc" and output.format.name in ISO:
        context.codec_tag = "hvc1"  # Apple's players require it
    elif template.codec_context.name == "prores":
        context.codec_tag = template.codec_context.codec_tag
    tag(context, encoding.colours)
    stream.set_display_matrix(info.display_matrix)
    return cast(Stream, stream)


def _tells_of_the_whole(original: Stream, template: Stream, enhanced: EnhancedStream) -> bool:
    """Return whether the source's stream is used as a template, which keeps what its container says of the video.

    The codec must be the same, and nothing may be said that is no longer true: cropping, two views, HDR that became
    SDR, Dolby Vision.
    """
    info, expected = enhanced.info, _expected(enhanced)
    before, after = cast(VideoStream, original).codec_context, template.codec_context
    same = before.codec.canonical_name == after.codec.canonical_name and (before.width, before.height) == info.size
    true = info.crop is None and not info.second_view and expected == info.carried and not expected & DOLBY_VISION
    return same and true and bool(expected & OF_CONTAINERS)


def _of_crop(original: VideoStream, info: VideoInfo) -> list[str]:
    """Return a note if the frames are smaller than in the source, without what its container hides."""
    coded, shown = (original.width, original.height), info.size
    if info.crop is None or coded == shown:
        return []
    return [f"what its crop hides is left out: {shown[0]}x{shown[1]} of {coded[0]}x{coded[1]} pixels are kept"]


def _expected(enhanced: EnhancedStream) -> frozenset[str]:
    """Return the side data that the frames should carry."""
    info = enhanced.info
    carried = info.carried - {STEREO} if info.second_view else info.carried
    return carried - OF_HDR if info.colours.hdr and not enhanced.encoding.colours.hdr else carried


def _enhanced_packets(enhanced: EnhancedStream, video: Any) -> "Iterator[Packet[Any]]":
    """Yield the packets of all segments, one segment after the other."""
    info, pts, places = enhanced.info, enhanced.pts, 0
    header = None
    for opening, identity in enhanced.segments:
        with opening() as file, opened_container(file) as container:
            kept = {key.lower(): value for key, value in container.metadata.items()}
            if kept.get(IDENTITY) != identity:
                raise Damaged("a segment file belongs to another segment; run again")
            coded: VideoStream = container.streams.video[0]
            header = header or coded.codec_context.extradata
            if coded.codec_context.extradata != header:
                raise Damaged("its segments were encoded by different encoders and cannot be joined; run again")
            start = pts[min(places, len(pts) - 1)]
            for packet in container.demux(coded):
                if not packet.size:
                    continue
                at = start + round((packet.pts or 0) * packet.time_base / info.time_base)
                rank = bisect_left(pts, at)
                if places == len(pts) or rank == len(pts) or pts[rank] != at:
                    raise Damaged(f"a segment contains a frame at {at} that does not belong to the video; run again")
                packet.time_base, packet.pts = info.time_base, at
                packet.dts = _decoded_at(places, pts, enhanced.reorder)
                packet.duration = (pts[rank + 1] if rank + 1 < len(pts) else at + info.last_duration) - at
                packet.stream = video
                places += 1
                yield packet
    if places != len(pts):
        raise Damaged(f"its segments contain {plural(places, 'frame')}, not {len(pts)}; run again")


def _decoded_at(place: int, pts: list[int], reorder: int) -> int:
    """Return a packet's decoding time. Before the first frame, it goes back in steps of that frame's length."""
    if place >= reorder:
        return pts[place - reorder]
    step = pts[1] - pts[0] if len(pts) > 1 else 1
    return pts[0] - (reorder - place) * step


def _in_time(*streams: "Iterable[Packet[Any]]") -> "Iterator[Packet[Any]]":
    """Merge streams of packets, each in the order of time, into one in the order of time."""

    def time(packet: "Packet[Any]") -> Fraction:
        return (packet.dts or 0) * Fraction(packet.time_base)

    return heapq.merge(*streams, key=time)
