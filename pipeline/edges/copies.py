"""Rows of duplicates, each made of its first's as this is published, and kept on disk until its turn comes.

A duplicate comes after its first, by any distance, and the rows are written in order. So what a duplicate has of its
first waits in one of some files, by the stretch of rows that it will be written with: in memory are sixteen bytes of
each duplicate, and the rows of one stretch.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.annotations import COPIED
from pipeline.edges.annotations_file import COPY_OF
from pipeline.edges.arrow import numbers
from pipeline.edges.duplicates_file import DuplicatesFile
from pipeline.edges.ends_table import asked_columns
from pipeline.edges.merging import STRETCH_ROWS, Stretch
from pipeline.edges.opening import parquet_source
from pipeline.edges.places import Place

_FILES = 128
"""Files that wait at most: where there are more stretches, several share one."""

_STEP_BYTES = 16 * 1024 * 1024
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Duplicates that are to be made, in order, and the row of each that is sent instead."""

    rows: pa.Array
    firsts: pa.Array


class Copies:
    """Makes the rows of some duplicates; `names` maps carried columns to the dataset's."""

    def __init__(
        self,
        source: DuplicatesFile,
        wanted: Wanted,
        stretches: Sequence[Stretch],
        folder: Path,
        layout: tuple[Mapping[str, str], pa.Schema],
    ) -> None:
        self._source, self._folder = source, folder
        self._names, self._schema = layout
        order = pc.sort_indices(wanted.firsts)
        self._rows, firsts = wanted.rows.take(order), wanted.firsts.take(order)
        self._firsts = numbers(firsts)
        self._first_column = firsts
        self._kept = pa.schema([self._schema.field(name) for name in ("row_index", COPY_OF, *COPIED)])
        step = -(-len(stretches) // _FILES) or 1
        shared = [stretches[place : place + step] for place in range(0, len(stretches), step)]
        self._untils = [some[-1].until for some in shared]

    def take_up_files(self, files: Sequence[Place]) -> None:
        """Take up the firsts that stand in published files."""
        columns = ["row_index", "row_id", *COPIED]
        for path in files if len(self._firsts) else ():
            with pq.ParquetFile(parquet_source(path)) as file:
                place = file.schema_arrow.names.index("row_index")
                for group in range(file.num_row_groups):
                    told = file.metadata.row_group(group).column(place).statistics
                    if told is None or not told.has_min_max or self._between(told.min, told.max + 1):
                        self.take_up(file.read_row_group(group, columns=columns, use_threads=False))

    def take_up(self, table: pa.Table) -> None:
        """Take up the firsts among these rows, as they are published."""
        if not len(table) or not len(self._firsts):
            return
        bounds = pc.min_max(table["row_index"])
        chosen = self._between(bounds["min"].as_py(), bounds["max"].as_py() + 1)
        if not chosen:
            return
        some = slice(chosen.start, chosen.stop)
        places = pc.index_in(self._first_column[some], value_set=table["row_index"].combine_chunks())
        held = pc.is_valid(places)
        rows, places = self._rows[some].filter(held), places.filter(held)
        step = max(1, min(STRETCH_ROWS, _STEP_BYTES * len(table) // (table.nbytes or 1)))
        for start in range(0, len(rows), step):
            self._keep(rows[start : start + step], table, places[start : start + step])

    def _between(self, first: int, until: int) -> range:
        return range(bisect_left(self._firsts, first), bisect_left(self._firsts, until))

    def _keep(self, rows: Any, table: Any, places: Any) -> None:  # noqa: ANN401 - pyarrow has no types
        order = pc.sort_indices(rows)
        rows, taken = rows.take(order), table.select(["row_id", *COPIED]).take(places.take(order))
        columns = {"row_index": rows, COPY_OF: taken["row_id"], **{name: taken[name] for name in COPIED}}
        kept = pa.table([columns[name] for name in self._kept.names], schema=self._kept)
        indexes, start = numbers(rows), 0
        while start < len(indexes):
            number = bisect_right(self._untils, indexes[start])
            end = bisect_left(indexes, self._untils[number], start)
            with self._path(number).open("ab") as file, pa.ipc.new_stream(file, self._kept, options=_OPTIONS) as stream:
                stream.write_table(kept[start:end].combine_chunks())
            start = end

    def _path(self, number: int) -> Path:
        return self._folder / f"copies-{number:03}"

    def table(self, stretch: Stretch) -> pa.Table | None:
        """The duplicates of a stretch, in order; nothing where it has none."""
        if not self._untils:
            return None
        path = self._path(bisect_right(self._untils, stretch.first))
        if not path.exists():
            return None
        pieces = [piece for piece in self._waiting(path, stretch) if piece.num_rows]
        if not pieces:
            return None
        table = pa.Table.from_batches(pieces, self._kept).sort_by("row_index").combine_chunks()
        return self._annotations(table)

    def _waiting(self, path: Path, stretch: Stretch) -> Iterator[Any]:
        with path.open("rb") as file:
            ends = path.stat().st_size
            while file.tell() < ends:
                with pa.ipc.open_stream(file) as stream:
                    for batch in stream:
                        of_it = pc.less(batch["row_index"], stretch.until)
                        yield batch.filter(pc.and_(of_it, pc.greater_equal(batch["row_index"], stretch.first)))

    def _annotations(self, copied: Any) -> pa.Table:  # noqa: ANN401 - pyarrow has no types
        """What was copied, with what the duplicates ask and carry themselves; nothing was used or billed for them."""
        count = len(copied)
        asked = self._source.asked(numbers(copied["row_index"].combine_chunks()))
        held = asked_columns(asked, self._names, self._schema)
        held |= {name: copied[name] for name in copied.schema.names}
        kinds = {one.name: one.type for one in self._schema}
        held["attempts"] = pa.repeat(pa.scalar(0, kinds["attempts"]), count)
        held["possible_duplicate"] = pa.repeat(pa.scalar(False, kinds["possible_duplicate"]), count)
        held["attempt_log"] = pa.array([[]] * count, kinds["attempt_log"])
        columns = [held[name] if name in held else pa.nulls(count, kinds[name]) for name in self._schema.names]
        return pa.table(columns, schema=self._schema)
