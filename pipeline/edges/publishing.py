"""Parts become the dataset: each row once, in the order of the manifest, and never changed afterwards.

What only the end of a run tells is put into rows on the way (`core.corrections`), and the rows of duplicates are made
of those that were sent instead; all other rows pass through as Arrow, untouched. Files are numbered in the order of
their appearance, and a name is taken once: whoever finds the next one taken looks again at what is published by now.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.annotations import time_of
from pipeline.core.answering import Judge
from pipeline.core.corrections import Bearer, Corrections, corrected, first_rows, generations_of
from pipeline.core.costs import PriceList
from pipeline.core.late import LateId
from pipeline.edges.annotations_file import published_files, table_of, without
from pipeline.edges.arrow import numbers
from pipeline.edges.bearers import Bearers, batches_of, bearers_of
from pipeline.edges.copies import Copies, Wanted
from pipeline.edges.duplicates_file import DuplicatesFile
from pipeline.edges.files import appear, joins, sweep, unfinished
from pipeline.edges.layout import dataset_writer
from pipeline.edges.merging import Holders, Merge, Stretch
from pipeline.edges.opening import parquet_source
from pipeline.edges.places import Place
from pipeline.edges.sent_ids import by_row, id_files, late_ids, saved_ids

_PARTS = b"vidbatch.parts"
FILE_BYTES = 256 * 1024 * 1024
"""About how large the files of a run become, where it has more rows than fit into one and a half of it."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What is published where: `sent` holds the ids that were paid for, `scratch` takes what is not whole yet.

    `carried` maps the manifest's other columns to the dataset's names for them.
    """

    parts: Sequence[Place]
    into: Place
    sent: Place
    scratch: Place
    schema: pa.Schema
    prices: PriceList
    judge: Judge
    duplicates: DuplicatesFile
    carried: Mapping[str, str]


def publish_new(publication: Publication) -> None:
    """Publish all rows that no file holds yet, those of duplicates too; nothing to do is fine.

    A row that stands in two parts, of two ledgers, is published once. A run without any row publishes an empty file, so
    that the dataset can always be read.
    """
    sweep(publication.scratch)
    while not _publish_rest(publication):
        """Another process published meanwhile."""


def _publish_rest(publication: Publication) -> bool:
    """Whether all that there was is published; what another process published first stays as it is."""
    files = published_files(publication.into)
    holders, bearers = Holders(), Bearers()
    for batch in batches_of(files):
        holders.published(numbers(batch["row_index"]))
        bearers.take_up(batch)
    second = list(_take_up(publication, holders, bearers, names_in(files)))
    wanted = _wanted(publication.duplicates, holders)
    if not holders.rows and files:
        return True
    corrections = _corrections(files, bearers, second, publication)
    del bearers  # a few words for each row: not needed while rows are written
    merge = Merge(publication.parts, holders, publication.schema)
    stretches = list(merge.stretches(numbers(wanted.firsts), files))
    with unfinished(publication.scratch) as folder:
        layout = (publication.carried, publication.schema)
        copies = Copies(publication.duplicates, wanted, stretches, folder, layout)
        copies.take_up_files(files)
        correct = _Correct(corrections, publication.schema)

        def table(stretch: Stretch) -> Any:  # noqa: ANN401 - pyarrow has no types
            made = correct(merge.table(stretch))
            copies.take_up(made)
            beside = copies.table(stretch)
            return made if beside is None else pa.concat_tables([made, beside]).sort_by("row_index")

        return put(publication, files, folder, shared_out(stretches), merge.names, table)


def put(
    publication: Publication,
    files: Sequence[Place],
    folder: Path,
    shares: Iterable[Sequence[Stretch]],
    names: Callable[[Stretch], set[str]],
    table: Callable[[Stretch], Any],
) -> bool:
    """Write a file of each share, and let it be seen: the first ones of a run all at once, later ones each by itself.

    `files` are those that there were when the rows were chosen. False where another process took a name since; from
    there on nothing is put.
    """
    together = folder / "together"
    together.mkdir()
    for number, stretches in enumerate(shares, next_number(files)):
        path = together / f"part-{number:05}.parquet"
        _write(path, stretches, names, table, publication.schema)
        if files and not joins(path, publication.into):
            return False
    return bool(files) or appear(together, publication.into)


def next_number(files: Sequence[Place]) -> int:
    """The number of the file that comes after these."""
    told = (path.stem.removeprefix("part-") for path in files)
    return 1 + max((int(number) for number in told if number.isdecimal()), default=-1)


def names_in(files: Sequence[Place]) -> set[str]:
    """The parts that were published already, as far as their publication got."""
    told = (pq.read_schema(parquet_source(file)).metadata or {} for file in files)
    return {name for metadata in told for name in orjson.loads(metadata.get(_PARTS, b"[]"))}


def _wanted(duplicates: DuplicatesFile, holders: Holders) -> Wanted:
    """The duplicates that have no row yet, and whose first has one."""
    rows, firsts = duplicates.pairs()
    chosen = holders.copy(rows, firsts)
    places = pa.Array.from_buffers(pa.int64(), len(chosen), [None, pa.py_buffer(chosen)])
    return Wanted(*(pa.array(column, pa.int64()).take(places) for column in (rows, firsts)))


def _take_up(publication: Publication, holders: Holders, bearers: Bearers, published: set[str]) -> Iterator[LateId]:
    """Look at what parts hold; the generations of rows that stand there again.

    Not of rows that a file has of a part that it names: whatever stood there again was taken up when it was published.
    """
    for number, part in enumerate(publication.parts, 1):
        for batch in batches_of([part]):
            again = holders.hold(numbers(batch["row_index"]), number)
            bearers.take_up(without(batch, again) if again else batch)
            if again and part.name in published:
                again = [place for place in again if not holders.has_published(batch["row_index"][place].as_py())]
            if again:
                yield from _copies(part, [batch["row_index"][place] for place in again], publication.schema)


def _copies(part: Place, indexes: Sequence[Any], schema: pa.Schema) -> Iterator[LateId]:
    whole = pq.read_table(parquet_source(part), schema=schema, partitioning=None)
    for copy in whole.filter(pc.is_in(whole["row_index"], pa.array(indexes, pa.int64()))).to_pylist():
        yield from generations_of(copy)


def shared_out(stretches: Sequence[Stretch]) -> Iterator[Sequence[Stretch]]:
    """The stretches of each file, all of about one size; one file without any where there is nothing."""
    whole = sum(stretch.packed for stretch in stretches)
    files = max(1, round(whole / FILE_BYTES))
    first, taken = 0, 0.0
    for place, stretch in enumerate(stretches, 1):
        taken += stretch.packed
        if taken >= whole / files and place < len(stretches):
            yield stretches[first:place]
            first, taken = place, taken - whole / files
    yield stretches[first:]


def _write(
    path: Path,
    stretches: Sequence[Stretch],
    names: Callable[[Stretch], set[str]],
    table: Callable[[Stretch], Any],
    schema: pa.Schema,
) -> None:
    """Write a file of the dataset; its metadata names the parts whose rows it holds."""
    held = sorted({name for stretch in stretches for name in names(stretch)})
    whole = schema.with_metadata({**(schema.metadata or {}), _PARTS: orjson.dumps(held)})
    with dataset_writer(path, whole, max((stretch.rows for stretch in stretches), default=0)) as writer:
        for stretch in stretches:
            writer.write_table(table(stretch).cast(whole))
            pa.default_memory_pool().release_unused()


class _Correct:
    """Puts into a table what `corrections` say of its few rows that are not as their part has them."""

    def __init__(self, corrections: Corrections, schema: pa.Schema) -> None:
        self._corrections = corrections
        self._schema = schema
        self._late = pa.array(list(corrections.late), pa.int64())
        self._shared = pa.array(list(corrections.first), pa.string())

    def __call__(self, table: pa.Table) -> pa.Table:
        late = pc.is_in(table["row_index"], self._late)
        mask = pc.or_(late, self._has_shared(table)) if len(self._shared) else late
        if not pc.any(mask).as_py():
            return table
        rows = [corrected(row, self._corrections) for row in table.filter(mask).to_pylist()]
        return pa.concat_tables([table.filter(pc.invert(mask)), table_of(rows, self._schema)]).sort_by("row_index")

    def _has_shared(self, table: pa.Table) -> Any:  # noqa: ANN401 - pyarrow has no types
        """For each row, whether one of its generations has an id that other rows bear, too."""
        log = table["attempt_log"].combine_chunks()
        shared = pc.is_in(pc.struct_field(log.flatten(), "generation_id"), self._shared)
        rows = table["row_index"].take(pc.list_parent_indices(log).filter(shared))
        return pc.or_(pc.is_in(table["row_index"], rows), pc.is_in(table["generation_id"], self._shared))


def _corrections(
    files: Sequence[Place], bearers: Bearers, second: Iterable[LateId], publication: Publication
) -> Corrections:
    """What the parts do not know: ids that their rows went on without, and ids that several rows bear."""
    unplaced = bearers.unplaced(id_files(publication.sent))
    late = by_row(chain(_unknown(unplaced, publication.sent), second, *late_ids(publication.sent).values()))
    all_late = [one for ids in late.values() for one in ids]
    bearers.ids.add_all([one.generation_id for one in all_late])
    shared = bearers.ids.repeated()
    first = _first_rows(files, shared, all_late, publication)
    return Corrections(late, first, publication.prices, publication.judge)


def _unknown(unplaced: set[int], sent: Place) -> Iterator[LateId]:
    """Accepted ids on disk that are in no attempt log: a ledger that lost its last moments forgot them."""
    for row_index, generation_id, accepted_at, attempt, resubmits in saved_ids(sent) if unplaced else ():
        if hash((row_index, generation_id)) in unplaced:
            yield LateId(row_index, generation_id, accepted_at, attempt, resubmits)


def _first_rows(
    files: Sequence[Place], shared: set[int], late: Sequence[LateId], publication: Publication
) -> dict[str, int | None]:
    """For each id that several rows bear, the row that it is of."""
    if not shared:
        return {}
    held = [
        Bearer(generation_id, row_index, at, is_published)
        for paths, is_published in ((publication.parts, False), (files, True))
        for batch in batches_of(paths)
        for row_index, generation_id, at in bearers_of(batch, shared)
    ]
    held += [Bearer(one.generation_id, one.row_index, time_of(one.accepted_at), False) for one in late]
    rows: dict[str, set[int]] = {}
    for bearer in held:
        rows.setdefault(bearer.generation_id, set()).add(bearer.row_index)
    return first_rows(bearer for bearer in held if len(rows[bearer.generation_id]) > 1)
