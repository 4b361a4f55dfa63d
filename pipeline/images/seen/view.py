"""View: the part of a photo's frame that counts, as the network and all statistics see it.

Neither what full transparency hides, nor plain borders, nor empty corners count, and colour is sRGB: see
`working_space.py`; of HDR, what `high_dynamic_range.py` says. What does not count stays as it is when the rest is
enhanced.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipeline.images.color.high_dynamic_range import transfer_of
from pipeline.images.color.working_space import WorkingSpace, working_space
from pipeline.images.photo import Frame, Photo, Samples
from pipeline.images.seen.borders import Box, around, inside_borders, whole
from pipeline.images.seen.corners import empty_corners
from pipeline.images.seen.hidden import box_of_visible, filled
from pipeline.luma import mean_luma_of_sample, sampled
from pipeline.video.signal.transfer import for_curves, from_curves

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Part:
    """What of a frame counts."""

    box: Box
    mask: Mask | None = None
    """Which pixels of the box count; None: all."""


def parts_of(photo: Photo, inside: Box | None = None) -> list[Part]:
    """Return the part of each frame that counts. Those of an animation share one box, so that it does not flicker.

    `inside`: the box inside the borders, if it is known; else borders are looked for.
    """
    if not photo.animated:
        return [_part(frame, inside) for frame in photo.frames]
    box = around([_box(frame) for frame in photo.frames])
    return [Part(box, _visible(frame, box)) for frame in photo.frames]


def _part(frame: Frame, inside: Box | None) -> Part:
    box = inside or _box(frame)
    mask = _visible(frame, box)
    if mask is None and (empty := empty_corners(frame.pixels[box.slices])) is not None:
        mask = ~empty
    return Part(box, mask)


def _box(frame: Frame) -> Box:
    if frame.alpha is not None and hides_something(frame):
        return box_of_visible(frame.alpha)
    return inside_borders(frame.pixels)


def hides_something(frame: Frame) -> bool:
    """Return whether transparency decides what of a frame counts; else borders do."""
    return frame.alpha is not None and not frame.alpha.all()


def _visible(frame: Frame, box: Box) -> Mask | None:
    """Return which pixels of a box are not fully transparent; None: all."""
    if frame.alpha is None:
        return None
    mask: Mask = frame.alpha[box.slices] > 0
    return None if mask.all() else mask


def views_of(photo: Photo, parts: Sequence[Part]) -> "list[View]":
    """Return a view of each frame. `parts`: those of `parts_of`, which take time to find."""
    hdr = transfer_of(photo)
    icc = photo.metadata.icc if hdr is None else None
    return [
        View(frame, part, working_space(icc, frame.pixels.shape[2]), hdr)
        for frame, part in zip(photo.frames, parts, strict=True)
    ]


@dataclass(frozen=True)
class View:
    """A frame, and what of it counts."""

    frame: Frame
    part: Part
    space: WorkingSpace | None
    hdr: int | None = None
    """Transfer function of a frame coded as PQ or HLG: see `high_dynamic_range.py`."""

    @property
    def box(self) -> Box:
        return self.part.box

    @property
    def visible(self) -> Mask | None:
        """Return which pixels of the box count; None: all."""
        return self.part.mask

    @cached_property
    def own(self) -> Samples:
        """Return the pixels of the box in their own space, hidden ones filled; the frame's own array if possible."""
        pixels = np.ascontiguousarray(self.frame.pixels[self.box.slices])
        return pixels if self.visible is None else filled(pixels, self.visible)

    @cached_property
    def _working(self) -> tuple[Samples, Mask] | None:
        return None if self.space is None else self.space.working(self.own)

    @cached_property
    def pixels(self) -> Samples:
        """Return what to enhance. It may be overwritten with the result that `enhanced` takes."""
        if self.hdr is not None:
            return for_curves(self.own, self.hdr)
        return self.own if self._working is None else self._working[0]

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
            enhanced = self.own if self.own.flags.writeable else self.own.copy()
            self.space.write_back(srgb, outside, enhanced)
        if self.hdr is not None:
            enhanced = from_curves(enhanced, self.own, self.hdr)
        if self.visible is None and self.box == whole(self.frame.pixels):
            return replace(self.frame, pixels=enhanced)
        pixels = self.frame.pixels if self.frame.pixels.flags.writeable else self.frame.pixels.copy()
        np.copyto(pixels[self.box.slices], enhanced, where=True if self.visible is None else self.visible[..., None])
        return replace(self.frame, pixels=pixels)
