"""Turn results into parts, and accepted ids into files, exactly once each.

A range is noted in the ledger, written under the name of that range, and only then forgotten: a crash anywhere writes
the same part again, never a second one.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.core.annotations import annotation
from pipeline.core.costs import PriceList
from pipeline.core.records import unpack_result
from pipeline.flows.shift import Bench
from pipeline.ports import Clock, Ledger, RunCard, RunFolder

PART_ROWS = 5_000
PART_BYTES = 8 * 1024 * 1024
PART_SECONDS = 3.0
"""A part is written when it has this many rows or bytes, when its oldest row has waited so long, or at the end."""

IDS = 20_000
LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Writing:
    """What a write shift needs besides the ledger: the run's files, prices, and the dataset's names of columns."""

    card: RunCard
    folder: RunFolder
    prices: PriceList
    names: Mapping[str, str]


async def write_shift(bench: Bench, ledger: Ledger, clock: Clock, writing: Writing, now: Callable[[], int]) -> int:
    """Hold one write shift; the number of rows that it wrote. `now` is the time of day in µs since 1970."""
    ends = clock.monotonic() + bench.seconds
    written, waited_since = 0, clock.monotonic()
    while clock.monotonic() < ends:
        await save_ids(ledger, writing)
        run = await ledger.snapshot(bench.run_id)
        if run is None:
            return written
        now_s = clock.monotonic()
        if run.results == 0:
            waited_since = now_s
            if bench.stop() or run.in_flight == 0:
                return written
        last_rows = run.ready + run.in_flight == 0 or not run.sends
        full = run.results >= PART_ROWS or run.results_bytes >= PART_BYTES
        if run.results and (full or last_rows or bench.stop() or now_s - waited_since >= PART_SECONDS):
            written += await write_part(ledger, writing, now)
            waited_since = clock.monotonic()
            continue
        await clock.sleep(LOOK_S)
    return written


async def write_part(ledger: Ledger, writing: Writing, now: Callable[[], int]) -> int:
    """Write the oldest results as one part; the number of its rows."""
    card = writing.card
    batch = await ledger.results(card.run_id, PART_ROWS)
    if not batch.items:
        return 0
    results = [unpack_result(item) for item in batch.items]
    requests = writing.folder.requests().rows([result.row_index for result in results])
    collected = now()
    rows = [
        annotation(requests[result.row_index], result, writing.prices, writing.names, collected) for result in results
    ]
    rows.sort(key=_row_index)
    await asyncio.to_thread(writing.folder.write_part, card.epoch, batch.start, batch.end, rows)
    await ledger.results_written(card.run_id, batch)
    return len(rows)


async def save_ids(ledger: Ledger, writing: Writing) -> None:
    """Save accepted ids, so that what was paid for survives the loss of Redis."""
    card = writing.card
    batch = await ledger.accepted_ids(card.run_id, IDS)
    if batch.items:
        await asyncio.to_thread(writing.folder.save_ids, card.epoch, batch.start, batch.end, batch.items)
        await ledger.accepted_saved(card.run_id, batch)


def _row_index(row: Mapping[str, object]) -> int:
    index = row["row_index"]
    if not isinstance(index, int):
        raise TypeError(f"row_index is {index!r}")
    return index
