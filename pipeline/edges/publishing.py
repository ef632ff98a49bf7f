"""Parts become the dataset: each row once, in the order of the manifest, and never changed afterwards.

What only the end of a run tells is put into rows on the way (`core.corrections`); all other rows pass through as Arrow,
untouched. All files of a run appear by one rename of their folder; what comes later, if anything, is one more file.
"""

from collections.abc import Iterable, Iterator, Sequence
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
from pipeline.edges.annotations_file import annotations_writer, published_files, table_of, without
from pipeline.edges.arrow import numbers
from pipeline.edges.bearers import Bearers, batches_of, bearers_of
from pipeline.edges.files import replaced, replaced_folder
from pipeline.edges.merging import Holders, Merge, Stretch
from pipeline.edges.opening import parquet_source
from pipeline.edges.places import Place
from pipeline.edges.sent_ids import by_row, id_files, late_ids, saved_ids

_PARTS = b"vidbatch.parts"
FILE_BYTES = 256 * 1024 * 1024
"""About how large the files of a run become, where it has more rows than fit into one and a half of it."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What is published where: `sent` holds the ids that were paid for, `scratch` takes what is not whole yet."""

    parts: Sequence[Path]
    into: Place
    sent: Place
    scratch: Place
    schema: pa.Schema
    prices: PriceList
    judge: Judge


def publish_new(publication: Publication) -> None:
    """Publish the rows of parts that no file holds yet; nothing to do is fine.

    A row that stands in two parts, of two ledgers, is published once. A run without any row publishes an empty file, so
    that the dataset can always be read. Of two publishers at a time the first one's files stay.
    """
    files = published_files(publication.into)
    holders, bearers = Holders(), Bearers()
    for batch in batches_of(files):
        holders.published(numbers(batch["row_index"]))
        bearers.take_up(batch)
    second = list(_take_up(publication, holders, bearers, _names_in(files)))
    if not holders.rows and files:
        return
    corrections = _corrections(files, bearers, second, publication)
    del bearers  # a few words for each row: not needed while rows are written
    merge = Merge(publication.parts, holders, publication.schema)
    if files:
        name = publication.into / f"part-{len(files):05}.parquet"
        with replaced(name, publication.scratch) as temporary:
            _write(temporary, list(merge.stretches()), merge, corrections, publication.schema)
        return
    with replaced_folder(publication.into, publication.scratch) as folder:
        for number, stretches in enumerate(_shared_out(list(merge.stretches()))):
            path = folder / f"part-{number:05}.parquet"
            _write(path, stretches, merge, corrections, publication.schema)


def _names_in(files: Sequence[Place]) -> set[str]:
    """The parts that were published already, as far as their publication got."""
    told = (pq.read_schema(parquet_source(file)).metadata or {} for file in files)
    return {name for metadata in told for name in orjson.loads(metadata.get(_PARTS, b"[]"))}


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


def _copies(part: Path, indexes: Sequence[Any], schema: pa.Schema) -> Iterator[LateId]:
    whole = pq.read_table(part, schema=schema, partitioning=None)
    for copy in whole.filter(pc.is_in(whole["row_index"], pa.array(indexes, pa.int64()))).to_pylist():
        yield from generations_of(copy)


def _shared_out(stretches: Sequence[Stretch]) -> Iterator[Sequence[Stretch]]:
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


def _write(path: Path, stretches: Sequence[Stretch], merge: Merge, corrections: Corrections, schema: pa.Schema) -> None:
    """Write a file of the dataset; its metadata names the parts whose rows it holds."""
    names = sorted({name for stretch in stretches for name in merge.names(stretch)})
    whole = schema.with_metadata({**(schema.metadata or {}), _PARTS: orjson.dumps(names)})
    correct = _Correct(corrections, schema)
    with annotations_writer(path, whole) as writer:
        for stretch in stretches:
            writer.write_table(correct(merge.table(stretch)).cast(whole))
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
        mask = pc.or_(late, pc.is_in(table["generation_id"], self._shared))
        if not pc.any(mask).as_py():
            return table
        rows = [corrected(row, self._corrections) for row in table.filter(mask).to_pylist()]
        return pa.concat_tables([table.filter(pc.invert(mask)), table_of(rows, self._schema)]).sort_by("row_index")


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
