"""View: the part of a photo's frame that counts, as the network and all statistics see it.

Neither what full transparency hides nor plain borders count, and colour is sRGB: see `working_space.py`; of HDR, what
`high_dynamic_range.py` says. What does not count stays as it is when the rest is enhanced.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipeline.images.borders import Box, around, inside_borders, whole
from pipeline.images.color.high_dynamic_range import transfer_of
from pipeline.images.color.working_space import WorkingSpace, working_space
from pipeline.images.hidden import box_of_visible, filled
from pipeline.images.photo import Frame, Photo, Samples
from pipeline.luma import mean_luma_of_sample, sampled
from pipeline.video.signal.transfer import for_curves, from_curves

Mask = npt.NDArray[np.bool_]


def views_of(photo: Photo) -> "list[View]":
    """Return a view of each frame. Those of an animation show the same part, so that it does not flicker."""
    boxes = [_box(frame) for frame in photo.frames]
    if photo.animated:
        boxes = [around(boxes)] * len(boxes)
    hdr = transfer_of(photo)
    icc = photo.metadata.icc if hdr is None else None
    return [
        View(frame, box, working_space(icc, frame.pixels.shape[2]), hdr)
        for frame, box in zip(photo.frames, boxes, strict=True)
    ]


def _box(frame: Frame) -> Box:
    if frame.alpha is not None and not frame.alpha.all():
        return box_of_visible(frame.alpha)
    return inside_borders(frame.pixels)


@dataclass(frozen=True)
class View:
    """A frame, and what of it counts."""

    frame: Frame
    box: Box
    space: WorkingSpace | None
    hdr: int | None = None
    """Transfer function of a frame coded as PQ or HLG: see `high_dynamic_range.py`."""

    @cached_property
    def visible(self) -> Mask | None:
        """Return which pixels of the box are visible; None: all."""
        if self.frame.alpha is None:
            return None
        mask: Mask = self.frame.alpha[self.box.slices] > 0
        return None if mask.all() else mask

    @cached_property
    def _own(self) -> Samples:
        """Return the pixels of the box in their own space, hidden ones filled; the frame's own array if possible."""
        pixels = np.ascontiguousarray(self.frame.pixels[self.box.slices])
        return pixels if self.visible is None else filled(pixels, self.visible)

    @cached_property
    def _working(self) -> tuple[Samples, Mask] | None:
        return None if self.space is None else self.space.working(self._own)

    @cached_property
    def pixels(self) -> Samples:
        """Return what to enhance. It may be overwritten with the result that `enhanced` takes."""
        if self.hdr is not None:
            return for_curves(self._own, self.hdr)
        return self._own if self._working is None else self._working[0]

    @property
    def is_plain(self) -> bool:
        """Return whether all of the frame counts, as it is."""
        return self.space is None and self.hdr is None and self.visible is None and self.box == whole(self.frame.pixels)

    def luma(self) -> float:
        """Return the mean luma of what counts; 0 if nothing does."""
        sample = sampled(self.frame.pixels[self.box.slices])
        if self.hdr is not None:
            return self._mean(for_curves(sample, self.hdr))
        return self._mean(sample if self.space is None else self.space.srgb(np.ascontiguousarray(sample)))

    def luma_of(self, enhanced: Samples) -> float:
        """Return the same of the enhanced `pixels`."""
        return self._mean(sampled(enhanced))

    def _mean(self, sample: Samples) -> float:
        return mean_luma_of_sample(sample, None if self.visible is None else sampled(self.visible))

    def enhanced(self, enhanced: Samples) -> Frame:
        """Return the frame with its `pixels` enhanced, in its own space. May overwrite the frame's pixels."""
        if self._working is not None and self.space is not None:
            srgb, (_, outside) = enhanced, self._working
            enhanced = self._own if self._own.flags.writeable else self._own.copy()
            self.space.write_back(srgb, outside, enhanced)
        if self.hdr is not None:
            enhanced = from_curves(enhanced, self._own, self.hdr)
        if self.visible is None and self.box == whole(self.frame.pixels):
            return replace(self.frame, pixels=enhanced)
        pixels = self.frame.pixels if self.frame.pixels.flags.writeable else self.frame.pixels.copy()
        np.copyto(pixels[self.box.slices], enhanced, where=True if self.visible is None else self.visible[..., None])
        return replace(self.frame, pixels=pixels)
