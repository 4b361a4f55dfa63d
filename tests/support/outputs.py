"""What a job has left at its destination."""

import os
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage.writing import PART_SUFFIX


def tree(folder: Path) -> dict[str, bytes]:
    """Relative path -> content of every output, manifests left out."""
    files = [path for path in files_below(folder) if "_nightlift" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def files_below(folder: Path) -> list[Path]:
    """Also while a job writes there, and removes what it needs no more."""
    return [Path(place, name) for place, _, names in os.walk(folder) for name in names]


def whole(folder: Path) -> list[Path]:
    """Outputs that are finished, while others are being written."""
    return [
        path for path in files_below(folder) if "_nightlift" not in path.parts and not path.name.endswith(PART_SUFFIX)
    ]


def rows_of(folder: Path | str) -> list[dict[str, object]]:
    """Of the manifest, oldest first."""
    table = pq.read_table(f"{folder}/_nightlift/manifest")
    return sorted(table.to_pylist(), key=lambda row: row["started_at"])


def table_in(bucket: str, name: str) -> pa.Table:
    """A Parquet file, or a folder of them, below the URL of a bucket."""
    return pq.read_table(f"{bucket.removeprefix('s3://')}/{name}", filesystem=fsspec.filesystem("s3"))
