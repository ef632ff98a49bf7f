"""Parts in the order of the manifest, a stretch of rows at a time, each row from the first part that has it.

Which part that is takes four bytes a row. What is decoded at a time is bounded, in whatever order the rows ended: of a
part, only those row groups are read that reach into the stretch.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.edges.arrow import numbers
from pipeline.edges.opening import parquet_source
from pipeline.edges.places import Place

STRETCH_ROWS = 50_000
STRETCH_BYTES = 64 * 1024 * 1024
"""Rows, or unpacked bytes, of one stretch, which becomes a row group: what a reader decodes at a time."""

_ELSEWHERE, _COPY = 2**32 - 1, 2**32 - 2


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows from `first` to before `until`: how many, and what they take on disk in their parts."""

    first: int
    until: int
    rows: int
    packed: float


class Holders:
    """From which part each row is published. Parts are numbered from 1."""

    def __init__(self) -> None:
        self._held = array("I")
        self.rows = 0

    def published(self, indexes: Sequence[int]) -> None:
        """Note rows that a file of the dataset has already."""
        self._note(indexes, _ELSEWHERE)

    def has_published(self, index: int) -> bool:
        """Whether a file of the dataset has this row, of those that were noted."""
        return self._held[index] == _ELSEWHERE

    def places_published(self, indexes: Sequence[int]) -> list[int]:
        """The places, among these rows, of those that a file of the dataset has already, of those that were noted."""
        held, until = self._held, len(self._held)
        return [place for place, index in enumerate(indexes) if index < until and held[index] == _ELSEWHERE]

    def hold(self, indexes: Sequence[int], part: int) -> list[int]:
        """Note the rows of a part; the places of those that stood somewhere before."""
        again = self._note(indexes, part)
        self.rows += len(indexes) - len(again)
        return again

    def _note(self, indexes: Sequence[int], part: int) -> list[int]:
        if not len(indexes):
            return []
        held, again = self._held, []
        if (lacking := max(indexes) + 1 - len(held)) > 0:
            held.frombytes(bytes(held.itemsize * max(lacking, len(held) // 4)))
        for place, index in enumerate(indexes):
            if held[index]:
                again.append(place)
            else:
                held[index] = part
        return again

    def copy(self, indexes: Sequence[int], firsts: Sequence[int]) -> "array[int]":
        """Note duplicates, whose rows are made of their firsts' as these are published; the places of those to be made.

        Not of those that a file has already, nor of those whose first has no row anywhere.
        """
        held, places = self._held, array("q")
        if len(indexes) and (lacking := max(indexes) + 1 - len(held)) > 0:
            held.frombytes(bytes(held.itemsize * lacking))
        for place, (index, first) in enumerate(zip(indexes, firsts, strict=True)):
            if not held[index] and held[first]:
                held[index] = _COPY
                places.append(place)
        self.rows += len(places)
        return places

    def parts(self, first: int, until: int) -> list[int]:
        """The parts that hold rows of a range."""
        return sorted(set(self._held[first:until]) - {0, _ELSEWHERE, _COPY})

    def take(self, indexes: Sequence[int], part: int, stretch: Stretch) -> list[int]:
        """The places of the rows of a stretch that this part holds; each is taken once."""
        held, places = self._held, []
        for place, index in enumerate(indexes):
            if stretch.first <= index < stretch.until and held[index] == part:
                held[index] = _ELSEWHERE
                places.append(place)
        return places

    def stretches(
        self, unpacked: Sequence[float], packed: Sequence[float], firsts: Iterable[int] = ()
    ) -> Iterator[Stretch]:
        """All rows to be published, in order; what a row takes is told by its part's number.

        `firsts` are those of the duplicates to be made, in the order of these; one takes what its first does, number 0
        telling of those that are published already.
        """
        first, rows, size, on_disk = 0, 0, 0.0, 0.0
        copied, parts = iter(firsts), len(unpacked)
        for index, held in enumerate(self._held):
            part = self._held[next(copied)] if held == _COPY else held
            if 0 < held < _ELSEWHERE:
                part = part if part < parts else 0
                rows, size, on_disk = rows + 1, size + unpacked[part], on_disk + packed[part]
                if rows >= STRETCH_ROWS or size >= STRETCH_BYTES:
                    yield Stretch(first, index + 1, rows, on_disk)
                    first, rows, size, on_disk = index + 1, 0, 0.0, 0.0
        if rows:
            yield Stretch(first, len(self._held), rows, on_disk)


class Merge:
    """The rows that `holders` tells of, out of their parts."""

    def __init__(self, parts: Sequence[Place], holders: Holders, schema: pa.Schema) -> None:
        self._parts = parts
        self._holders = holders
        self._schema = schema

    def stretches(self, firsts: Iterable[int] = (), files: Sequence[Place] = ()) -> Iterator[Stretch]:
        """What is to be merged, in order; nothing is decoded yet. `firsts` are those of duplicates to be made.

        `files` are those that are published already.
        """
        sizes = [_row_sizes(file) for file in files]
        unpacked, packed = ([max((size[place] for size in sizes), default=0.0)] for place in (0, 1))
        for part in self._parts:
            a_row = _row_sizes(part)
            unpacked.append(a_row[0])
            packed.append(a_row[1])
        return self._holders.stretches(unpacked, packed, firsts)

    def names(self, stretch: Stretch) -> set[str]:
        """The parts that a stretch takes rows from."""
        return {self._parts[number - 1].name for number in self._holders.parts(stretch.first, stretch.until)}

    def table(self, stretch: Stretch) -> pa.Table:
        """The rows of a stretch, in order."""
        pieces: dict[str, list[Any]] = {one.name: [pa.array([], one.type)] for one in self._schema}
        chosen: list[int] = []
        for number in self._holders.parts(stretch.first, stretch.until):
            piece = _reaching(self._parts[number - 1], stretch, self._schema)
            indexes = numbers(piece["row_index"].combine_chunks())
            places = self._holders.take(indexes, number, stretch)
            chosen += [indexes[place] for place in places]
            taken = piece.take(pa.array(places, pa.int64()))  # a copy: the rest of the piece goes at once
            del piece
            for name, chunks in pieces.items():
                chunks.extend(taken[name].chunks)
            del taken
        order = pa.array(sorted(range(len(chosen)), key=chosen.__getitem__), pa.int64())
        columns = [pa.concat_arrays(pieces.pop(name)).take(order) for name in self._schema.names]  # each goes in turn
        return pa.Table.from_arrays(columns, schema=self._schema)


def _row_sizes(file: Place) -> tuple[float, float]:
    """What a row of a file takes, unpacked and on disk."""
    layout = pq.read_metadata(parquet_source(file))
    groups = (layout.row_group(place) for place in range(layout.num_row_groups))
    rows = max(1, layout.num_rows)
    return sum(group.total_byte_size for group in groups) / rows, file.stat().st_size / rows


def _reaching(part: Place, stretch: Stretch, schema: pa.Schema) -> Any:  # noqa: ANN401 - pyarrow has no types
    """The row groups of a part that may have rows of a stretch."""
    with pq.ParquetFile(parquet_source(part)) as file:
        place = file.schema_arrow.names.index("row_index")
        told = [file.metadata.row_group(group).column(place).statistics for group in range(file.num_row_groups)]
        groups = [
            group
            for group, one in enumerate(told)
            if one is None or not one.has_min_max or (one.min < stretch.until and one.max >= stretch.first)
        ]
        table = file.read_row_groups(groups, use_threads=False)
    held = set(table.schema.names)
    columns = [table[one.name] if one.name in held else pa.nulls(len(table), one.type) for one in schema]
    return pa.table(columns, schema=schema)
