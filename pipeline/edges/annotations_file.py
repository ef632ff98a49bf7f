"""Annotations as Parquet: the only place that knows how the dataset's columns are stored."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.budget import MOST_TOKENS, Settled
from pipeline.core.columns import ANNOTATION, SCHEMA_VERSION
from pipeline.core.costs import MICRO, MOST_COST, PriceList
from pipeline.core.errors import StorageError
from pipeline.core.late import LateId, with_late
from pipeline.core.receipt import MONEY, TOKENS, Sums, Usage, UsageKey, UsageSums
from pipeline.core.recovery import Ended
from pipeline.core.rows import Rows
from pipeline.core.shapes import Shape
from pipeline.edges.answer_column import answer_type, shape_metadata, word_columns
from pipeline.edges.arrow import numbers
from pipeline.edges.files import replaced
from pipeline.edges.opening import parquet_source
from pipeline.edges.places import Place, listed
from pipeline.edges.tally import COLUMNS, Tally

_ATTEMPTS = pa.list_(
    pa.struct(
        [
            ("generation_id", pa.string()),
            ("submitted_at", pa.timestamp("us", tz="UTC")),
            ("outcome", pa.string()),
            ("prompt_tokens", pa.int64()),
            ("completion_tokens", pa.int64()),
            ("cost", pa.float64()),
            ("reasoning_tokens", pa.int64()),
            ("cached_tokens", pa.int64()),
            ("audio_tokens", pa.int64()),
            ("video_tokens", pa.int64()),
            ("credits", pa.float64()),
            ("cost_told", pa.float64()),
            ("answer_status", pa.string()),
            ("content", pa.string()),
        ]
    )
)
_TYPES = {
    "text": pa.string(),
    "word": pa.string(),
    "texts": pa.list_(pa.string()),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
    "attempts": _ATTEMPTS,
}
_ANSWER_AT = [column.name for column in ANNOTATION].index("answer")
_WORDS = [column.name for column in ANNOTATION if column.kind == "word"]
_SHARED = [*_WORDS, "prompt", "system_prompt"]
"""Columns of few distinct values: a dictionary of the others would only cost."""

_TOLD = [column.name for column in ANNOTATION if column.kind in {"word", "int", "float", "bool", "time"}]
"""Columns whose least and greatest value readers can use."""

COPY_OF = "duplicate_of"
"""The column that only duplicates have."""

BATCH_ROWS = 10_000
PART_GROUP_ROWS = 1_000
"""Parts are merged a few row groups at a time."""

USAGE = pa.schema(
    [
        ("model", pa.string()),
        ("day", pa.date32()),
        ("outcome", pa.string()),
        ("rows", pa.int64()),
        ("attempts", pa.int64()),
        *((name, pa.int64()) for name in TOKENS),
        *((name, pa.float64()) for name in MONEY),
    ]
)


def schema_of(carried: Iterable[str], run_id: str, answer: Shape | None = None) -> pa.Schema:
    """The Arrow schema of a run's annotations; `carried` are the dataset's names of the manifest's other columns.

    `answer` is the shape of typed answers.
    """
    fields = [(column.name, _TYPES[column.kind]) for column in ANNOTATION if column.kind != "answer"]
    fields.insert(_ANSWER_AT, ("answer", answer_type(answer)))
    fields += [(name, pa.string()) for name in carried]
    told = {"vidbatch.schema_version": str(SCHEMA_VERSION), "vidbatch.run_id": run_id, **shape_metadata(answer)}
    return pa.schema(fields, told)


def write_part(path: Place, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write annotations durably under `path`, replacing what is there."""
    with replaced(path) as temporary, annotations_writer(temporary, schema) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=PART_GROUP_ROWS)


def annotations_writer(path: Path, schema: pa.Schema) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Writes annotations into a new file."""
    shared = [*_SHARED, *word_columns(schema)]
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=shared, write_statistics=_TOLD)


def table_of(rows: Sequence[Mapping[str, object]], schema: pa.Schema) -> pa.Table:
    """Annotations as Arrow; what a row leaves out is null."""
    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def published_files(folder: Place) -> list[Place]:
    """A run's files under annotations/, in order."""
    return listed(folder, "part-*.parquet")


def summed(published: Place, prices: PriceList) -> Tally:
    """Sums over published annotations."""
    tally = Tally(prices)
    for path in published_files(published):
        for batch in batches(path, COLUMNS):
            tally.add(batch)
    return tally


def batches(path: Place, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Some columns of a file, a bounded number of rows at a time. StorageError when they can't be read."""
    try:
        with pq.ParquetFile(parquet_source(path)) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=list(columns), use_threads=False):
                yield batch.select(list(columns))
    except (OSError, pa.ArrowException, KeyError) as error:
        raise StorageError(f"{path} can't be read: {error}") from error


def write_usage(usage: Usage, path: Place) -> None:
    """Write the usage table, by model, day and outcome."""
    lines = sorted(usage.items(), key=lambda line: line[0].order)
    rows = [{**asdict(key), "rows": one.rows, "attempts": one.attempts, **asdict(one.sums)} for key, one in lines]
    with replaced(path) as temporary:
        pq.write_table(table_of(rows, USAGE), temporary, compression="zstd")


def read_usage(path: Place) -> dict[UsageKey, UsageSums]:
    """The usage table as it stands on the disk. StorageError when it can't be read."""
    rows = [row for batch in batches(path, USAGE.names) for row in batch.to_pylist()]
    return {
        UsageKey(row["model"], row["day"], row["outcome"]): UsageSums(
            row["rows"], row["attempts"], Sums(**{name: row[name] for name in (*TOKENS, *MONEY)})
        )
        for row in rows
    }


def settled(paths: Iterable[Place], late: Mapping[int, Sequence[LateId]], prices: PriceList) -> Settled:
    """What the POSTs of the rows in these files used, as the ledger counts it; a row that two files have counts once.

    `late` ids by their row, with what they used, stand beside those that the rows' attempt logs have. StorageError for
    an unreadable file.
    """
    total, seen = Settled(), Rows()
    for path in paths:
        for batch in batches(path, ("row_index", "attempt_log")):
            fresh = fresh_of(batch, seen)
            total = _plus(total, fresh["attempt_log"].flatten())
            for place, index in enumerate(numbers(fresh["row_index"])) if late else ():
                if index in late:
                    total = with_late(total, fresh["attempt_log"][place].as_py(), late[index], prices)
    for index, ids in late.items():
        total = total if index in seen else with_late(total, [], ids, prices)
    return total


def _plus(total: Settled, log: Any) -> Settled:  # noqa: ANN401 - pyarrow has no types
    """The sums with some entries of attempt logs; one that tells no usage keeps a reservation."""
    prompt, completion, cost = (log.field(name) for name in ("prompt_tokens", "completion_tokens", "cost"))
    told = pc.and_(pc.greater(pc.fill_null(prompt, 0), 0), pc.is_valid(completion))
    micro = pc.round(pc.multiply(_at_most(cost, MOST_COST), float(MICRO)))
    return Settled(
        total.prompt_tokens + _sum(_at_most(prompt, MOST_TOKENS)),
        total.completion_tokens + _sum(_at_most(completion, MOST_TOKENS)),
        total.cost_micro + _sum(pc.cast(micro, pa.int64())),
        total.kept + _sum(pc.invert(told)),
    )


def _at_most(values: Any, most: float) -> Any:  # noqa: ANN401
    return pc.min_element_wise(values, most, skip_nulls=False)


def _sum(values: Any) -> int:  # noqa: ANN401 - pyarrow has no types
    return int(pc.sum(values).as_py() or 0)


def ended(paths: Iterable[Place]) -> Ended:
    """The requests in these files and their outcomes; a row that two files have counts as the first of them has it.

    Duplicates are left out: no ledger knows them.
    """
    rows, outcomes = Rows(), Counter[str]()
    for path in paths:
        for batch in batches(path, ("row_index", "outcome", COPY_OF)):
            counts = pc.value_counts(fresh_of(batch.filter(pc.invert(is_copy(batch))), rows)["outcome"])
            outcomes.update({pair["values"]: pair["counts"] for pair in counts.to_pylist()})
    return Ended(rows, outcomes)


def is_copy(batch: Any) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Of each row of a batch, whether it is a duplicate's."""
    return pc.is_valid(batch[COPY_OF])


def fresh_of(batch: Any, rows: Rows) -> Any:  # noqa: ANN401 - pyarrow has no types
    """The rows of a batch that are not among these rows; now they are."""
    again = rows.add_all(numbers(batch["row_index"]))
    return without(batch, again) if again else batch


def without(batch: Any, places: Sequence[int]) -> Any:  # noqa: ANN401
    """A batch without the rows at these places, which come in order."""
    kept = bytearray(b"\1") * batch.num_rows
    for place in places:
        kept[place] = 0
    mask = pc.cast(pa.Array.from_buffers(pa.uint8(), len(kept), [None, pa.py_buffer(kept)]), pa.bool_())
    return batch.filter(mask)


def sample(published: Place, count: int) -> list[dict[str, Any]]:
    """The first completed annotations of a published run, with a few columns."""
    found: list[dict[str, Any]] = []
    for path in listed(published, "part-*.parquet"):
        table: Any = pq.read_table(parquet_source(path), columns=["row_id", "outcome", "content"], partitioning=None)
        found += [row for row in table.slice(0, 10 * count).to_pylist() if row["outcome"] == "completed"]
    return found[:count]
