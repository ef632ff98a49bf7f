"""Which rows of a plan need not be sent: those that ask what an earlier row asks, and those that OUT has answered.

DuckDB compares the hashes, in bounded memory and on disk where there are many; the rows themselves pass as Arrow from
the file of all of them into requests, duplicates and reused, in their order. Hashes are compared by their first 128
bits, as two numbers: two different requests share them once in 10^26 manifests of a million rows.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from pipeline.core.errors import StorageError
from pipeline.core.estimates import DURATION
from pipeline.core.sifting import Sifted
from pipeline.edges.duck import Batches, Duck, duck, text
from pipeline.edges.ends_sql import UNTOUCHED, tells
from pipeline.edges.files import replaced
from pipeline.edges.places import Place
from pipeline.edges.requests_file import LAYOUT, REQUESTS_SCHEMA, ROW_GROUP_ROWS, SHARED, storage

_FILE_WAS_GONE = (
    "(outcome = 'refused' AND coalesce(error_code, '') = 'video_changed' AND NOT coalesce(possible_duplicate, false))"
)
_AGAIN = f"outcome = 'failed' OR {_FILE_WAS_GONE} OR {UNTOUCHED}"
"""Ends after which a request is sent again. With any other it is not: it was answered, an answer may be collected, it
was refused as it is, or nobody knows whether it was paid for. An end that came before anything was sent, and that of a
collection that found nothing, take no other end's place (`core.standing` says the same of a retry)."""

_KEY = "('0x' || request_hash[1:16])::UBIGINT AS high, ('0x' || request_hash[17:32])::UBIGINT AS low"
_FIRST = [pa.field("first_index", pa.int64()), pa.field("first_id", pa.string())]
_ANSWERED = [
    pa.field("answered_run", pa.string()),
    pa.field("answered_index", pa.int64()),
    pa.field("answered_id", pa.string()),
    pa.field("outcome", pa.string()),
]
_NO_END = "0 AS row_index, '' AS row_id, '' AS request_hash, '' AS outcome, false AS again, true AS tells"
_BATCH_ROWS = 10_000


def sift(
    folder: Path,
    known: Mapping[str, Sequence[Place]],
    into: Path | None = None,
    *,
    collections: Container[str] = (),
) -> Sifted:
    """Take out of `requests.parquet` what need not be sent; `known` are the files of annotations, by run.

    `collections` are those runs that only collected.

    The files are written to `into`, by default the same folder: duplicates and reused first, and only where there are
    some. StorageError when the disk refuses.
    """
    planned, into = folder / "requests.parquet", into or folder
    with duck(folder) as con:
        _compare(con, planned, known, collections)
        sifted = Sifted()
        with _Split(planned, into, sifted) as split:
            split.all(con.batches(_VERDICTS, _BATCH_ROWS))
    return sifted


def _compare(con: Duck, planned: Path, known: Mapping[str, Sequence[Place]], collections: Container[str]) -> None:
    """Tables of the rows that are not sent: what DuckDB has to hold of each is a few numbers."""
    con.scan("planned", [planned])
    con.execute(f"CREATE VIEW asked AS SELECT row_index, {_KEY} FROM planned")
    con.execute("CREATE TABLE firsts AS SELECT high, low, min(row_index) AS first_index FROM asked GROUP BY ALL")
    runs = sorted(run for run, files in known.items() if files)
    held = [_scanned(con, place, run, known[run], collects=run in collections) for place, run in enumerate(runs)]
    nothing = f"SELECT 0 AS place, '' AS run, {_NO_END} WHERE false"
    con.execute(f"CREATE VIEW held AS {' UNION ALL '.join([*held, nothing])}")
    con.execute(_ANSWERS)
    con.execute(_UNSENT)


def _scanned(con: Duck, place: int, run: str, files: Sequence[Place], *, collects: bool) -> str:
    con.scan(f"held_{place}", files)
    return (
        f"SELECT {place} AS place, {text(run)} AS run, row_index, row_id, request_hash, outcome, {_AGAIN} AS again, "
        f"{tells(collects=collects)} AS tells FROM held_{place} WHERE duplicate_of IS NULL AND request_hash <> ''"
    )


_ANSWERS = f"""
CREATE TABLE answers AS
WITH ends AS (SELECT place, row_index, outcome, again, tells, {_KEY} FROM held),
best AS (
  SELECT high, low, max((outcome = 'completed', tells, place, row_index, outcome, again)) AS it
  FROM ends SEMI JOIN firsts USING (high, low) GROUP BY high, low
)
SELECT high, low, it[3] AS place, it[4] AS row_index, it[5] AS outcome FROM best WHERE NOT it[6]
"""
"""Of each request its newest answer, else its newest end; not where it is to be sent again."""

_UNSENT = """
CREATE TABLE unsent AS
SELECT asked.row_index, CASE WHEN answers.place IS NULL THEN first_index END AS first_index,
  answers.place, answers.row_index AS answered_index, answers.outcome
FROM asked JOIN firsts USING (high, low) LEFT JOIN answers USING (high, low)
WHERE answers.place IS NOT NULL OR asked.row_index <> first_index
"""

_VERDICTS = """
SELECT unsent.row_index, first_index, firsts.row_id AS first_id, held.run AS answered_run, answered_index,
  held.row_id AS answered_id, unsent.outcome
FROM unsent LEFT JOIN planned AS firsts ON firsts.row_index = first_index
  LEFT JOIN held ON held.place = unsent.place AND held.row_index = answered_index
ORDER BY unsent.row_index
"""


def answered_since(scratch: Path, own: Sequence[Place], later: Sequence[Place]) -> dict[int, str]:
    """Rows of a run without an answer that can be used, and that later runs have answered: row index → answer_status.

    `own` and `later` are files of annotations; of several answers the best one counts.
    """
    with duck(scratch) as con:
        con.scan("own", own)
        con.scan("later", later)
        return dict(con.rows(_SINCE))


_SINCE = """
SELECT own.row_index, CASE WHEN bool_or(coalesce(later.answer_status, 'ok') = 'ok') THEN 'ok'
  ELSE any_value(later.answer_status) END
FROM own JOIN later USING (request_hash)
WHERE (own.outcome <> 'completed' OR coalesce(own.answer_status, 'ok') <> 'ok') AND own.duplicate_of IS NULL
  AND later.outcome = 'completed' AND later.duplicate_of IS NULL
GROUP BY own.row_index
"""


class _Rows:
    """Writes rows that come as Arrow into a file of requests; no file where none come, unless it is `always` there."""

    def __init__(self, path: Path, more: Sequence[pa.Field], metadata: Mapping[bytes, bytes], *, always: bool) -> None:
        self._path = path
        self._schema = pa.schema([*REQUESTS_SCHEMA, *more], metadata)
        self._waiting: list[pa.Table] = []
        self._stack = ExitStack()
        self._writer: Any = None
        self._always = always

    def add(self, rows: pa.Table) -> None:
        """Keep rows, in the order in which they come."""
        if rows.num_rows:
            self._waiting.append(rows.select(self._schema.names).cast(self._schema))
        if sum(table.num_rows for table in self._waiting) >= ROW_GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._writer is None:
            temporary = self._stack.enter_context(replaced(self._path))
            writer = parquet.ParquetWriter(temporary, self._schema, **LAYOUT, use_dictionary=list(SHARED))
            self._writer = self._stack.enter_context(writer)
        if self._waiting:
            table = pa.concat_tables(self._waiting).unify_dictionaries().combine_chunks()
            self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
        self._waiting.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and (self._waiting or (self._always and self._writer is None)):
            self._flush()
        self._stack.__exit__(kind, error, trace)


class _Split:
    """Shares out the planned rows; the requests' own file comes last."""

    def __init__(self, planned: Path, into: Path, sifted: Sifted) -> None:
        self._planned = planned
        self._sifted = sifted
        self._stack = ExitStack()
        with storage(planned):
            metadata = parquet.read_schema(planned).metadata or {}
        self._requests = _Rows(into / "requests.parquet", (), metadata, always=True)
        self._duplicates = _Rows(into / "duplicates.parquet", _FIRST, metadata, always=False)
        self._reused = _Rows(into / "reused.parquet", _ANSWERED, metadata, always=False)

    def __enter__(self) -> Self:
        for rows in (self._requests, self._duplicates, self._reused):  # the last one to be entered is written first
            self._stack.enter_context(rows)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with storage(self._planned):
            self._stack.__exit__(kind, error, trace)

    def all(self, verdicts: Batches) -> None:
        """Share out all rows; `verdicts` are those that are not sent, in order."""
        take = _taker(verdicts)
        with storage(self._planned), parquet.ParquetFile(self._planned) as file:
            for batch in file.iter_batches(ROW_GROUP_ROWS, use_threads=False):
                rows = pa.Table.from_batches([batch])
                told = take(batch["row_index"][-1].as_py())
                unsent = pc.is_in(rows["row_index"], told["row_index"])
                self._send(rows.filter(pc.invert(unsent)))
                self._keep(rows.filter(unsent), told)

    def _send(self, rows: pa.Table) -> None:
        sifted = self._sifted
        sifted.requests += rows.num_rows
        if not rows.num_rows:
            return
        models = rows["model"].cast(pa.string())
        sifted.models.update({pair["values"]: pair["counts"] for pair in pc.value_counts(models).to_pylist()})
        sifted.videos += pc.sum(pc.list_value_length(rows["video_urls"])).as_py() or 0
        sifted.prompt_characters += pc.sum(pc.utf8_length(rows["prompt"].cast(pa.string()))).as_py() or 0
        for model, seconds in zip(models.to_pylist(), _cells(rows["carried"], DURATION), strict=True):
            if seconds:
                sifted.lengths.add(model, seconds)
        for asked in rows.group_by(["model", "reasoning", "max_tokens"]).aggregate([([], "count_all")]).to_pylist():
            sifted.thinking.add(asked["model"], asked["reasoning"], asked["max_tokens"], asked["count_all"])
        self._requests.add(rows)

    def _keep(self, rows: pa.Table, told: pa.Table) -> None:
        if not rows["row_index"].equals(told["row_index"]):
            raise StorageError(f"{self._planned}: its rows are not in order.")
        for one in (*_FIRST, *_ANSWERED):
            rows = rows.append_column(one, told[one.name].cast(one.type))
        again = pc.is_null(rows["answered_run"])
        duplicates, reused = rows.filter(again), rows.filter(pc.invert(again))
        self._sifted.duplicates += duplicates.num_rows
        self._sifted.reused.update(reused["outcome"].to_pylist())
        self._duplicates.add(duplicates)
        self._reused.add(reused)


def _cells(carried: pa.ChunkedArray, name: str) -> Iterator[str | None]:
    for chunk in carried.chunks:
        yield from pc.map_lookup(chunk, pa.scalar(name), "first").to_pylist()


def _taker(verdicts: Batches) -> Callable[[int], pa.Table]:
    """Gives the next verdicts, up to a row index; each once."""
    waiting, coming = verdicts.schema.empty_table(), iter(verdicts)

    def take(until: int) -> pa.Table:
        nonlocal waiting
        while not waiting.num_rows or waiting["row_index"][-1].as_py() <= until:
            batch = next(coming, None)
            if batch is None:
                break
            waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch])])
        count = pc.sum(pc.less_equal(waiting["row_index"], until)).as_py() or 0
        taken, waiting = waiting.slice(0, count), waiting.slice(count)
        return taken.combine_chunks()

    return take
