"""Reads duplicates.parquet: rows that ask just what an earlier row of their run asks, and are not sent."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.errors import StorageError
from pipeline.core.rows import Rows
from pipeline.edges.arrow import numbers
from pipeline.edges.files import replaced
from pipeline.edges.opening import parquet_source
from pipeline.edges.places import Place
from pipeline.edges.requests_file import LAYOUT, SHARED
from pipeline.edges.requests_reader import RequestsFile

BATCH_ROWS = 4_096


class DuplicatesFile:
    """The duplicates of a run, none where it has no such file. StorageError when it can't be read."""

    def __init__(self, path: Place) -> None:
        self.path = path
        self._rows: RequestsFile | None = None

    def pairs(self) -> tuple[Sequence[int], Sequence[int]]:
        """Row index and first's row index of every duplicate, in order: sixteen bytes for each."""
        columns: list[list[Any]] = [[], []]
        for batch in self._batches(["row_index", "first_index"]):
            for held, column in zip(columns, batch.columns, strict=True):
                held.append(column)
        rows, firsts = (pa.concat_arrays([pa.array([], pa.int64()), *held]) for held in columns)
        return numbers(rows), numbers(firsts)

    def counts(self, firsts: Collection[int]) -> Counter[int]:
        """How many duplicates each of these rows has."""
        counts: Counter[int] = Counter()
        for batch in self._batches(["first_index"]) if firsts else ():
            counts.update(first for first in numbers(batch["first_index"]) if first in firsts)
        return counts

    def asked(self, row_indexes: Sequence[int]) -> list[pa.RecordBatch]:
        """What these duplicates, which come in order, ask and carry, as `RequestsFile.asked`."""
        if self._rows is None:
            self._rows = RequestsFile(self.path)
        return self._rows.asked(row_indexes)

    def copy_of(self, firsts: Rows, path: Place, metadata: Mapping[str, str]) -> int:
        """Write the duplicates of these rows into another run's file, where there are any; how many."""
        count = 0
        batches = (batch.filter(_among(batch["first_index"], firsts)) for batch in self._batches(None))
        kept = (batch for batch in batches if batch.num_rows)
        first = next(kept, None)
        if first is None:
            return 0
        schema = first.schema.with_metadata(dict(metadata))
        with (
            replaced(path) as temporary,
            pq.ParquetWriter(temporary, schema, **LAYOUT, use_dictionary=list(SHARED)) as writer,
        ):
            for batch in chain((first,), kept):
                writer.write_batch(batch.cast(schema))
                count += batch.num_rows
        return count

    def _batches(self, columns: list[str] | None) -> Iterator[Any]:
        if not self.path.exists():
            return
        try:
            with pq.ParquetFile(parquet_source(self.path)) as file:
                for batch in file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False):
                    yield batch.select(columns) if columns else batch
        except (OSError, pa.ArrowException, KeyError) as error:
            raise StorageError(f"{self.path} can't be read: {error}") from error


def _among(column: Any, rows: Rows) -> Any:  # noqa: ANN401 - pyarrow has no types
    return pc.invert(pc.is_in(pa.array(range(len(column))), pa.array(rows.places_outside(numbers(column)), pa.int64())))
