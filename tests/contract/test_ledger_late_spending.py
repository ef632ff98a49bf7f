"""What late ids used is spent once, and frees no reservation but their own row's."""

from dataclasses import replace

import pytest

from pipeline.core.answers import Accepted, Ambiguous, Problem, Running
from pipeline.core.budget import Budget, Reservation
from pipeline.core.late import LateId, late_of
from pipeline.core.records import RowRecord
from pipeline.core.recovery import SavedId, recovered
from pipeline.core.rows import Rows
from pipeline.core.submitting import after_late_id
from pipeline.edges.clock import MachineClock
from pipeline.flows.late import late_shift
from pipeline.flows.shift import Bench
from pipeline.flows.submit import adopt
from pipeline.ports import Commit, FedRow
from tests.contract.test_ledger_budget import done, open_with

pytestmark = pytest.mark.anyio

LOST = Problem("connection_lost", "no answer came")


class Api:
    """Gives every query the same answer."""

    def __init__(self, answer):
        self._answer = answer

    async def query(self, _generation_id):
        return self._answer


def bench(world, role):
    return Bench(world.run, role, "worker-1", 96, 10.0, 10.0, lambda: False)


async def asked_for(world, answer):
    world.clock.advance(120_000)
    await late_shift(bench(world, "poll"), world.ledger, Api(answer), MachineClock(), world.card().policy)


async def open_anew(world, *records):
    """A ledger that was made anew: each of its rows may have been sent before, as its record says."""
    card = replace(world.card(total=len(records)), budget=Budget(tokens=1_000))
    await world.ledger.open_run(card, recover_until=len(records), ended={}, done=Rows())
    await world.ledger.set_reservation(world.run, Reservation(100, 1_000))
    rows = [FedRow(index, b"{}", record) for index, record in enumerate(records)]
    await world.ledger.feed(world.run, 0, len(rows), rows)


async def test_an_id_that_is_offered_again_when_its_row_has_ended_is_spent_once(world):
    await open_with(world, Budget(tokens=10_000))
    first, doubtful = (await world.claim(limit=2)).rows
    await world.commit(world.sent(doubtful, Ambiguous(LOST)))
    accepted = world.sent(first, Accepted("task-0"))
    await world.commit(accepted)  # its reply is lost
    world.clock.advance(6_000)
    await world.commit(world.polled((await world.polls()).rows[0], done(90, 0.0)))
    assert await world.commit(accepted) == [False]
    assert await adopt(bench(world, "submit"), world.ledger, accepted, {})
    await asked_for(world, done(90, 0.0))
    spending = (await world.look()).spending
    assert (spending.tokens, spending.kept_tokens) == (90, 100)


async def test_a_late_id_that_is_noted_again_while_it_is_asked_for_is_spent_once(world):
    await open_with(world, Budget(tokens=10_000))
    one, other = (await world.claim(limit=2)).rows
    await world.commit(world.sent(one, Ambiguous(LOST)), world.sent(other, Ambiguous(LOST)))
    late = late_of(one.row_index, world.sent(one, Accepted("task-late")).step.record)
    await world.ledger.note_late(world.run, late)  # its reply is lost
    await asked_for(world, Running("processing"))
    await world.ledger.note_late(world.run, late)
    for _ in range(2):
        await asked_for(world, done(150, 0.0))
    spending = (await world.look()).spending
    assert (spending.tokens, spending.kept_tokens) == (150, 100)


async def test_a_late_id_of_a_post_for_which_nothing_was_kept_frees_nobody_elses_reservation(world):
    policy, now = world.card().policy, world.clock()
    await open_anew(world, recovered([SavedId(1, 5, "task-a")], policy, now), recovered((), policy, now))
    assert (await world.look()).spending.kept_tokens == 100
    await world.ledger.note_late(world.run, LateId(0, "task-b", 9, 2))
    await asked_for(world, done(50, 0.0))
    spending = (await world.look()).spending
    assert (spending.tokens, spending.kept_tokens) == (50, 100)


async def test_an_id_of_a_lost_ledger_that_its_row_takes_up_keeps_nothing_beside_the_row_in_flight(world):
    await open_anew(world, recovered((), world.card().policy, world.clock()))
    assert (await world.look()).spending.kept_tokens == 100
    taken = await world.ledger.take_ready(world.run, "worker-1-late", 0)
    late = replace(RowRecord(), attempts=1, generation_id="task-0", submitted_at=5)
    step = after_late_id(taken.record, late, "1:other:1")
    assert await world.commit(Commit(0, taken.token, step)) == [True]
    spending = (await world.look()).spending
    assert (spending.kept_tokens, spending.in_flight) == (0, 1)


async def test_a_late_id_that_tells_no_usage_leaves_its_reservation(world):
    await open_with(world, Budget(tokens=10_000))
    (row,) = (await world.claim(limit=1)).rows
    await world.commit(world.sent(row, Ambiguous(LOST)))
    late = late_of(row.row_index, world.sent(row, Accepted("task-late")).step.record)
    await world.ledger.note_late(world.run, late)
    answer = done(90, 0.0)
    untold = replace(answer, completion=replace(answer.completion, prompt_tokens=None))
    await asked_for(world, untold)
    assert (await world.look()).spending.kept_tokens == 100
