"""Top the ledger up from the planned requests, a window at a time.

The high-water mark is on disk before rows are pushed, so that without Redis it is still known which rows may have been
sent; the push is a compare-and-set on the cursor, so that two feeders never push a row twice. Rows that an earlier,
lost ledger was fed come back with what the disk knows of them.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.core.policy import Policy
from pipeline.core.recovery import SavedId, recovered
from pipeline.core.requests import Request
from pipeline.core.snapshot import FEED_WINDOW_BYTES, FEED_WINDOW_ROWS, RunSnapshot
from pipeline.ports import FedRow, Ledger, RunFolder

STEP_ROWS = 1_000
STEP_BYTES = 4 * 1024 * 1024
"""Rows and bytes of one push: a script of some milliseconds, so that it holds up nobody."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the disk knows of rows that were fed to a lost ledger."""

    ended: frozenset[int]
    ids: dict[int, list[SavedId]]


async def feed(run: RunSnapshot, ledger: Ledger, folder: RunFolder, policy: Policy) -> int:
    """Fill the window; the number of rows that were pushed."""
    requests = folder.requests()
    known = known_from(folder) if run.fed < run.recover_until else None
    cursor, pushed, bytes_pushed = run.fed, 0, run.bodies_bytes
    while cursor < run.total and run.ready + pushed < FEED_WINDOW_ROWS and bytes_pushed < FEED_WINDOW_BYTES:
        recovering = known is not None and cursor < run.recover_until
        until = min(cursor + STEP_ROWS, run.recover_until if recovering else run.total)
        batch = _one_push(requests.read(cursor, until - cursor))
        until = cursor + len(batch)
        rows = _recovered(batch, known, policy, run.now_ms) if known and recovering else _fresh(batch)
        folder.mark_fed(until)
        if not await ledger.feed(run.run_id, cursor, until, rows):
            return pushed
        cursor, pushed = until, pushed + len(rows)
        bytes_pushed += sum(len(row.body) for row in rows)
    return pushed


def known_from(folder: RunFolder) -> Known:
    """Read what the parts and the saved ids tell."""
    ids: defaultdict[int, list[SavedId]] = defaultdict(list)
    for row_index, generation_id, accepted_at, attempt, resubmits in folder.saved_ids():
        ids[row_index].append(SavedId(attempt, accepted_at, generation_id, resubmits))
    return Known(frozenset(row_index for row_index, _ in folder.ended_rows()), dict(ids))


def _one_push(batch: Sequence[Request]) -> Sequence[Request]:
    """As much of a batch as one push takes, one request at least."""
    total = 0
    for place, request in enumerate(batch):
        total += request.size
        if total > STEP_BYTES and place:
            return batch[:place]
    return batch


def _fresh(batch: Sequence[Request]) -> list[FedRow]:
    return [FedRow(request.row_index, request.body()) for request in batch]


def _recovered(batch: Sequence[Request], known: Known, policy: Policy, now_ms: int) -> list[FedRow]:
    rows: list[FedRow] = []
    for request in batch:
        if request.row_index not in known.ended:
            record = recovered(known.ids.get(request.row_index, ()), policy, now_ms)
            known_as = None if record is None else replace(record, model=request.model)
            rows.append(FedRow(request.row_index, request.body(), known_as, lost=record is None))
    return rows
