"""Parts become the dataset: each row once, by one rename, and never changed afterwards.

What only the end of a run tells is put into rows on the way (`core.corrections`); all other rows pass through as Arrow,
untouched. The ids of a run are looked at as a whole: about 150 bytes a row, for the time of one publishing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.corrections import Bearer, Corrections, corrected, first_rows, generations_of
from pipeline.core.costs import PriceList
from pipeline.core.coverage import Marks
from pipeline.core.late import LateId
from pipeline.edges.annotations_file import ROW_GROUP, published_files, table_of
from pipeline.edges.files import replaced
from pipeline.edges.sent_ids import by_row, id_files, late_ids, saved_ids, saved_pairs

_PARTS = b"vidbatch.parts"
SORTED_AT_ONCE = 128 * 1024 * 1024
"""Parts of up to this many bytes, unpacked, are sorted in memory; larger runs keep the order in which rows ended."""

SHARES = 8
"""A power of two: ids are compared for one row in so many at a time."""

BEARERS = pa.schema(
    [("row_index", pa.int64()), ("generation_id", pa.string()), ("submitted_at", pa.timestamp("us", tz="UTC"))]
)
"""Which row bears which generation's id since when."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What is published where: `sent` holds the ids that were paid for, `scratch` takes what is not whole yet."""

    parts: Sequence[Path]
    into: Path
    sent: Path
    scratch: Path
    schema: pa.Schema
    prices: PriceList


def publish_new(publication: Publication) -> None:
    """Publish the parts that no file holds yet, as one more file; nothing to do is fine.

    The file's number and what is held come from one listing, so two publishers at a time write the same file. A row
    that stands in two parts, of two ledgers, is published once. A run without any row publishes an empty file, so that
    the dataset can always be read.
    """
    files = published_files(publication.into)
    held = {name for path in files for name in _held_by(path)}
    new = [part for part in publication.parts if part.name not in held]
    if new or not files:
        corrections = _corrections(files, new, publication)
        _publish(files, new, corrections, publication)


def _held_by(path: Path) -> list[str]:
    """Names of the parts that a published file holds, by its metadata."""
    return list(orjson.loads((pq.read_schema(path).metadata or {}).get(_PARTS, b"[]")))


def _publish(files: Sequence[Path], new: Sequence[Path], corrections: Corrections, publication: Publication) -> None:
    """Merge parts into one file, by one rename; its metadata names the parts."""
    path = publication.into / f"part-{len(files):05}.parquet"
    schema = publication.schema
    names = orjson.dumps([part.name for part in new])
    whole = schema.with_metadata({**(schema.metadata or {}), _PARTS: names})
    seen = _seen(files)
    fresh: Iterator[Any] = (_split(pq.read_table(part, schema=schema, partitioning=None), seen)[0] for part in new)
    tables: Iterator[Any] = (_corrected(table, corrections, schema) for table in fresh)
    if sum(map(_unpacked_bytes, new)) <= SORTED_AT_ONCE:
        tables = iter([pa.concat_tables([schema.empty_table(), *tables]).sort_by("row_index")])
    with (
        replaced(path, publication.scratch) as temporary,
        pq.ParquetWriter(temporary, whole, compression="zstd") as writer,
    ):
        for table in tables:
            writer.write_table(table.cast(whole), row_group_size=ROW_GROUP)


def _unpacked_bytes(part: Path) -> int:
    layout = pq.read_metadata(part)
    return sum(layout.row_group(place).total_byte_size for place in range(layout.num_row_groups))


def _seen(files: Iterable[Path]) -> Marks:
    """The rows that are published already."""
    seen = Marks()
    for path in files:
        seen.fresh(pq.read_table(path, columns=["row_index"], partitioning=None)["row_index"].to_pylist())
    return seen


def _split(table: pa.Table, seen: Marks) -> tuple[pa.Table, pa.Table]:
    """The rows that were not seen before, and those that were."""
    fresh = seen.fresh(table["row_index"].to_pylist())
    if all(fresh):
        return table, table.slice(0, 0)
    mask = pa.array(fresh)
    return table.filter(mask), table.filter(pc.invert(mask))


def _corrected(table: pa.Table, corrections: Corrections, schema: pa.Schema) -> pa.Table:
    """The table with its few rows that are not as their part has them."""
    late = pc.is_in(table["row_index"], pa.array(list(corrections.late), pa.int64()))
    shared = pc.is_in(table["generation_id"], pa.array(list(corrections.first), pa.string()))
    mask = pc.or_(late, shared)
    if not pc.any(mask).as_py():
        return table
    rows = [corrected(row, corrections) for row in table.filter(mask).to_pylist()]
    return pa.concat_tables([table.filter(pc.invert(mask)), table_of(rows, schema)]).sort_by("row_index")


def _corrections(files: Sequence[Path], new: Sequence[Path], publication: Publication) -> Corrections:
    """What the new parts do not know: ids that their rows went on without, and ids that several rows bear."""
    bearers, second = _bearers(new, _seen(files), publication.schema)
    published = pa.concat_tables([BEARERS.empty_table(), *map(bearers_of, files)])
    unknown = _unknown_to(pa.concat_tables([bearers, published]), publication.sent)
    late = by_row(chain(unknown, second, *late_ids(publication.sent).values()))
    return Corrections(late, _shared(pa.concat_tables([bearers, _late_bearers(late)]), published), publication.prices)


def _bearers(parts: Sequence[Path], seen: Marks, schema: pa.Schema) -> tuple[pa.Table, list[LateId]]:
    """Who bears which id, of the rows that are to be published; and the generations of rows that stand there again."""
    found, second = [BEARERS.empty_table()], []
    for part in parts:
        fresh, again = _split(pq.read_table(part, columns=["row_index", "attempt_log"], partitioning=None), seen)
        found.append(ids_in(fresh))
        if len(again):
            whole = pq.read_table(part, schema=schema, partitioning=None)
            copies = whole.filter(pc.is_in(whole["row_index"], again["row_index"])).to_pylist()
            second += [late for copy in copies for late in generations_of(copy)]
    return pa.concat_tables(found), second


def bearers_of(file: Path) -> pa.Table:
    """Row index, id and time of every generation in a published file."""
    return ids_in(pq.read_table(file, columns=["row_index", "attempt_log"], partitioning=None))


def ids_in(table: Any) -> pa.Table:  # noqa: ANN401 - pyarrow has no types
    """Row index, id and time of all generations in the attempt logs."""
    log = pa.chunked_array(table["attempt_log"]).combine_chunks()
    entries = log.flatten()
    rows = table["row_index"].take(pc.list_parent_indices(log))
    ids, times = (pc.struct_field(entries, name) for name in ("generation_id", "submitted_at"))
    return pa.table([rows, ids, times], schema=BEARERS).filter(pc.is_valid(ids))


def _late_bearers(late: Mapping[int, Sequence[LateId]]) -> pa.Table:
    all_late = [one for ids in late.values() for one in ids]
    columns = (
        [one.row_index for one in all_late],
        [one.generation_id for one in all_late],
        [one.accepted_at for one in all_late],
    )
    arrays = [pa.array(column, field.type) for column, field in zip(columns, BEARERS, strict=True)]
    return pa.table(arrays, schema=BEARERS)


def _unknown_to(bearers: pa.Table, sent: Path) -> Iterator[LateId]:
    """Accepted ids on disk that are in no attempt log: a ledger that lost its last moments forgot them."""
    unplaced = unplaced_ids(bearers, id_files(sent))
    if len(unplaced):
        wanted = {(row["row_index"], row["generation_id"]) for row in unplaced.to_pylist()}
        for row_index, generation_id, accepted_at, attempt, resubmits in saved_ids(sent):
            if (row_index, generation_id) in wanted:
                yield LateId(row_index, generation_id, accepted_at, attempt, resubmits)


def unplaced_ids(bearers: pa.Table, files: Iterable[Path]) -> pa.Table:
    """The (row index, generation id) in files of ids that are not among the bearers' own, each once."""
    saved = saved_pairs(files)
    left = [saved.slice(0, 0)]
    for share in range(SHARES):  # a share at a time: what compares them takes more memory than the ids themselves
        mine, known = _share(saved, share), _share(bearers, share)
        left.append(mine.filter(pc.invert(pc.is_in(_keys(mine), _keys(known).combine_chunks()))))
    return pa.concat_tables(left).group_by(saved.column_names, use_threads=False).aggregate([])


def _share(pairs: pa.Table, share: int) -> pa.Table:
    return pairs.filter(pc.equal(pc.bit_wise_and(pairs["row_index"], SHARES - 1), share))


def _keys(pairs: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(pc.cast(pairs["row_index"], pa.string()), pairs["generation_id"], " ")


def _shared(new: pa.Table, published: pa.Table) -> dict[str, int | None]:
    """For each id that several rows bear, the row that it is of."""
    rows: Any = pa.concat_tables([new, published]).group_by("generation_id")
    rows = rows.aggregate([("row_index", "min"), ("row_index", "max")])
    shared = rows.filter(pc.not_equal(rows["row_index_min"], rows["row_index_max"]))["generation_id"].combine_chunks()
    return first_rows(
        Bearer(one["generation_id"], one["row_index"], one["submitted_at"], is_published)
        for table, is_published in ((new, False), (published, True))
        for one in table.filter(pc.is_in(table["generation_id"], shared)).to_pylist()
    )
