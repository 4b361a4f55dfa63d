"""Steps that a video goes through: inspect, enhance each segment, join. Plain callables, without Ray.

Segments of one video are enhanced independently, anywhere, in any order. Each becomes a file at a URL that the caller
chooses, with a small file beside it that describes it; if both are there already, the work is done.
"""

import hashlib
import json
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from model import Checkpoint, Enhancer, Look, Precision, fingerprint
from pipeline.errors import Damaged, MediaError, NotFound, plural
from pipeline.records import Outcome, Record, settling
from pipeline.segments import SegmentFolders, SegmentResult, describe, notes_of
from pipeline.storage.copying import copy
from pipeline.storage.ownership import check_is_ours
from pipeline.storage.storage import Storage
from pipeline.storage.urls import redacted
from pipeline.video.enhancing.enhance import Clock, Enhancement
from pipeline.video.enhancing.smoothing import Window
from pipeline.video.reading.containers import change_of, muxer_of, written_as_it_is
from pipeline.video.reading.glance import PART_BYTES, Glance, glance
from pipeline.video.reading.probe import VideoInfo, probe
from pipeline.video.reading.segments import Segment, cut
from pipeline.video.signal.color import Hdr
from pipeline.video.signal.side_data import ON_FRAMES
from pipeline.video.writing.encode import EncodeSettings, Encoding, choose
from pipeline.video.writing.mux import EnhancedStream, join
from pipeline.video.writing.segment_files import encoder

REVISION = 7  # raise it when a code change alters what is written: everything is then enhanced again
OUT_OF_MEMORY = "not enough memory for this video; use fewer --workers, or lower --max-frame-pixels or --estimate-size"
BRIGHT = "already_bright"  # code of what --skip-bright passes on
RESULT_SUFFIX = ".json"  # of the file beside a segment that describes it


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoSettings:
    """Settings that, with the weights, decide the output for a video."""

    look: Look = field(default_factory=Look)
    estimate_size: int | None = 256
    precision: Precision = "auto"
    window: Window = field(default_factory=Window)
    hdr: Hdr = "keep"
    skip_bright: Literal["no", "copy", "leave"] = "no"
    bright_luma: float = 0.45
    on_damage: Literal["keep", "fail"] = "keep"
    encode: EncodeSettings = field(default_factory=EncodeSettings)
    frames_per_segment: int = 240
    max_pixels: int = 100_000_000
    """Limit per frame."""

    def fingerprint(self, checkpoint: Checkpoint) -> str:
        """Return a hash of the weights and of the settings that decide what a video becomes.

        The segment length is not one of them: it changes only where keyframes are, not the enhanced frames.
        """
        unimportant = {"max_pixels", "frames_per_segment"}
        if self.skip_bright == "no":
            unimportant |= {"skip_bright", "bright_luma"}
        decisive = {name: value for name, value in asdict(self).items() if name not in unimportant}
        parts = (REVISION, sorted(decisive.items(), key=str), fingerprint(checkpoint))
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


class PassOn:
    """Step that leaves out, or copies, a video that is bright throughout, as a glance at it shows."""

    def __init__(self, storage: Storage, settings: VideoSettings) -> None:
        self.storage, self.settings = storage, settings

    def __call__(self, record: Record, outcome: Outcome) -> bool:
        """Return whether this settles the outcome. Raises what `Storage` raises."""
        clock = Clock()
        seen = self.look(record, clock)
        outcome.add_seconds(clock.seconds)
        if seen is None or not seen.is_bright(self.settings.bright_luma):
            return False
        outcome.outcome, outcome.code, outcome.night_s = "skipped", BRIGHT, 0.0
        outcome.width_px, outcome.height_px, outcome.frames = seen.width_px, seen.height_px, seen.frames
        outcome.luma_before = outcome.luma_after = seen.luma
        name, found = posixpath.basename(outcome.source), f"{min(seen.lumas):.2f} to {max(seen.lumas):.2f}"
        least = f"--bright-luma {self.settings.bright_luma:g}"
        outcome.message = f"{name}: mean luma is {found} throughout, at or above {least}"
        own = written_as_it_is(outcome.source, record.destination)
        if self.settings.skip_bright == "copy" and own != record.source:
            clock = Clock()
            with clock("seconds_write"):
                outcome.bytes_out, outcome.sha256 = copy(self.storage, replace(record, destination=own))
            outcome.destination = own
            outcome.add_seconds(clock.seconds)
        return True

    def look(self, record: Record, clock: Clock) -> Glance | None:
        """Return what a glance tells; None if none is asked for, or if the next step will tell what is wrong."""
        if self.settings.skip_bright == "no":
            return None
        reading = partial(clock, "seconds_read")
        opened = self.storage.open(record.source, reading, version=record.version, part_bytes=PART_BYTES)
        with opened as file, clock("seconds_decode"):
            try:
                return glance(file, self.settings.max_pixels, self.settings.hdr)
            except MediaError:
                return None


class Inspect:
    """Step that finds what a video holds, and cuts it into segments.

    Raises InTheWay if the destination is taken, what `probe` raises, Damaged (cut short, and damage is not kept),
    TooLarge, Unsupported (nothing to encode it with), and what `Storage` raises.
    """

    def __init__(self, storage: Storage, settings: VideoSettings) -> None:
        self.storage, self.settings = storage, settings

    def __call__(self, record: Record, outcome: Outcome | None = None) -> tuple[VideoInfo, list[Segment]]:
        """Inspect one video. `outcome`: gets the size of the video and the seconds spent."""
        check_is_ours(self.storage, record.destination, record.claim)  # before hours of work, not after them
        clock = Clock()
        source = self.storage.open(record.source, partial(clock, "seconds_read"), version=record.version)
        with source as file, clock("seconds_decode"):
            info = probe(file, self.settings.max_pixels)
        if outcome is not None:
            outcome.add_seconds(clock.seconds)
            outcome.width_px, outcome.height_px = info.size
        missing = [f"cut short, its last {info.missing_s:.1f} s are missing"] if info.missing_s else []
        missing += info.unread
        if missing and self.settings.on_damage == "fail":
            raise Damaged(f"{'; '.join(missing)}; use --on-damage keep to enhance it anyway")
        encoding_of(record, info, self.settings)
        return info, cut(info, self.settings.frames_per_segment)


class EnhanceSegment:
    """Step that enhances a segment and encodes it into a file. Holds the network, so there is one for each worker."""

    def __init__(
        self,
        storage: Storage,
        settings: VideoSettings,
        checkpoint: Checkpoint,
        device: str = "cpu",
        *,
        threads: int = 1,
    ) -> None:
        self.storage, self.settings, self.threads = storage, settings, threads
        self.fingerprint = f"{settings.fingerprint(checkpoint)} {device}"
        size, precision = settings.estimate_size, settings.precision
        enhancer = Enhancer(checkpoint, settings.look, estimate_size=size, device=device, precision=precision)
        self.enhancement = Enhancement(
            enhancer=enhancer,
            window=settings.window,
            hdr=settings.hdr,
            threads=threads,
            bright_luma=None if settings.skip_bright == "no" else settings.bright_luma,
        )

    def __call__(
        self, record: Record, info: VideoInfo, segment: Segment, url: str, on_frame: Callable[[], None] = lambda: None
    ) -> SegmentResult:
        """Write the segment to `url` and its description beside it, or reuse them. `on_frame`: called for each frame.

        Raises Damaged (frames are broken or missing, and damage is not kept) and what `Storage` raises.
        """
        told = (self.fingerprint, redacted(record.source), record.version, segment)
        identity = hashlib.sha256(repr(told).encode()).hexdigest()
        found = self._found(url, identity)
        if found is not None:
            return found
        clock, lumas, corrupt, scaled, reshaped, night = Clock(), [], 0, 0, 0, 0
        encoding = encoding_of(record, info, self.settings)
        keeps = record.attributes()  # of access: segments are removed again
        with self.storage.writing(url, partial(clock, "seconds_write"), keeps=keeps) as path:
            with (
                self.storage.open(record.source, partial(clock, "seconds_read"), version=record.version) as source,
                Path(path).open("wb") as file,
                encoder(
                    file, encoding, identity, threads=self.threads, timed=partial(clock, "seconds_encode")
                ) as output,
            ):
                for each in self.enhancement.frames(source, info, segment, encoding, clock):
                    corrupt += each.shot.frame.is_corrupt
                    scaled += (each.shot.frame.width, each.shot.frame.height) != info.size
                    reshaped += (each.shot.aspect or 1) != (info.coded_aspect or 1)
                    lumas.append((each.luma_before, each.luma_after))
                    night += info.duration_of(each.shot.rank) if each.shot.night else 0
                    with clock("seconds_encode"):
                        output.encode(each.frame, each.shot.pts, each.shot.frame if ON_FRAMES & info.carried else None)
                    on_frame()
            missing = segment.frames - len(lumas)
            if self.settings.on_damage == "fail" and (missing or corrupt):
                raise Damaged(
                    f"{plural(missing, 'frame')} cannot be decoded, and {plural(corrupt, 'frame')} broken; "
                    "use --on-damage keep to enhance it anyway"
                )
        before_luma, after_luma = np.mean(lumas, axis=0).tolist() if lumas else (0.0, 0.0)
        result = SegmentResult(
            identity=identity,
            pts=sorted(output.order),
            missing=missing,
            corrupt=corrupt,
            scaled=scaled,
            reshaped=reshaped,
            night=night,
            reorder=output.reorder,
            luma_before=before_luma,
            luma_after=after_luma,
            seconds=dict(clock.seconds),
        )
        self.storage.write(url + RESULT_SUFFIX, json.dumps(asdict(result)).encode())
        return result

    def _found(self, url: str, identity: str) -> SegmentResult | None:
        """Return the result that an earlier run left at `url` if the identity is the same, else None."""
        try:
            result = SegmentResult(**json.loads(self.storage.read(url + RESULT_SUFFIX)))
        except (NotFound, ValueError, TypeError):
            return None
        return replace(result, reused=True) if result.identity == identity and self.storage.exists(url) else None


class JoinSegments:
    """Step that joins enhanced segments into the file at the destination, with everything else in the source."""

    def __init__(self, storage: Storage, settings: VideoSettings) -> None:
        self.storage, self.settings = storage, settings

    def __call__(
        self, record: Record, info: VideoInfo, urls: Sequence[str], results: Sequence[SegmentResult], outcome: Outcome
    ) -> None:
        """Join segments. `urls` and `results`: of the segments, in order. `outcome`: filled in, and set to done.

        Raises Damaged (not one frame, or segments that do not belong together) and what `Storage` raises.
        """
        encoding = encoding_of(record, info, self.settings)
        held = [(url, result) for url, result in zip(urls, results, strict=True) if result.pts]
        describe(outcome, info, [result for _, result in held], skips_bright=self.settings.skip_bright != "no")
        container = change_of(outcome.source, record.destination)
        outcome.notes += notes_of(info, results) + container + encoding.notes
        if not held:
            raise Damaged("no frame can be decoded; check whether it plays, or convert it")
        clock = Clock()
        reading = partial(self.storage.open, timed=partial(clock, "seconds_read"))
        enhanced = EnhancedStream(
            info=info,
            encoding=encoding,
            segments=[(partial(reading, url), result.identity) for url, result in held],
            pts=[pts for _, result in held for pts in result.pts],
            reorder=max(result.reorder for _, result in held),
        )
        keeps = record.attributes()
        with clock("seconds_write"), self.storage.writing(record.destination, claim=record.claim, keeps=keeps) as path:
            with reading(record.source, version=record.version) as source:
                notes = join(source, enhanced, path, record.destination)
            with Path(path).open("rb") as file:  # once it is whole: containers are not written from front to end
                bytes_out, sha256 = Path(path).stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
        outcome.notes += notes
        outcome.add_seconds(clock.seconds)
        outcome.outcome, outcome.bytes_out, outcome.sha256 = "done", bytes_out, sha256


@dataclass(frozen=True, slots=True)
class VideoSteps:
    """All steps together, for one process."""

    pass_on: PassOn
    inspect: Inspect
    enhance: EnhanceSegment
    join: JoinSegments

    @classmethod
    def of(cls, storage: Storage, settings: VideoSettings, checkpoint: Checkpoint, device: str = "cpu") -> "VideoSteps":
        return cls(
            PassOn(storage, settings),
            Inspect(storage, settings),
            EnhanceSegment(storage, settings, checkpoint, device),
            JoinSegments(storage, settings),
        )

    def __call__(self, record: Record, folder: str, on_frame: Callable[[], None] = lambda: None) -> Outcome:
        """Enhance a video from file to file. `folder`: for its segments. `on_frame`: called for each frame."""
        outcome = Outcome.of(record)
        with settling(record, outcome, out_of_memory=OUT_OF_MEMORY):
            self.run(record, outcome, folder, on_frame)
        return outcome

    def run(
        self,
        record: Record,
        outcome: Outcome,
        folder: str,
        on_frame: Callable[[], None],
        on_info: Callable[[VideoInfo], None] = lambda info: None,
    ) -> None:
        """Do the same, and raise what the steps raise. `on_info`: called once the video is inspected."""
        folders = SegmentFolders(self.inspect.storage, folder)
        if self.pass_on(record, outcome):
            return
        info, segments = self.inspect(record, outcome)
        on_info(info)
        urls = [folders.url_of(record, segment) for segment in segments]
        results = [self.enhance(record, info, each, url, on_frame) for each, url in zip(segments, urls, strict=True)]
        self.join(record, info, urls, results, outcome)
        folders.clear(record)


def encoding_of(record: Record, info: VideoInfo, settings: VideoSettings) -> Encoding:
    return choose(info, settings.encode, muxer_of(record.destination), settings.hdr)
