"""Turn results into parts, and accepted ids into files, exactly once each.

A range is noted in the ledger, written under the name of that range, and only then forgotten: a crash anywhere writes
the same part again, never a second one.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.core.costs import PriceList
from pipeline.core.ends import Columns, columns_of, in_order, row_index_of
from pipeline.flows.shift import Bench
from pipeline.ports import Clock, Ledger, RunCard, RunFolder

PART_ROWS = 5_000
PART_BYTES = 8 * 1024 * 1024
PART_SECONDS = 3.0
"""A part is written when it has this many rows or bytes, when its oldest row has waited so long, or at the end."""

STEP_ROWS = 1_000
STEP_BYTES = 2 * 1024 * 1024
"""Rows, or bytes of them, that are decoded at a time; what they are decoded to is several times their size."""

IDS = 20_000
LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Writing:
    """What a write shift needs besides the ledger: the run's files and its prices."""

    card: RunCard
    folder: RunFolder
    prices: PriceList


async def write_shift(bench: Bench, ledger: Ledger, clock: Clock, writing: Writing, now: Callable[[], int]) -> int:
    """Hold one write shift; the number of rows that it wrote. `now` is the time of day in µs since 1970.

    Beside writing it publishes what is to be published early; until that is through it writes on and saves ids.
    """
    publishing = asyncio.create_task(asyncio.to_thread(writing.folder.publish_early, bench.stop))
    try:
        return await _write(bench, ledger, clock, writing, now, publishing)
    finally:
        await publishing


async def _write(
    bench: Bench, ledger: Ledger, clock: Clock, writing: Writing, now: Callable[[], int], beside: "asyncio.Task[None]"
) -> int:
    ends = clock.monotonic() + bench.seconds
    written, waited_since, ids_due = 0, clock.monotonic(), 0.0
    while clock.monotonic() < ends or not beside.done():
        if clock.monotonic() >= ids_due or bench.stop():
            await save_ids(ledger, writing)
            ids_due = clock.monotonic() + writing.folder.ids_every_s
        run = await ledger.snapshot(bench.run_id)
        if run is None:
            return written
        now_s = clock.monotonic()
        if run.results == 0:
            waited_since = now_s
            # beside the publishing rows may yet be accepted, and nobody else saves their ids
            if bench.stop() or (run.in_flight == 0 and beside.done()):
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
    columns = _columns(in_order(batch.items), writing, now())
    await asyncio.to_thread(writing.folder.write_part, card.epoch, batch.start, batch.end, columns)
    await ledger.results_written(card.run_id, batch)
    return len(batch.items)


def _columns(items: Sequence[bytes], writing: Writing, collected_us: int) -> Iterator[Columns]:
    """Ended rows as columns, some at a time."""
    requests, judging = writing.folder.requests(), writing.folder.judging()
    for some in steps(items):
        indexes = [row_index_of(item) for item in some]
        yield columns_of(some, indexes, requests.models(indexes), writing.prices, collected_us, judging)


def steps(items: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Items in their order, as many at a time as both bounds allow, and at least one."""
    start = size = 0
    for place, item in enumerate(items):
        if place > start and (place - start >= STEP_ROWS or size + len(item) > STEP_BYTES):
            yield items[start:place]
            start, size = place, 0
        size += len(item)
    if start < len(items):
        yield items[start:]


async def save_ids(ledger: Ledger, writing: Writing) -> None:
    """Save accepted ids, so that what was paid for survives the loss of Redis."""
    card = writing.card
    batch = await ledger.accepted_ids(card.run_id, IDS)
    if batch.items:
        await asyncio.to_thread(writing.folder.save_ids, card.epoch, batch.start, batch.end, batch.items)
        await ledger.accepted_saved(card.run_id, batch)
