"""A run that is being cancelled gives every row its end, those that the ledger has not seen yet included."""

import asyncio
from dataclasses import replace

from pipeline.core.lifecycle import Outcome
from pipeline.core.policy import Policy
from pipeline.core.requests import Request
from pipeline.core.rows import Rows
from pipeline.core.snapshot import FEED_WINDOW_ROWS, RESULTS_BYTES, RunState
from pipeline.core.tickets import Capacity, Role, tickets_due
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.flows.cancel import cancel
from pipeline.ports import RunCard

TOTAL = FEED_WINDOW_ROWS + 2_500
CARD = RunCard("run-1", "api#key", "https://api", "key", "out", "secret", "e1", TOTAL, Policy())
CAPACITY = Capacity(dict.fromkeys(Role, 2), dict.fromkeys(Role, 0))


class Planned:
    """A run folder with nothing but requests."""

    total = TOTAL

    def __init__(self):
        self.marks = []

    def requests(self):
        return self

    def read(self, position, count):
        last = min(TOTAL, position + count)
        return [
            Request(i, str(i), i + 2, "m", "Describe.", ("https://v.example/1.mp4",)) for i in range(position, last)
        ]

    def mark_fed(self, until):
        self.marks.append(until)


def roles(run):
    return {ticket.role for ticket in tickets_due([run], CAPACITY)}


def test_every_row_ends_though_most_were_never_fed():
    async def act():
        ledger, folder = MemoryLedger(lambda: 1_000_000), Planned()
        await ledger.open_run(CARD, recover_until=0, ended={}, done=Rows(), state=RunState.CANCELLING)
        tickets = 0
        while Role.CONTROL in roles(run := await ledger.snapshot("run-1")) and run.fed + run.ready < TOTAL + run.ready:
            tickets += 1
            await cancel(run, ledger, folder, CARD.policy)
        return run, folder, tickets

    run, folder, tickets = asyncio.run(act())
    assert (run.outcomes[Outcome.CANCELLED], run.ready, run.fed) == (TOTAL, 0, TOTAL)
    assert folder.marks[-1] == TOTAL
    assert tickets == 2
    assert roles(run) == {Role.WRITE}
    assert roles(replace(run, results=0, results_bytes=0)) == {Role.CONTROL}, "then it is finalized"


def test_results_that_wait_for_the_writer_hold_it_up():
    async def act():
        ledger = MemoryLedger(lambda: 1_000_000)
        await ledger.open_run(CARD, recover_until=0, ended={}, done=Rows(), state=RunState.CANCELLING)
        run = await ledger.snapshot("run-1")
        return await cancel(replace(run, results_bytes=RESULTS_BYTES), ledger, Planned(), CARD.policy)

    assert asyncio.run(act()) == 0


def test_nothing_is_sent_and_what_is_pending_is_asked_for():
    async def act():
        ledger = MemoryLedger(lambda: 1_000_000)
        await ledger.open_run(CARD, recover_until=0, ended={}, done=Rows(), state=RunState.CANCELLING)
        return await ledger.snapshot("run-1")

    run = replace(asyncio.run(act()), ready=5, ready_due=5, pending=5, pending_due=5)
    assert roles(run) == {Role.POLL, Role.CONTROL}
