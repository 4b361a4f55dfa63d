"""EnhanceImages: a column of images in the batches of Ray Data, or of anything else that has such batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Unpack

import numpy as np
import pyarrow as pa
import torch

from pipeline.errors import NightliftError, NotMedia, is_want_of_memory, printable
from pipeline.photos import OUT_OF_MEMORY

from .arrays import check_array
from .columns import Batch, values_of, with_columns
from .options import PhotoOptions, in_python
from .steps import Opened, kept_steps

ADDED = {
    "nightlift_error": pa.string(),
    "nightlift_luma_before": pa.float64(),
    "nightlift_luma_after": pa.float64(),
}
TOGETHER, TOGETHER_PX = 16, 64_000_000  # most images, and about their pixels, that are decoded at a time on a GPU

Row = tuple[Any, str | None, float | None, float | None]
"""A value of the column, why it was not enhanced, and its luma before and after."""


class EnhanceImages:
    """A callable for `ray.data.Dataset.map_batches` that enhances the images of a column.

        ds = ray.data.read_images("s3://night/photos")                       # arrays of JPEGs in the column `image`
        ds = ds.map_batches(nightlift.EnhanceImages, fn_constructor_kwargs={"lossy": True})

        ds = ray.data.read_parquet("s3://night/shards")                      # encoded photos in the column `bytes`
        ds = ds.map_batches(nightlift.EnhanceImages, fn_constructor_args=("bytes",), batch_size=64, num_cpus=1)

        ds = ray.data.read_webdataset("night.tar", decoder=None)             # encoded photos in the column `jpg`
        ds = ds.map_batches(nightlift.EnhanceImages, fn_constructor_kwargs={"column": "jpg", "strength": 0.7})

    Values are uint8 or uint16 arrays, of one shape or of several; bytes of encoded photos; or structs with a field
    `bytes`, as Hugging Face's data sets hold. Each is replaced by what `nightlift.enhance` returns for it. A row that
    cannot be enhanced keeps its value. Three columns are added: `nightlift_error` (null, or a code of the manifest and
    a sentence), `nightlift_luma_before` and `nightlift_luma_after` (mean luma of what counts, 0 to 1; null where
    nothing could be read). Batches may be in any `batch_format`.

    With `num_gpus`, images of one shape go through the network together. One encoded image, or on a GPU a few, is
    decoded at a time. The nodes need nightlift installed.

    `column`: name of the column. `options`: those of `nightlift.enhance`, such as `lossy` for arrays of JPEGs; a file
    of weights must be there on every node. Raises TypeError and ValueError for wrong options, for a column that is
    missing, and for one whose type holds no images at all.
    """

    def __init__(self, column: str = "image", **options: Unpack[PhotoOptions]) -> None:
        self.column, self.options = column, options
        self._steps = kept_steps(options)

    def __reduce__(self) -> tuple[Callable[[], "EnhanceImages"], tuple[()]]:
        """Return what makes the same in another process, which loads the network by itself."""
        return partial(EnhanceImages, self.column, **self.options), ()

    def __call__(self, batch: Batch) -> Batch:
        """Enhance a batch: a mapping of columns, a pyarrow.Table or a pandas.DataFrame. Returns one of its kind."""
        values = values_of(batch, self.column)
        if isinstance(values, np.ndarray) and values.dtype != object and len(values):
            check_array(values[0])  # all rows are of this type
        rows = list(self._rows(values))
        # as Arrow's, so that their types are known where all is well, or nothing
        others = {
            name: pa.array([row[at] for row in rows], kind) for at, (name, kind) in enumerate(ADDED.items(), start=1)
        }
        return with_columns(batch, self.column, [row[0] for row in rows], others)

    def _rows(self, values: Sequence[Any]) -> Iterator[Row]:
        if not self._steps.shares_batches:
            for value in values:
                yield self._row(value, self._opened(value))
            return
        for some in self._together(values):
            self._steps.estimate_together([opened for _, opened in some if isinstance(opened, Opened)])
            yield from (self._row(value, opened) for value, opened in some)

    def _together(self, values: Sequence[Any]) -> Iterator[list[tuple[Any, Opened | str]]]:
        """Yield a few images at a time, so that a batch of huge photos is not decoded all at once."""
        some: list[tuple[Any, Opened | str]] = []
        taken_px = 0
        for value in values:
            opened = self._opened(value)
            if isinstance(opened, Opened):
                taken_px += opened.work.outcome.width_px * opened.work.outcome.height_px * opened.work.outcome.frames
            some.append((value, opened))
            if len(some) == TOGETHER or taken_px >= TOGETHER_PX:
                yield some
                some, taken_px = [], 0
        yield some

    def _opened(self, value: Any) -> Opened | str:
        """Return an image that is taken up, or why that cannot be done."""
        try:
            image = value["bytes"] if isinstance(value, Mapping) and "bytes" in value else value
            if image is None or isinstance(image, float):  # NaN, which some readers put for null
                raise NotMedia("null: there is no image in this row")
            return self._steps.open(image)
        except Exception as error:
            return _reason(error)

    def _row(self, value: Any, opened: Opened | str) -> Row:
        if isinstance(opened, str):
            return value, opened, None, None
        outcome = opened.work.outcome
        try:
            enhanced = self._steps.develop(opened)
        except Exception as error:
            return value, _reason(error), outcome.luma_before, None
        if isinstance(value, Mapping):
            enhanced = {**value, "bytes": enhanced}
        return enhanced, None, outcome.luma_before, outcome.luma_after


def _reason(error: Exception) -> str:
    """Return a code and a sentence. Raises what is not the row's fault."""
    if is_want_of_memory(error):
        return f"out_of_memory: {in_python(OUT_OF_MEMORY)}"
    if isinstance(error, torch.AcceleratorError):
        raise error
    if isinstance(error, NightliftError):
        return printable(f"{error.code}: {error}")
    if isinstance(error, TypeError | ValueError):
        return printable(f"{NotMedia.code}: {error}")
    return printable(f"internal: {type(error).__name__}: {error}")
