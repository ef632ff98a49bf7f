"""Rows that differ between two runs as a file, CSV or Parquet, some at a time."""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.comparing import Pair, Side
from pipeline.core.spreadsheets import harmless
from pipeline.edges.files import replaced

BATCH_ROWS = 5_000
_SIDE = ("outcome", "answer_status", "answer", "content")
NAMES = ("row_id", "prompt_name", "changed", *(f"{name}_{side}" for name in _SIDE for side in ("a", "b")))
_SCHEMA = pa.schema([(name, pa.list_(pa.string()) if name == "changed" else pa.string()) for name in NAMES])

Keep = Callable[[Pair, Sequence[str]], None]


@contextmanager
def changes_writer(path: Path) -> Iterator[Keep]:
    """Keeps rows in a file that gets its name when it is whole. StorageError when the disk refuses."""
    with replaced(path) as temporary:
        writing = _csv(temporary) if path.suffix == ".csv" else _parquet(temporary)
        with writing as keep:
            yield keep


@contextmanager
def _csv(path: Path) -> Iterator[Keep]:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(NAMES)

        def keep(pair: Pair, what: Sequence[str]) -> None:
            cells = _cells(pair, what)
            cells["changed"] = ", ".join(what)
            writer.writerow([harmless(cells[name] or "") for name in NAMES])

        yield keep


@contextmanager
def _parquet(path: Path) -> Iterator[Keep]:
    waiting: list[dict[str, Any]] = []
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:

        def keep(pair: Pair, what: Sequence[str]) -> None:
            waiting.append(_cells(pair, what))
            if len(waiting) >= BATCH_ROWS:
                flush()

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(waiting, schema=_SCHEMA))
            waiting.clear()

        yield keep
        flush()


def _cells(pair: Pair, what: Sequence[str]) -> dict[str, Any]:
    cells: dict[str, Any] = {"row_id": pair.row_id, "prompt_name": pair.prompt_name, "changed": list(what)}
    for side, one in (("a", pair.a), ("b", pair.b)):
        cells |= {f"{name}_{side}": value for name, value in _of(one).items()}
    return cells


def _of(side: Side | None) -> dict[str, str | None]:
    if side is None:
        return dict.fromkeys(_SIDE)
    answer = None if side.answer is None else orjson.dumps(side.answer).decode()
    return {"outcome": side.outcome, "answer_status": side.status, "answer": answer, "content": side.content}
