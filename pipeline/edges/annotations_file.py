"""Annotations as Parquet: the only place that knows how the dataset's columns are stored."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.columns import ANNOTATION, SCHEMA_VERSION
from pipeline.core.summary import Totals
from pipeline.edges.files import replaced

_ATTEMPTS = pa.list_(
    pa.struct(
        [
            ("generation_id", pa.string()),
            ("submitted_at", pa.timestamp("us", tz="UTC")),
            ("outcome", pa.string()),
            ("prompt_tokens", pa.int64()),
            ("completion_tokens", pa.int64()),
            ("cost", pa.float64()),
        ]
    )
)
_TYPES = {
    "text": pa.string(),
    "word": pa.string(),
    "texts": pa.list_(pa.string()),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
    "attempts": _ATTEMPTS,
}
_PARTS = b"vidbatch.parts"
SORTED_AT_ONCE = 64 * 1024 * 1024
"""Parts of up to this many bytes are sorted in memory; larger runs keep the order in which rows ended."""

ROW_GROUP = 50_000
USAGE_KEYS = ("model", "day", "outcome")


def schema_of(carried: Iterable[str], run_id: str) -> pa.Schema:
    """The Arrow schema of a run's annotations; `carried` are the dataset's names of the manifest's other columns."""
    fields = [(column.name, _TYPES[column.kind]) for column in ANNOTATION]
    fields += [(name, pa.string()) for name in carried]
    return pa.schema(fields, {"vidbatch.schema_version": str(SCHEMA_VERSION), "vidbatch.run_id": run_id})


def write_part(path: Path, schema: pa.Schema, rows: Sequence[Mapping[str, object]]) -> None:
    """Write annotations durably under `path`, replacing what is there."""
    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    table = pa.Table.from_arrays(columns, schema=schema)
    with replaced(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def publish_new(parts: Sequence[Path], into: Path, scratch: Path, schema: pa.Schema) -> None:
    """Publish the parts that no file of the folder `into` holds yet, as one more file; nothing to do is fine.

    The file's number and what is held come from one listing, so two publishers at a time write the same file. A row
    that stands in two parts, of two ledgers, is published once. A run without any row publishes an empty file, so that
    the dataset can always be read.
    """
    files = sorted(into.glob("part-*.parquet"))
    held = {name for path in files for name in _held_by(path)}
    new = [part for part in parts if part.name not in held]
    seen = {row_index for row_index, _ in ended_rows(files)}
    if new or not files:
        _publish(new, into / f"part-{len(files):05}.parquet", scratch, schema, seen)


def _held_by(path: Path) -> list[str]:
    """Names of the parts that a published file holds, by its metadata."""
    return list(orjson.loads((pq.read_schema(path).metadata or {}).get(_PARTS, b"[]")))


def _publish(parts: Sequence[Path], path: Path, scratch: Path, schema: pa.Schema, seen: set[int]) -> None:
    """Merge parts into one file, by one rename; its metadata names the parts. `seen` learns the published rows."""
    names = orjson.dumps([part.name for part in parts])
    whole = schema.with_metadata({**(schema.metadata or {}), _PARTS: names})
    small = sum(part.stat().st_size for part in parts) <= SORTED_AT_ONCE
    tables = (_unseen(pq.read_table(part, schema=schema), seen) for part in parts)
    if small:
        merged = pa.concat_tables([schema.empty_table(), *tables]).sort_by("row_index")
        tables = (table for table in [merged])
    with (
        replaced(path, scratch) as temporary,
        pq.ParquetWriter(temporary, whole, compression="zstd") as writer,
    ):
        for table in tables:
            writer.write_table(table.cast(whole), row_group_size=ROW_GROUP)


def _unseen(table: pa.Table, seen: set[int]) -> pa.Table:
    indexes = table["row_index"].to_pylist()
    fresh = [index not in seen for index in indexes]
    seen.update(indexes)
    return table if all(fresh) else table.filter(pa.array(fresh))


def write_usage(published: Path, path: Path) -> None:
    """Sum rows, tokens and cost by model, day and outcome over published annotations."""
    columns = ["model", "finished_at", "outcome", "prompt_tokens", "completion_tokens", "cost", "attempts"]
    files = sorted(published.glob("part-*.parquet"))
    table = pa.concat_tables([pq.read_table(file, columns=columns, partitioning=None) for file in files])
    day = pc.cast(table["finished_at"], pa.date32())
    table = table.append_column("day", day).append_column("rows", pa.array([1] * len(table), pa.int64()))
    sums = ("rows", "attempts", "prompt_tokens", "completion_tokens", "cost")
    summed = table.group_by(list(USAGE_KEYS)).aggregate([(name, "sum") for name in sums])
    usage = summed.select([*USAGE_KEYS, *(f"{name}_sum" for name in sums)]).rename_columns([*USAGE_KEYS, *sums])
    with replaced(path) as temporary:
        pq.write_table(usage.sort_by([(key, "ascending") for key in USAGE_KEYS]), temporary, compression="zstd")


def totals(published: Path) -> Totals:
    """Sums over published annotations."""
    columns = ["outcome", "prompt_tokens", "completion_tokens", "cost", "possible_duplicate"]
    files = sorted(published.glob("part-*.parquet"))
    table: Any = pa.concat_tables([pq.read_table(file, columns=columns, partitioning=None) for file in files])
    outcomes = {pair["values"]: pair["counts"] for pair in table["outcome"].value_counts().to_pylist()}
    return Totals(
        rows=len(table),
        outcomes=outcomes,
        prompt_tokens=pc.sum(table["prompt_tokens"]).as_py() or 0,
        completion_tokens=pc.sum(table["completion_tokens"]).as_py() or 0,
        cost=pc.sum(table["cost"]).as_py(),
        possible_duplicates=pc.sum(table["possible_duplicate"]).as_py() or 0,
    )


def ended_rows(paths: Iterable[Path]) -> list[tuple[int, str]]:
    """(row index, outcome) of every row in these files."""
    found: list[tuple[int, str]] = []
    for path in paths:
        table: Any = pq.read_table(path, columns=["row_index", "outcome"], partitioning=None)
        found += zip(table["row_index"].to_pylist(), table["outcome"].to_pylist(), strict=True)
    return found


def sample(published: Path, count: int) -> list[dict[str, Any]]:
    """The first completed annotations of a published run, with a few columns."""
    found: list[dict[str, Any]] = []
    for path in sorted(published.glob("part-*.parquet")):
        table: Any = pq.read_table(path, columns=["row_id", "outcome", "content"], partitioning=None)
        found += [row for row in table.slice(0, 10 * count).to_pylist() if row["outcome"] == "completed"]
    return found[:count]
