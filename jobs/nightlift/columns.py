"""Columns of batches: mappings of numpy arrays, tables of pyarrow, frames of pandas."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from .arrays import Array

Batch = Any
"""A mapping of names to columns, a pyarrow.Table, or a pandas.DataFrame."""


def values_of(batch: Batch, column: str) -> Sequence[Any]:
    """Return the values of a column. Raises ValueError if it is missing, TypeError for another kind of batch."""
    if not isinstance(batch, Mapping | pa.Table | pd.DataFrame):
        raise TypeError(
            f"the batch is a {type(batch).__name__}; give a mapping of columns, a pyarrow.Table or a pandas.DataFrame"
        )
    names = list(batch.column_names if isinstance(batch, pa.Table) else batch)
    if column not in names:
        raise ValueError(f"the batch has no column {column}; choose from {', '.join(map(str, names))}")
    if isinstance(batch, Mapping):
        values: Sequence[Any] = batch[column]
        return values
    if isinstance(batch, pd.DataFrame):
        return list(batch[column].to_numpy())
    if isinstance(batch.schema.field(column).type, pa.ExtensionType):
        from ray.data.block import BlockAccessor  # which knows its types for tensors

        tensors: Any = BlockAccessor.for_block(batch.select([column])).to_numpy(column)
        return list(tensors)
    return [value.as_py() for value in batch[column]]


def with_columns(batch: Batch, column: str, values: list[Any], others: dict[str, pa.Array]) -> Batch:
    """Return the batch with these values in place of the column's, and with other columns behind."""
    if isinstance(batch, Mapping):
        return {**batch, column: _like(batch[column], values), **others}
    if isinstance(batch, pd.DataFrame):
        cells = _objects(values)
        return batch.assign(**{column: pd.Series(cells, index=batch.index)}, **_series(others, batch.index))
    at, field = batch.column_names.index(column), batch.schema.field(column)
    if isinstance(field.type, pa.ExtensionType) and values:
        from ray.data.block import BlockAccessor

        cells = BlockAccessor.batch_to_block({column: _like(np.empty(0), values)})[column]
        batch = batch.set_column(at, column, cells)
    elif values:
        batch = batch.set_column(at, field, pa.chunked_array([pa.array(values, field.type)]))
    for name, each in others.items():
        present = batch.column_names
        batch = (
            batch.set_column(present.index(name), name, each) if name in present else batch.append_column(name, each)
        )
    return batch


def _like(column: Any, values: list[Any]) -> Any:
    """Return values as a column of the same kind: arrays of one shape as one array."""
    if not values:
        return column
    if isinstance(column, list):
        return values
    whole = isinstance(column, np.ndarray) and column.dtype != object  # not of several shapes
    alike = len({(value.shape, value.dtype) if isinstance(value, np.ndarray) else None for value in values}) == 1
    if whole and alike and isinstance(values[0], np.ndarray):
        return np.stack(values)
    return _objects(values)


def _objects(values: Sequence[Any]) -> Array:
    cells = np.empty(len(values), dtype=object)
    for at, value in enumerate(values):
        cells[at] = value
    return cells


def _series(columns: dict[str, pa.Array], index: pd.Index) -> dict[str, pd.Series]:
    return {
        name: pd.Series(pd.array(values, dtype=pd.ArrowDtype(values.type)), index=index)
        for name, values in columns.items()
    }
