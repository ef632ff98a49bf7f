"""Reads how rows ended from a run's published annotations: a few columns, a batch at a time."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.errors import StorageError
from pipeline.core.lifecycle import Outcome
from pipeline.core.standing import End
from pipeline.edges.opening import parquet_source
from pipeline.edges.places import Place, listed

_COLUMNS = [
    "duplicate_of",
    "row_index",
    "outcome",
    "error_code",
    "generation_id",
    "submitted_at",
    "possible_duplicate",
    "answer_status",
]
BATCH_ROWS = 20_000


def read_ends(published: Place) -> Iterator[End]:
    """How every request of a published run ended, in the files' order. StorageError when a file can't be read.

    Duplicates end as their firsts do, and are left out: who asks for a row again asks for its duplicates, too.
    """
    for path in listed(published, "part-*.parquet"):
        try:
            with pq.ParquetFile(parquet_source(path)) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=_COLUMNS):
                    yield from _ends(batch)
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{path} can't be read: {error}") from error


def _ends(batch: Any) -> Iterator[End]:  # noqa: ANN401 - pyarrow has no types
    if "duplicate_of" in batch.schema.names:
        batch = batch.filter(pc.is_null(batch["duplicate_of"]))
    accepted = batch["submitted_at"].cast(pa.int64()).to_pylist()
    columns = [batch[name].to_pylist() for name in _COLUMNS[1:] if name != "submitted_at"]
    for (row_index, outcome, code, generation_id, doubtful, status), at in zip(
        zip(*columns, strict=True), accepted, strict=True
    ):
        yield End(row_index, Outcome(outcome), code or "", generation_id, at or 0, bool(doubtful), status or "")
