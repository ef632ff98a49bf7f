"""What a dataset's newest answers took, read from its published files; for an estimate, so a bounded number of rows.

A file that can't be read is passed over: an estimate is no audit, and `vidbatch verify` tells of such files.
"""

from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.estimates import DURATION, ENOUGH, Range, Seen, around
from pipeline.core.lifecycle import Outcome
from pipeline.edges.opening import parquet_source
from pipeline.edges.places import Place, listed

NEWEST_ROWS = 10_000
"""Of each model: enough for a mean, few enough that a price or a prompt of last year does not weigh any more."""

SCANNED_ROWS = 500_000
"""Published rows that are looked at; a model that is in none of them is not known."""

OPENED_FILES = 200
"""The same for a dataset of many small runs: each file takes a few ms to open, more on a share."""

_COLUMNS = ["model", "prompt_tokens", "completion_tokens", "cost"]
_SECONDS = r"^\s*[0-9]+(\.[0-9]*)?\s*$"


def trailing(out: Place, models: Collection[str]) -> dict[str, Seen]:
    """By model, what its newest completed rows in OUT took; models without any are left out."""
    pieces: dict[str, list[Any]] = {model: [] for model in models}
    scanned = 0
    for rows, batch in _newest(out):
        for model in [one for one, held in pieces.items() if sum(map(len, held)) < NEWEST_ROWS]:
            pieces[model].append(batch.filter(pc.equal(batch["model"], model)))
        scanned += rows
        full = all(sum(map(len, held)) >= NEWEST_ROWS for held in pieces.values())
        if full or scanned >= SCANNED_ROWS:
            break
    wholes = {model: pa.concat_tables(held).slice(0, NEWEST_ROWS) for model, held in pieces.items() if held}
    return {model: _seen(whole) for model, whole in wholes.items() if len(whole)}


def _newest(out: Place) -> Iterator[tuple[int, Any]]:
    """Completed rows of published row groups, newest first, with the number of rows that were read for them."""
    folders = reversed(listed(out / "annotations", "run=*"))
    paths = (path for folder in folders for path in reversed(listed(folder, "part-*.parquet")))
    for path in islice(paths, OPENED_FILES):
        try:
            with pq.ParquetFile(parquet_source(path)) as file:
                for place in reversed(range(file.num_row_groups)):
                    yield file.metadata.row_group(place).num_rows, _completed(file, place)
        except (OSError, pa.ArrowException, KeyError):
            continue


def _completed(file: Any, place: int) -> Any:  # noqa: ANN401 - pyarrow has no types
    """A row group's completed rows whose tokens are known, with the seconds of their video where they are carried."""
    carried = [DURATION] if DURATION in file.schema_arrow.names else []
    table = file.read_row_group(place, columns=[*_COLUMNS, "outcome", *carried])
    known = pc.and_(pc.is_valid(table["prompt_tokens"]), pc.is_valid(table["completion_tokens"]))
    table = table.filter(pc.and_(known, pc.equal(table["outcome"], Outcome.COMPLETED.value)))
    seconds = _seconds(table[DURATION]) if carried else pa.nulls(len(table), pa.float64())
    return table.select(_COLUMNS).append_column(DURATION, seconds)


def _seconds(cells: Any) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Text as seconds; null for what is no number, or 0."""
    number = pc.match_substring_regex(cells, _SECONDS)
    seconds = pc.cast(pc.utf8_trim_whitespace(pc.if_else(number, cells, None)), pa.float64())
    return pc.if_else(pc.greater(seconds, 0.0), seconds, None)


def _seen(table: Any) -> Seen:  # noqa: ANN401 - pyarrow has no types
    priced = table.filter(pc.is_valid(table["cost"]))
    timed = table.filter(pc.is_valid(table[DURATION]))
    return Seen(
        rows=len(table),
        prompt_tokens=_range(table["prompt_tokens"]),
        completion_tokens=_range(table["completion_tokens"]),
        cost=_range(priced["cost"]) if len(priced) else None,
        a_second=_a_second(timed) if len(timed) >= ENOUGH else None,
    )


def _a_second(timed: Any) -> Range:  # noqa: ANN401 - pyarrow has no types
    """Prompt tokens of a second: all of them over all seconds, between the quartiles of single rows."""
    of_rows = _range(pc.divide(pc.cast(timed["prompt_tokens"], pa.float64()), timed[DURATION]))
    likely = pc.sum(timed["prompt_tokens"]).as_py() / pc.sum(timed[DURATION]).as_py()
    return around(len(timed), likely, of_rows.low, of_rows.high)


def _range(column: Any) -> Range:  # noqa: ANN401 - pyarrow has no types
    lower, upper = pc.quantile(column, q=[0.25, 0.75]).to_pylist()
    return around(len(column), pc.mean(column).as_py(), lower, upper)
