"""Columns of Parquet files, by their footers."""

from collections import Counter
from typing import Any, BinaryIO

from pipeline.archives.members import size_of

LIKELY = ("jpg", "jpeg", "png", "webp", "image", "img", "photo", "bytes")  # names of columns that hold images


def table_of(file: BinaryIO) -> dict[str, Any]:
    """Read the footer: `rows`, `columns` in words, the `column` that may hold images, and its field `inside`.

    Raises what pyarrow raises, which are OSErrors and ValueErrors.
    """
    from pyarrow import parquet, types

    facts = parquet.ParquetFile(file)
    rows, sizes = facts.metadata.num_rows, Counter[str]()
    for group in range(facts.metadata.num_row_groups):
        for index in range(facts.metadata.num_columns):
            chunk = facts.metadata.row_group(group).column(index)
            sizes[chunk.path_in_schema] += chunk.total_uncompressed_size

    def holds_bytes(kind: Any) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    columns, bytes_of, inside = dict[str, str](), dict[str, int](), dict[str, str]()
    for column in facts.schema_arrow:
        inner = [each.name for each in column.type if holds_bytes(each.type)] if types.is_struct(column.type) else []
        if not (inner or holds_bytes(column.type)):
            columns[column.name] = str(column.type).partition("<")[0]
            continue
        inside[column.name] = inner[0] if inner else ""
        bytes_of[column.name] = sizes[".".join([column.name, *inner[:1]])]
        mean = size_of(bytes_of[column.name] / max(1, rows))
        columns[column.name] = f"{'struct with bytes' if inner else 'bytes'}, {mean} each"
    chosen = max(bytes_of, key=lambda name: (name.lower() in LIKELY, bytes_of[name]), default="")
    return {"rows": rows, "columns": columns, "column": chosen, "inside": inside.get(chosen, "")}
