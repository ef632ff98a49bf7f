"""How files of the dataset are laid out: what readers can skip, and what is stored once instead of a thousand times."""

import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.columns import ANNOTATION
from pipeline.edges.answer_column import word_columns

IDS = ("row_id", "request_hash", "generation_id")
"""Columns by which one row is looked for: each row group has a Bloom filter of them, where this pyarrow writes some."""

_FALSE_HITS = 0.01
_KINDS = {column.name: column.kind for column in ANNOTATION}
_SHARED = {"prompt", "system_prompt"}


def dataset_writer(path: Path, schema: pa.Schema, group_rows: int) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Writes a file of the dataset whose row groups have so many rows at most, in the order of `row_index`."""
    leaves = dict(_leaves(schema))
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=[*(leaf for leaf, kind in leaves.items() if _repeats(leaf, kind)), *word_columns(schema)],
        write_statistics=[leaf for leaf, kind in leaves.items() if _tells(leaf, kind)],
        sorting_columns=[pq.SortingColumn(list(leaves).index("row_index"))],
        write_page_index=True,
        **_bloom_filters(max(1, group_rows)),
    )


def _leaves(schema: pa.Schema) -> Iterator[tuple[str, pa.DataType]]:
    """The path and type of each column as Parquet has them, in order."""
    for one in schema:
        yield from _below(one.name, one.type)


def _below(path: str, kind: Any) -> Iterator[tuple[str, pa.DataType]]:  # noqa: ANN401
    if pa.types.is_struct(kind):
        for one in kind:
            yield from _below(f"{path}.{one.name}", one.type)
    elif pa.types.is_list(kind):
        yield from _below(f"{path}.list.element", kind.value_type)
    else:
        yield path, kind


def _repeats(leaf: str, kind: pa.DataType) -> bool:
    """Whether a column has few distinct values, or may: a dictionary that does not pay is given up while writing.

    Texts of which each is another are tried for nothing, so those are left out; of answers it is told by their schema.
    """
    if not pa.types.is_string(kind):
        return False
    name = leaf.partition(".")[0]
    of_few = name in _SHARED or _KINDS.get(name, "word") == "word"  # carried columns are no part of the promise
    return of_few or leaf.endswith((".outcome", ".answer_status"))


def _tells(leaf: str, kind: pa.DataType) -> bool:
    """Whether readers can use a column's least and greatest value."""
    name = leaf.partition(".")[0]
    if leaf in IDS or name == "answer":
        return leaf != name or not pa.types.is_string(kind) or leaf in IDS
    return _KINDS.get(name) in {"word", "int", "float", "bool", "time"}


def _bloom_filters(rows: int) -> Mapping[str, Any]:
    """Options for filters of so many values each; none where this pyarrow knows of none."""
    if not _writes_bloom_filters():
        return {}
    return {"bloom_filter_options": {name: {"ndv": rows, "fpp": _FALSE_HITS} for name in IDS}}


@cache
def _writes_bloom_filters() -> bool:
    return "bloom_filter_options" in inspect.signature(pq.ParquetWriter.__init__).parameters
