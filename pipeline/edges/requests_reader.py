"""Reads requests.parquet, in order or by row index: a few row groups at a time, objects only of what is asked for."""

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import accumulate, pairwise
from typing import Any, Self

import pyarrow as pa
from pyarrow import parquet

from pipeline.core.errors import StorageError
from pipeline.core.requests import Request
from pipeline.core.rows import Rows
from pipeline.edges.arrow import numbers
from pipeline.edges.opening import parquet_source
from pipeline.edges.places import Place
from pipeline.edges.requests_file import storage

CACHED_ROW_GROUPS = 4  # rows end roughly in order: the groups at work are few and neighbours
_REQUEST_COLUMNS = [column.name for column in fields(Request)]
_HELD_COLUMNS = [*_REQUEST_COLUMNS, "request_hash"]


class RequestsFile:
    """Reads requests.parquet; `StorageError` when it can't be read. `total` counts its requests."""

    def __init__(self, path: Place) -> None:
        self._path = path
        with storage(path):
            self._file = parquet.ParquetFile(parquet_source(path))
        layout = self._file.metadata
        groups = [layout.row_group(place) for place in range(layout.num_row_groups)]
        self.total: int = layout.num_rows
        self._starts = [0, *accumulate(group.num_rows for group in groups)]
        self._last_indexes = [group.column(0).statistics.max for group in groups]
        self._held: OrderedDict[int, pa.RecordBatch] = OrderedDict()

    @property
    def metadata(self) -> dict[str, str]:
        """What the writer was given to keep beside the rows."""
        return {key.decode(): value.decode() for key, value in (self._file.schema_arrow.metadata or {}).items()}

    def read(self, position: int, count: int) -> list[Request]:
        """Return up to `count` requests from the `position`-th on, counted from 0; fewer at the end."""
        requests: list[Request] = []
        end = min(position + count, self.total)
        while position < end:
            place = bisect_right(self._starts, position) - 1
            start = self._starts[place]
            piece = self._group(place)[position - start : end - start]
            requests += _requests(piece)
            position += len(piece)
        return requests

    def rows(self, row_indexes: Sequence[int]) -> dict[int, Request]:
        """Return the requests of these manifest rows; a row that has none (a rejected one) is left out."""
        pieces = self.batches(sorted(set(row_indexes)))
        return {request.row_index: request for piece in pieces for request in _requests(piece)}

    def batches(self, row_indexes: Sequence[int]) -> Iterator[pa.RecordBatch]:
        """The requests of these manifest rows, which come in order, as Arrow; rows that have none are left out."""
        start = 0
        while start < len(row_indexes):
            group_place = bisect_left(self._last_indexes, row_indexes[start])
            if group_place == len(self._last_indexes):
                return
            end = bisect_right(row_indexes, self._last_indexes[group_place], start)
            group = self._group(group_place)
            places = _places(numbers(group["row_index"]), row_indexes[start:end])
            yield group.take(pa.array(places, pa.int32()))
            start = end

    def models(self, row_indexes: Sequence[int]) -> list[str]:
        """The models of rows that come in order. StorageError where one of them was never asked."""
        return [model for batch in self.asked(row_indexes) for model in _decode(batch["model"])]

    def asked(self, row_indexes: Sequence[int]) -> list[pa.RecordBatch]:
        """The requests of rows that come in order, as Arrow. StorageError where one of them was never asked."""
        found = list(self.batches(row_indexes))
        if sum(batch.num_rows for batch in found) != len(row_indexes):
            raise StorageError(f"{self._path}: rows ended that were never asked.")
        return found

    def besides(self, rows: Rows, position: int, until: int, count: int) -> list[tuple[int, int]]:
        """Position and row index of the first `count` requests of a range whose row is not among these rows."""
        found: list[tuple[int, int]] = []
        while position < until and len(found) < count:
            place = bisect_right(self._starts, position) - 1
            start = self._starts[place]
            with storage(self._path):
                column = self._file.read_row_group(place, columns=["row_index"])["row_index"]
            indexes = numbers(column.combine_chunks())[position - start : until - start]
            outside = rows.places_outside(indexes)[: count - len(found)]
            found += [(position + at, indexes[at]) for at in outside]
            position += len(indexes)
        return found

    def _group(self, place: int) -> pa.RecordBatch:
        """Return a row group; the least recently used one makes room."""
        if place in self._held:
            self._held.move_to_end(place)
            return self._held[place]
        with storage(self._path):
            table = self._file.read_row_group(place, columns=_HELD_COLUMNS)
        group = table.combine_chunks().to_batches()[0]
        self._held[place] = group
        if len(self._held) > CACHED_ROW_GROUPS:
            self._held.popitem(last=False)
        return group

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _places(held: "memoryview[int]", wanted: Sequence[int]) -> list[int]:
    """Where these indexes stand among those that are held, both in order."""
    first, places = held[0], []
    for index in wanted:
        if index < first:
            continue
        at = min(index - first, len(held) - 1)  # where nothing before it was rejected, it stands just there
        if held[at] != index:
            at = bisect_left(held, index, max(0, at - (held[-1] - first + 1 - len(held))), at)
        if held[at] == index:
            places.append(at)
    return places


def _requests(batch: pa.RecordBatch) -> Iterator[Request]:
    """Decode a batch; its columns are taken in the order of `Request`."""
    return map(Request, *(_decode(column) for column in batch.select(_REQUEST_COLUMNS).columns))


def _decode(column: pa.Array) -> Iterable[Any]:
    """Return a column's cells; equal words are one object, so that a shared prompt is in memory once."""
    types = pa.types
    if types.is_dictionary(column.type):
        words = column.dictionary.to_pylist()
        return [None if place is None else words[place] for place in column.indices.to_pylist()]
    if types.is_map(column.type):
        first, bounds, length = _bounds(column.offsets.to_pylist())
        keys = _decode(column.keys.slice(first, length).dictionary_encode())
        pairs = list(zip(keys, column.items.slice(first, length).to_pylist(), strict=True))
        return [dict(pairs[start:end]) for start, end in bounds]
    if types.is_list(column.type):
        first, bounds, length = _bounds(column.offsets.to_pylist())
        flat = column.values.slice(first, length).to_pylist()
        return [tuple(flat[start:end]) for start, end in bounds]
    cells: list[object] = column.to_pylist()
    return cells


def _bounds(offsets: list[int]) -> tuple[int, list[tuple[int, int]], int]:
    """Of lists within a slice: where the first begins, where each one lies from there on, and what all of them hold."""
    first, last = offsets[0], offsets[-1]
    return first, [(start - first, end - first) for start, end in pairwise(offsets)], last - first
