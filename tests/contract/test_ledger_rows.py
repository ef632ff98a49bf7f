"""Rows: fed once, claimed by one, committed under a token, taken over after a lease."""

from dataclasses import replace

import pytest

from pipeline.core.answers import (
    Accepted,
    Ambiguous,
    Completed,
    Completion,
    Failed,
    NothingSent,
    NotNow,
    Problem,
    Refused,
    Running,
)
from pipeline.core.late import LateId, late_line
from pipeline.core.lifecycle import Event, Outcome, State
from pipeline.core.records import Ending, RowRecord, unpack_result
from pipeline.core.rows import Rows
from pipeline.core.steps import Step
from pipeline.core.submitting import after_late_id
from pipeline.ports import Commit, FedRow

pytestmark = pytest.mark.anyio

LOST = Problem("worker_lost", "nobody answered")
LEASE_MS = 10_000


def indexes(claim):
    return [row.row_index for row in claim.rows]


async def test_rows_go_out_in_the_order_of_the_manifest(world):
    await world.open(rows=25)
    assert indexes(await world.claim(limit=12)) == list(range(12))
    assert indexes(await world.claim(limit=100)) == list(range(12, 25))


async def test_a_row_comes_with_the_body_that_was_fed_and_a_fresh_record(world):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    assert (row.body, row.record, row.claimed_at_ms) == (b'{"row":0}', RowRecord(), world.clock())


async def test_a_claim_is_exclusive(world):
    await world.open(rows=4)
    first, second = await world.claim(limit=3), await world.claim(limit=3, holder="worker-2")
    assert (indexes(first), indexes(second)) == ([0, 1, 2], [3])
    assert {row.token for row in first.rows}.isdisjoint(row.token for row in second.rows)


async def test_an_empty_claim_says_why_and_how_long_to_wait(world):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    nothing = await world.claim()
    assert (nothing.rows, nothing.bound, nothing.wait_ms) == ((), "empty", 250)
    await world.commit(world.sent(row, NotNow(LOST, retry_after=7.0)))
    later = await world.claim()
    assert (later.rows, later.bound, later.wait_ms) == ((), "not before", 7_000)


async def test_a_row_that_was_not_created_is_ready_again_at_its_time_and_not_before(world):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    await world.commit(world.sent(row, NotNow(LOST, retry_after=7.0)))
    world.clock.advance(6_999)
    assert indexes(await world.claim()) == []
    world.clock.advance(1)
    assert indexes(await world.claim()) == [0]


async def test_an_accepted_row_is_polled_when_the_schedule_says(world):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    assert await world.commit(world.sent(row, Accepted("task-1"))) == [True]
    early = await world.polls()
    assert (early.rows, early.bound, early.wait_ms) == ((), "not before", 5_000)
    world.clock.advance(5_000)
    [due] = (await world.polls()).rows
    assert (due.row_index, due.record.generation_id, due.record.attempts) == (0, "task-1", 1)
    assert (due.before, due.body) == ("", b"")


async def test_a_poll_that_is_not_ready_comes_back_and_counts(world):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    await world.commit(world.sent(row, Accepted("task-1")))
    for polls in range(3):
        world.clock.advance(5_000)
        [due] = (await world.polls()).rows
        assert due.record.polls == polls
        assert await world.commit(world.polled(due, Running("processing"))) == [True]


async def test_a_completed_row_leaves_the_ledger_for_the_results(world):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    await world.commit(world.sent(row, Accepted("task-1")))
    world.clock.advance(5_000)
    [due] = (await world.polls()).rows
    await world.commit(world.polled(due, Completed(Completion(content="a dog", prompt_tokens=7))))
    run = await world.look()
    assert (run.ready, run.submitting, run.pending, run.results, run.bodies_bytes) == (0, 0, 0, 1, 0)
    [packed] = (await world.ledger.results(world.run, 10)).items
    result = unpack_result(packed)
    assert (result.row_index, result.record.generation_id, result.record.polls) == (0, "task-1", 1)
    assert result.ending.completion == Completion(content="a dog", prompt_tokens=7)


async def test_a_stale_token_changes_nothing(world):
    row = await given_up_row(world)
    before = await world.look()
    late = [world.sent(row, Accepted("task-late")), world.sent(row, NothingSent(LOST)), world.sent(row, Refused(LOST))]
    assert await world.commit(*late) == [False, False, False]
    assert await world.look() == before


@pytest.mark.parametrize("answer", [Accepted("task-late"), NothingSent(LOST), Refused(LOST)])
async def test_the_answer_of_a_late_worker_goes_before_the_one_who_took_the_row_over(world, answer):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    world.clock.advance(LEASE_MS)
    [taken] = (await world.lapsed()).rows
    late, reaped = world.sent(row, answer), world.lost(taken, LOST)
    assert await world.commit(late) == [True]
    after = await world.look()
    assert await world.commit(reaped, late) == [False, False]
    assert await world.look() == after
    assert (after.submitting, after.possible_duplicates) == (0, 0)


async def test_whoever_took_a_row_over_second_goes_before_the_first_and_after_the_late_worker(world):
    await world.open(rows=2)
    rows = (await world.claim()).rows
    world.clock.advance(LEASE_MS)
    first = (await world.lapsed(holder="reaper-1")).rows
    world.clock.advance(LEASE_MS)
    second = (await world.lapsed(holder="reaper-2")).rows
    assert await world.commit(*(world.lost(row, LOST) for row in first)) == [False, False]
    assert await world.commit(world.sent(rows[0], Accepted("task-0"))) == [True]
    assert await world.commit(*(world.lost(row, LOST) for row in second)) == [False, True]
    run = await world.look()
    assert (run.pending, run.ready, run.submitting) == (1, 1, 0)


async def test_a_row_that_was_taken_out_is_given_up_only_as_long_as_its_adopter_is_silent(world):
    sent = await given_up_row(world)
    taken = await world.ledger.take_ready(world.run, "worker-1", 0)
    world.clock.advance(LEASE_MS)
    [reaped] = (await world.lapsed()).rows
    assert reaped.before == taken.token
    step = after_late_id(taken.record, world.sent(sent, Accepted("task-late")).step.record, sent.token)
    assert await world.commit(Commit(0, taken.token, step), world.lost(reaped, LOST)) == [True, False]
    run = await world.look()
    assert (run.pending, run.ready, run.submitting) == (1, 0, 0)


async def test_a_token_works_once(world):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    commit = world.sent(row, Accepted("task-1"))
    assert await world.commit(commit, commit) == [True, False]
    assert (await world.look()).accepted == 1


async def test_a_commit_for_a_row_that_nobody_claimed_is_stale(world):
    await world.open(rows=1)
    step = Step(State.SUBMITTING, Event.REFUSED, RowRecord())
    assert await world.commit(Commit(0, "", step), Commit(7, "1:made-up:1", step)) == [False, False]


async def test_a_claim_that_nobody_renews_can_be_taken_over_after_its_lease(world):
    await world.open(rows=2)
    claimed_at = world.clock()
    rows = (await world.claim(limit=1)).rows
    world.clock.advance(LEASE_MS - 1)
    assert indexes(await world.lapsed()) == []
    world.clock.advance(1)
    assert (await world.look()).lapsed == 1
    [taken] = (await world.lapsed()).rows
    assert (taken.claimed_at_ms, taken.before) == (claimed_at, rows[0].token)
    assert taken.token != rows[0].token
    assert indexes(await world.lapsed(holder="reaper-2")) == []


async def test_a_second_takeover_still_knows_when_and_by_whom_the_row_was_sent(world):
    await world.open(rows=1)
    claimed_at = world.clock()
    [row] = (await world.claim()).rows
    seen = set()
    for reaper in ("reaper-1", "reaper-2", "reaper-3"):
        world.clock.advance(LEASE_MS)
        [taken] = (await world.lapsed(holder=reaper)).rows
        assert (taken.claimed_at_ms, taken.before) == (claimed_at, row.token)
        seen.add(taken.token)
    assert len(seen) == 3


async def test_renewing_keeps_a_row_in_hand(world):
    await world.open(rows=2)
    rows = (await world.claim()).rows
    world.clock.advance(LEASE_MS - 1)
    await world.ledger.renew(world.run, State.SUBMITTING, {rows[0].row_index: rows[0].token})
    world.clock.advance(1)
    assert indexes(await world.lapsed()) == [1]


async def test_renewing_extends_only_rows_that_are_still_ours(world):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    world.clock.advance(LEASE_MS)
    await world.lapsed()
    world.clock.advance(LEASE_MS)
    await world.ledger.renew(world.run, State.SUBMITTING, {0: row.token, 5: "1:made-up:1"})
    run = await world.look()
    assert (run.lapsed, run.submitting) == (1, 1)


async def test_renewing_a_committed_row_does_not_hold_it_back(world):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    await world.commit(world.sent(row, Accepted("task-1")))
    await world.ledger.renew(world.run, State.PENDING, {0: row.token})
    world.clock.advance(5_000)
    assert indexes(await world.polls()) == [0]


async def test_renewing_under_the_wrong_state_puts_a_row_nowhere(world):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    await world.ledger.renew(world.run, State.PENDING, {0: row.token})
    await world.ledger.renew(world.run, State.READY, {0: row.token})
    run = await world.look()
    assert (run.ready, run.submitting, run.pending) == (0, 1, 0)


async def test_a_dead_pollers_rows_are_polled_by_another(world):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    await world.commit(world.sent(row, Accepted("task-1")))
    world.clock.advance(5_000)
    [held] = (await world.polls()).rows
    assert indexes(await world.polls(holder="poller-2")) == []
    world.clock.advance(LEASE_MS)
    [again] = (await world.polls(holder="poller-2")).rows
    assert await world.commit(world.polled(held, Running("pending")), world.polled(again, Running("pending"))) == [
        False,
        True,
    ]


async def test_a_lost_post_is_counted_and_resent_no_sooner_than_one_more_lease(world):
    await world.open(rows=1)
    await world.claim()
    world.clock.advance(LEASE_MS)
    [taken] = (await world.lapsed()).rows
    await world.commit(world.lost(taken, LOST))
    world.clock.advance(LEASE_MS - 1)
    assert indexes(await world.claim()) == []
    world.clock.advance(1)
    [again] = (await world.claim()).rows
    assert (again.record.attempts, again.record.possible_duplicate, again.record.given_up) == (1, True, taken.before)
    assert [attempt.outcome for attempt in again.record.log] == [Outcome.UNKNOWN]


async def given_up_row(world):
    await world.open(rows=1)
    [sent] = (await world.claim()).rows
    world.clock.advance(LEASE_MS)
    [taken] = (await world.lapsed()).rows
    await world.commit(world.lost(taken, LOST))
    return sent


async def test_a_late_id_is_adopted_by_a_row_that_waits_to_be_resent(world):
    sent = await given_up_row(world)
    late = world.sent(sent, Accepted("task-late"))
    assert await world.commit(late) == [False]
    row = await world.ledger.take_ready(world.run, "worker-1", 0)
    assert row.record.given_up == sent.token
    step = after_late_id(row.record, late.step.record, sent.token)
    assert await world.commit(Commit(0, row.token, step)) == [True]
    run = await world.look()
    assert (run.ready, run.submitting, run.pending, run.accepted) == (0, 0, 1, 1)
    [due] = (await world.polls()).rows
    assert (due.record.generation_id, due.record.possible_duplicate) == ("task-late", False)


async def test_only_a_ready_row_can_be_taken_out(world):
    await world.open(rows=2)
    [row] = (await world.claim(limit=1)).rows
    assert await world.ledger.take_ready(world.run, "worker-1", 0) is None
    assert await world.ledger.take_ready(world.run, "worker-1", 9) is None
    await world.commit(world.sent(row, Accepted("task-1")))
    assert await world.ledger.take_ready(world.run, "worker-1", 0) is None


async def test_a_row_that_was_taken_out_is_nobody_elses(world):
    await world.open(rows=1)
    assert await world.ledger.take_ready(world.run, "worker-1", 0) is not None
    assert await world.ledger.take_ready(world.run, "worker-2", 0) is None
    assert indexes(await world.claim()) == []


async def test_a_row_that_was_put_back_is_as_it_was_after_one_lease(world):
    await given_up_row(world)
    row = await world.ledger.take_ready(world.run, "worker-1", 0)
    await world.ledger.put_back(world.run, row)
    assert indexes(await world.claim()) == []
    world.clock.advance(LEASE_MS)
    [again] = (await world.claim()).rows
    assert again.record == row.record
    assert again.body == b'{"row":0}'


async def test_putting_back_a_row_that_went_elsewhere_changes_nothing(world):
    await world.open(rows=1)
    row = await world.ledger.take_ready(world.run, "worker-1", 0)
    world.clock.advance(LEASE_MS)
    await world.lapsed()
    before = await world.look()
    await world.ledger.put_back(world.run, row)
    assert await world.look() == before


async def test_an_id_that_comes_too_late_to_adopt_is_kept_for_the_disk(world):
    await world.open(rows=1)
    late = LateId(0, "task-late", 1, 1)
    await world.ledger.note_late(world.run, late)
    assert (await world.ledger.accepted_ids(world.run, 10)).items == (late_line(late),)
    assert (await world.look()).accepted == 0


async def test_feeding_is_a_compare_and_set_on_the_cursor(world):
    await world.open(rows=2)
    assert not await world.ledger.feed(world.run, 0, 3, [FedRow(2, b"{}")])
    assert not await world.ledger.feed(world.run, 3, 4, [FedRow(3, b"{}")])
    assert (await world.look()).ready == 2
    assert await world.ledger.feed(world.run, 2, 4, [FedRow(2, b"{}"), FedRow(3, b"{}")])
    run = await world.look()
    assert (run.ready, run.fed, run.bodies_bytes) == (4, 4, 2 * len(b'{"row":0}') + 4)


async def test_the_cursor_moves_over_rows_that_need_nothing(world):
    await world.open(rows=1)
    assert await world.ledger.feed(world.run, 1, 5, [])
    assert (await world.look()).fed == 5


async def test_a_fed_row_whose_generation_is_known_is_polled_and_not_sent(world):
    card = world.card()
    await world.ledger.open_run(card, recover_until=2, ended={}, done=Rows())
    known = RowRecord(attempts=1, generation_id="task-1", submitted_at=5)
    flagged = RowRecord(attempts=1, possible_duplicate=True)
    await world.ledger.feed(world.run, 0, 2, [FedRow(0, b"{}", known), FedRow(1, b"{}", flagged)])
    assert [(row.row_index, row.record) for row in (await world.polls()).rows] == [(0, known)]
    world.clock.advance(LEASE_MS)
    assert [(row.row_index, row.record) for row in (await world.claim()).rows] == [(1, flagged)]


async def test_a_failed_row_keeps_its_attempts_in_its_log(world):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    await world.commit(world.sent(row, Accepted("task-1")))
    world.clock.advance(5_000)
    [due] = (await world.polls()).rows
    await world.commit(world.polled(due, Failed(Problem("timeout", "too slow"), retryable=True)))
    world.clock.advance(1_000)
    [again] = (await world.claim()).rows
    assert [attempt.generation_id for attempt in again.record.log] == ["task-1"]
    assert (again.record.generation_id, again.record.attempts) == (None, 1)


async def test_an_ambiguous_answer_ends_the_row_when_the_policy_holds(world):
    await world.open(rows=1, on_unknown="hold")
    [row] = (await world.claim()).rows
    await world.commit(world.sent(row, Ambiguous(LOST), on_unknown="hold"))
    assert (await world.look()).outcomes[Outcome.UNKNOWN] == 1


async def test_a_second_end_is_counted_and_never_written_twice(world):
    card = world.card()
    await world.ledger.open_run(card, recover_until=2, ended={"completed": 1}, done=Rows([1]))
    await world.ledger.feed(world.run, 0, 2, [FedRow(0, b"{}"), FedRow(1, b"{}")])
    rows = (await world.claim()).rows
    assert await world.commit(*(world.sent(row, Refused(LOST)) for row in rows)) == [True, True]
    run = await world.look()
    assert (run.double_ends, run.results, run.ended) == (1, 1, 2)
    assert (run.outcomes[Outcome.COMPLETED], run.outcomes[Outcome.REFUSED], run.bodies_bytes) == (1, 1, 0)


async def test_a_cancelled_row_leaves_by_way_of_take_ready(world):
    await world.open(rows=1)
    row = await world.ledger.take_ready(world.run, "worker-1", 0)
    step = Step(State.READY, Event.CANCELLED, row.record, ending=Ending(Outcome.CANCELLED, 1))
    assert await world.commit(Commit(0, row.token, step)) == [True]
    run = await world.look()
    assert (run.ready, run.submitting, run.outcomes[Outcome.CANCELLED]) == (0, 0, 1)


async def test_runs_do_not_share_rows(world):
    await world.open(rows=1)
    await world.open(rows=2, run_id="run-20260101-two")
    [row] = (await world.claim()).rows
    other = await world.claim(run_id="run-20260101-two", holder="worker-2")
    assert indexes(other) == [0, 1]
    stranger = replace(other.rows[0], token=row.token)
    assert await world.commit(world.sent(stranger, Refused(LOST)), run_id="run-20260101-two") == [False]


async def test_rows_of_a_claim_whose_reply_was_lost_are_given_back_and_nobody_is_in_doubt(world):
    await world.open(rows=6)
    [known] = (await world.claim(limit=1)).rows
    await world.claim(limit=2)
    [others] = (await world.claim(limit=1, holder="worker-2")).rows
    assert await world.ledger.unclaim(world.run, "worker-1", [known.row_index]) == 2
    assert await world.ledger.unclaim(world.run, "worker-1", [known.row_index]) == 0
    assert [row.row_index for row in (await world.claim(limit=2)).rows] == [1, 2]
    assert (
        await world.commit(world.sent(known, Accepted("task-1")), world.sent(others, Accepted("task-2"))) == [True] * 2
    )


async def test_rows_that_were_taken_over_meanwhile_are_not_given_back(world):
    await world.open(rows=1)
    await world.claim()
    world.clock.advance(LEASE_MS)
    [taken] = (await world.lapsed()).rows
    assert await world.ledger.unclaim(world.run, "worker-1", []) == 0
    assert await world.commit(world.lost(taken, LOST)) == [True]


async def test_a_row_that_waits_for_its_second_attempt_is_given_back_with_what_is_known_of_it(world):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    await world.commit(world.sent(row, Ambiguous(LOST)))
    world.clock.advance(2 * LEASE_MS + 60_000)
    [again] = (await world.claim()).rows
    assert await world.ledger.unclaim(world.run, "worker-1", []) == 1
    assert (await world.claim()).rows[0].record == again.record


async def test_where_a_row_stands_is_seen_without_touching_it(world):
    await world.open(rows=3)
    assert (await world.ledger.row_seen(world.run, 7)).state is None
    [row] = (await world.claim(limit=1)).rows
    assert [(await world.ledger.row_seen(world.run, index)).state for index in range(2)] == ["submitting", "ready"]
    await world.commit(world.sent(row, Accepted("task-1", "/its/stream")))
    seen = await world.ledger.row_seen(world.run, 0)
    assert (seen.state, seen.record.generation_id, seen.record.stream) == ("pending", "task-1", "/its/stream")
    world.clock.advance(60_000)
    [row] = (await world.polls()).rows
    await world.commit(world.polled(row, Completed(Completion(content="good"))))
    seen = await world.ledger.row_seen(world.run, 0)
    assert (seen.state, seen.record) == ("done", RowRecord())
