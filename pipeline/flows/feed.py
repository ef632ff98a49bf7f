"""Top the ledger up from the planned requests, a window at a time.

The high-water mark is on disk before rows are pushed, so that without Redis it is still known which rows may have been
sent; the push is a compare-and-set on the cursor, so that two feeders never push a row twice. Rows that an earlier,
lost ledger was fed come back with what the disk knows of them; those that ended are passed over, however many.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipeline.core.policy import Policy
from pipeline.core.recovery import SavedId, beside, recovered
from pipeline.core.requests import Request
from pipeline.core.snapshot import FEED_WINDOW_BYTES, FEED_WINDOW_ROWS, RunSnapshot
from pipeline.ports import FedRow, Ledger, Requests, RunFolder

STEP_ROWS = 1_000
STEP_BYTES = 4 * 1024 * 1024
"""Rows and bytes of one push: a script of some milliseconds, so that it holds up nobody."""

_Pushes = Iterator[tuple[int, list[FedRow]]]
"""One push after the other: the cursor after it, and its rows."""


async def feed(run: RunSnapshot, ledger: Ledger, folder: RunFolder, policy: Policy) -> int:
    """Fill the window; the number of rows that were pushed."""
    cursor, pushed, bytes_pushed = run.fed, 0, run.bodies_bytes
    pushes = _pushes(run, folder, policy)
    while cursor < run.total and run.ready + pushed < FEED_WINDOW_ROWS and bytes_pushed < FEED_WINDOW_BYTES:
        until, rows = next(pushes)
        folder.mark_fed(until)
        if not await ledger.feed(run.run_id, cursor, until, rows):
            return pushed
        for late in (late for row in rows for late in row.late):
            await ledger.note_late(run.run_id, late)
        cursor, pushed = until, pushed + len(rows)
        bytes_pushed += sum(len(row.body) for row in rows)
    return pushed


def _pushes(run: RunSnapshot, folder: RunFolder, policy: Policy) -> _Pushes:
    requests, cursor = folder.requests(), run.fed
    while cursor < run.recover_until:
        for until, rows in _recovered(run, cursor, requests, folder, policy):
            yield until, rows
            cursor = until
    while cursor < run.total:
        batch = _one_push(requests.read(cursor, STEP_ROWS))
        cursor += len(batch)
        yield cursor, [FedRow(request.row_index, request.body()) for request in batch]


def _recovered(run: RunSnapshot, cursor: int, requests: Requests, folder: RunFolder, policy: Policy) -> _Pushes:
    """A window of rows that were fed to a lost ledger, and have no end, as far as they go."""
    ended = folder.ended().rows
    found = requests.besides(ended, cursor, run.recover_until, FEED_WINDOW_ROWS)
    positions, indexes = [position for position, _ in found], [row_index for _, row_index in found]
    last = run.recover_until if len(found) < FEED_WINDOW_ROWS else positions[-1] + 1
    ids: defaultdict[int, list[SavedId]] = defaultdict(list)
    for row_index, generation_id, accepted_at, attempt, resubmits in folder.open_ids(ended, _span(indexes)):
        ids[row_index].append(SavedId(attempt, accepted_at, generation_id, resubmits))
    pushed = 0
    while pushed < len(found):
        asked = requests.rows(indexes[pushed : pushed + STEP_ROWS])
        batch = _one_push([asked[row_index] for row_index in indexes[pushed : pushed + STEP_ROWS]])
        pushed += len(batch)
        rows = [_as_known(request, ids.get(request.row_index, ()), policy, run.now_ms) for request in batch]
        yield positions[pushed] if pushed < len(found) else last, rows
    if not found:
        yield last, []


def _span(indexes: Sequence[int]) -> range:
    return range(indexes[0], indexes[-1] + 1) if indexes else range(0)


def _one_push(batch: Sequence[Request]) -> Sequence[Request]:
    """As much of a batch as one push takes, one request at least."""
    total = 0
    for place, request in enumerate(batch):
        total += request.size
        if total > STEP_BYTES and place:
            return batch[:place]
    return batch


def _as_known(request: Request, ids: Sequence[SavedId], policy: Policy, now_ms: int) -> FedRow:
    """A row that may have been sent, with what the disk knows of it."""
    record = recovered(ids, policy, now_ms)
    known_as = None if record is None else replace(record, model=request.model)
    late = beside(request.row_index, ids, policy, request.model)
    return FedRow(request.row_index, request.body(), known_as, lost=record is None, late=late)
