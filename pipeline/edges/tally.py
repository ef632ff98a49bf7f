"""Sums over annotations, batch by batch: what `usage/` holds, and what a receipt tells.

A batch is summed by Arrow; between batches there are only a few numbers, however long a run is.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.costs import PriceList
from pipeline.core.lifecycle import Outcome
from pipeline.core.receipt import KEPT, MONEY, TOKENS, Doubt, Sums, UsageKey, UsageSums
from pipeline.core.summary import Totals

COLUMNS = (
    *("row_index", "model", "outcome", "answer_status", "finished_at", "generation_id", "possible_duplicate"),
    *KEPT,
    "attempt_log",
)
"""What a batch must have."""

_SUMS = (*TOKENS, *MONEY)
_AT_PRICE = "cost_at_price"
_KEYS = ["model", "day", "outcome"]
_UNANSWERED = (Outcome.UNKNOWN.value, Outcome.EXPIRED.value, Outcome.CANCELLED.value)


@dataclass(slots=True)
class Tally:
    """The sums so far; `kept` of the rows' answers, `usage` of everything in their attempt logs."""

    prices: PriceList
    rows: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    flagged: int = 0
    kept: Sums = field(default_factory=Sums)
    usage: dict[UsageKey, UsageSums] = field(default_factory=dict)
    doubt: Doubt = field(default_factory=Doubt)
    last_end: datetime | None = None

    @property
    def billed(self) -> Sums:
        """All of the usage."""
        return sum((one.sums for one in self.usage.values()), Sums())

    @property
    def attempts(self) -> int:
        """Entries of all attempt logs."""
        return sum(one.attempts for one in self.usage.values())

    def totals(self) -> Totals:
        """What a finished run is told by; tokens and cost are those of everything that was billed, as far as known."""
        billed = self.billed
        return Totals(
            rows=self.rows,
            outcomes=dict(self.outcomes),
            prompt_tokens=billed.prompt_tokens or 0,
            completion_tokens=billed.completion_tokens or 0,
            cost=billed.cost,
            possible_duplicates=self.flagged,
            answer_statuses=dict(self.statuses),
        )

    def add(self, batch: pa.RecordBatch) -> None:
        """Count one batch of annotations."""
        self.rows += batch.num_rows
        self.outcomes.update(_counts(batch["outcome"]))
        self.statuses.update(_counts(batch["answer_status"].drop_null()))
        self.flagged += pc.sum(batch["possible_duplicate"]).as_py() or 0
        self.kept += Sums(**{name: pc.sum(batch[name]).as_py() for name in KEPT})
        self._add_usage(batch)
        self._add_doubt(batch)
        last = pc.max(batch["finished_at"]).as_py()
        if last is not None:
            self.last_end = last if self.last_end is None else max(self.last_end, last)

    def _add_usage(self, batch: pa.RecordBatch) -> None:
        day = pc.cast(batch["finished_at"], pa.date32())
        keys = pa.table([batch["model"], day, batch["outcome"]], names=_KEYS)
        sizes = pc.fill_null(pc.list_value_length(batch["attempt_log"]), 0)
        for told in _summed(keys.append_column("attempts", sizes), ("attempts",)):
            self._join(told, UsageSums(told["rows"], told["attempts_sum"]))
        entries, parents = _entries(batch)
        log = keys.take(parents)
        for name in _SUMS:
            values = self._at_price(log) if name == _AT_PRICE else pc.struct_field(entries, name)
            log = log.append_column(name, values)
        for told in _summed(log, _SUMS):
            self._join(told, UsageSums(0, 0, Sums(*(told[f"{name}_sum"] for name in _SUMS))))

    def _at_price(self, log: Any) -> Any:  # noqa: ANN401 - pyarrow has no types
        """What each entry costs at its model's price, as `Price.of` has it; null where one of them is not known."""
        at = pc.index_in(log["model"], value_set=pa.array([*self.prices], pa.string()))
        # floats, as in Python: what a dishonest API tells may be more than these hold exactly
        prompt, completion = (pc.cast(log[name], pa.float64(), safe=False) for name in TOKENS[:2])
        each = [*self.prices.values()]

        def told(prices: Sequence[float | None]) -> Any:  # noqa: ANN401
            return pa.array(prices, pa.float64()).take(at)

        def price(usual: Sequence[float], long: Sequence[float | None]) -> Any:  # noqa: ANN401
            several = [one if other is None else other for one, other in zip(usual, long, strict=True)]
            return pc.if_else(is_long, told(several), told(usual))

        is_long = pc.fill_null(pc.greater(prompt, told([one.long_prompt_tokens for one in each])), False)
        asked = price([one.input for one in each], [one.input_long for one in each])
        said = price([one.output for one in each], [one.output_long for one in each])
        return pc.divide(pc.add(pc.multiply(prompt, asked), pc.multiply(pc.fill_null(completion, 0.0), said)), 1e6)

    def _join(self, told: dict[str, Any], sums: UsageSums) -> None:
        key = UsageKey(*(told[name] for name in _KEYS))
        self.usage[key] = self.usage.get(key, UsageSums()) + sums

    def _add_doubt(self, batch: pa.RecordBatch) -> None:
        """Count what may have been billed without an answer of ours: beside, or instead of, what a row has."""
        entries, parents = _entries(batch)
        ids, outcome, cost = (pc.struct_field(entries, name) for name in ("generation_id", "outcome", "cost"))
        kept = pc.fill_null(pc.equal(ids, batch["generation_id"].take(parents)), False)
        open_ends = pc.and_(pc.is_in(outcome, pa.array(_UNANSWERED)), pc.and_(pc.is_null(cost), pc.invert(kept)))
        own = batch["cost"].take(parents).filter(open_ends)
        completed = batch["cost"].filter(pc.equal(batch["outcome"], Outcome.COMPLETED.value))
        self.doubt += Doubt(
            posts=len(own),
            own_cost=pc.sum(own).as_py() or 0.0,
            unpriced=own.null_count,
            completed_cost=pc.sum(completed).as_py() or 0.0,
            completed_priced=len(completed) - completed.null_count,
        )


def _counts(words: pa.Array) -> dict[str, int]:
    return {pair["values"]: pair["counts"] for pair in pc.value_counts(words).to_pylist()}


def _entries(batch: pa.RecordBatch) -> tuple[pa.StructArray, pa.Array]:
    """All entries of the attempt logs, and for each the place of its row."""
    log = batch["attempt_log"]
    return log.flatten(), pc.list_parent_indices(log)


def _summed(table: Any, names: tuple[str, ...]) -> list[dict[str, Any]]:  # noqa: ANN401 - pyarrow has no types
    """Rows and sums by key; in one thread, so that the same rows give the same float."""
    counted = table.append_column("rows", pa.repeat(pa.scalar(1, pa.int64()), len(table)))
    summed = counted.group_by(_KEYS, use_threads=False).aggregate([(name, "sum") for name in ("rows", *names)])
    return [{**told, "rows": told["rows_sum"]} for told in summed.to_pylist()]
