"""Steps of photos of sequences: those of all photos, with curve maps that are steady over time.

Each photo is read and decoded twice: first for its light, which only a small copy is kept of, then to be enhanced. So
as many photos may be smoothed together as it takes, whatever their size.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from model.full_size.reduce import reduce_pixels
from pipeline.images.photo import Photo, Samples
from pipeline.images.seen.borders import Box, whole
from pipeline.images.seen.view import Part, hides_something
from pipeline.luma import sampled
from pipeline.photos import OUT_OF_MEMORY, PhotoSteps, PhotoWork
from pipeline.records import Record, Work, settling
from pipeline.sequences.capture_time import capture_time
from pipeline.sequences.light_over_time import Light, LightOverTime
from pipeline.video.enhancing.scenes import Copy
from pipeline.video.signal.color import SMALL_PX

MOST_GREY, LEAST_COLOUR = 0.999, 2  # share of pixels, and the levels of 255 by which their channels differ at most
ALONE = "enhanced by itself, as no part of a sequence: it holds several frames"
UNSEEN = "enhanced by itself, as no part of a sequence: {}"


@dataclass(slots=True)
class LightWork(Work):
    """A photo on its way through `EstimateLight`."""

    inside: Box | None = None
    """Box inside the borders, if other photos have decided on it."""
    light: Light | None = None
    """None until it is estimated; and if the photo cannot be read, or holds several frames."""


class EstimateLight:
    """Step from a reference to the light of a photo."""

    def __init__(self, steps: PhotoSteps) -> None:
        self.steps = steps

    def __call__(self, work: LightWork) -> LightWork:
        with settling(work.record, work.outcome, out_of_memory=OUT_OF_MEMORY):
            data = self.steps.decode.storage.read(work.record.source)
            photo = self.steps.decode.photo_of(data, work.record, gain_map=False)
            if len(photo.frames) == 1:
                work.light = self._light(photo, work.inside)
        return work

    def _light(self, photo: Photo, inside: Box | None) -> Light:
        maps, view = self.steps.enhance.light_of(photo, inside)
        frame, copy = view.frame, _copy(view.pixels)
        box = None if hides_something(frame) else view.box
        is_framed = box not in (None, whole(frame.pixels))
        return Light(
            whole=_copy(replace(view, part=Part(whole(frame.pixels))).pixels) if is_framed else copy,
            copy=copy,
            maps=maps,
            size=frame.pixels.shape[:2],
            has_colour=_has_colour(view.pixels),
            captured_s=capture_time(photo.metadata),
            box=box,
        )


class SequenceSteps:
    """Chain of all steps, for photos that come in the order of their sequences.

    `estimate`, `develop`: an `EstimateLight` and the steps of all photos, or what calls them.
    """

    def __init__(
        self,
        steps: PhotoSteps,
        estimate: Callable[[LightWork], LightWork],
        develop: Callable[[PhotoWork], PhotoWork],
    ) -> None:
        self._estimate, self._develop = estimate, develop
        self._unseen: dict[str, str] = {}
        self._size_bytes = 0  # of the photo at hand: those around it are about as large
        self._lights = LightOverTime(self._light_of, steps.enhance.enhancer)

    def __call__(self, work: PhotoWork) -> PhotoWork:
        self._size_bytes, start, smoothed = work.record.size_bytes, time.perf_counter(), None
        with settling(work.record, work.outcome, out_of_memory=OUT_OF_MEMORY):
            smoothed = self._lights.smoothed(work.record)
            if smoothed is not None:
                work.maps, work.inside = smoothed.maps, smoothed.box
        work.outcome.add_seconds({"seconds_enhance": time.perf_counter() - start})
        if work.outcome.code:
            return work
        unseen = self._unseen.pop(work.record.source, "")
        work = self._develop(work)
        if work.outcome.outcome == "done" and smoothed is None:
            work.outcome.notes.append(UNSEEN.format(unseen) if unseen else ALONE)
        return work

    def _light_of(self, url: str, inside: Box | None) -> Light | None:
        record = Record(source=url, version="", size_bytes=self._size_bytes, destination="")
        work = self._estimate(replace(LightWork.of(record), inside=inside))
        if work.outcome.code and inside is None:
            self._unseen[url] = work.outcome.message
        return work.light


def _has_colour(pixels: Samples) -> bool:
    """Return whether an image, HxWxC, shows colour: infrared photos do not, however many channels they have."""
    if pixels.shape[2] == 1:
        return False
    differences = np.ptp(sampled(pixels), axis=2)
    return bool(np.quantile(differences, MOST_GREY) > LEAST_COLOUR * np.iinfo(pixels.dtype).max / 255)


def _copy(pixels: Samples) -> Copy:
    """Return a copy of the size SMALL_PX, which is enough to compare photos and to measure their luma."""
    width, height = SMALL_PX
    factor = max(1, min(pixels.shape[0] // height, pixels.shape[1] // width))
    reduced_CHW = torch.from_numpy(reduce_pixels(pixels, factor)).permute(2, 0, 1)
    small_CHW = F.adaptive_avg_pool2d(reduced_CHW, (height, width)).expand(3, -1, -1)
    copy: Copy = (small_CHW * 255).round().permute(1, 2, 0).contiguous().numpy().astype(np.uint8)
    return copy
