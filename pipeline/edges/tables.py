"""What a program has in memory: its rows as the bytes of a manifest, and their answers as a table."""

import tempfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import ManifestError
from pipeline.edges.export_view import opened
from pipeline.edges.out_folder import OutFolder

ALLOWED = "names of files, mappings of column to cell, or a table of pyarrow, pandas, polars or DuckDB"


def manifest_of(rows: object) -> tuple[str, bytes]:
    """The ending and content of a manifest of these rows. ManifestError says what was found and what is allowed."""
    if hasattr(rows, "__arrow_c_stream__"):
        return ".parquet", _parquet(rows)
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
        raise ManifestError(f"rows: found {type(rows).__name__}; allowed are {ALLOWED}")
    return ".jsonl", b"".join(_line(place, row) for place, row in enumerate(rows))


def answers_of(out: OutFolder, run_id: str) -> pa.Table:
    """The rows of a run's manifest with their ends, in order. StorageError where a file can't be read."""
    with (
        tempfile.TemporaryDirectory(prefix="vidbatch-") as scratch,
        opened(out, run_id, latest=False, columns=None, scratch=Path(scratch)) as view,
    ):
        return pa.Table.from_batches(view.batches(view.columns), view.schema(view.columns))


def _parquet(table: Any) -> bytes:  # noqa: ANN401 - whatever offers itself as Arrow
    buffer = BytesIO()
    try:
        whole = pa.table(table)
        pq.write_table(whole.drop_columns([name for name in whole.column_names if name == "__index_level_0__"]), buffer)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ManifestError(f"rows: the table can't be taken as Arrow: {error}") from error
    return buffer.getvalue()


def _line(place: int, row: object) -> bytes:
    if not isinstance(row, Mapping):
        raise ManifestError(f"rows: found {type(row).__name__} as row {place}; allowed are {ALLOWED}")
    try:
        return orjson.dumps(dict(row), default=str, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
    except (orjson.JSONEncodeError, TypeError) as error:
        raise ManifestError(f"rows: row {place} can't be written as JSON: {error}") from error
