"""What leaves the ledger: results and accepted ids in noted ranges, each written once whatever crashes; and counts."""

import orjson
import pytest

from pipeline.core.answers import Accepted, Ambiguous, Completed, Completion, Problem, Refused
from pipeline.core.lifecycle import Outcome
from pipeline.core.records import unpack_result
from pipeline.core.rows import Rows
from pipeline.ports import Batch, FedRow

pytestmark = pytest.mark.anyio

NO = Refused(Problem("invalid_param", "no"))


async def ended(world, rows):
    await world.open(rows=rows)
    await world.commit(*(world.sent(row, NO) for row in (await world.claim(limit=rows)).rows))


def rows_of(batch):
    return [unpack_result(item).row_index for item in batch.items]


async def test_results_come_in_the_order_of_their_ends(world):
    await ended(world, 5)
    batch = await world.ledger.results(world.run, 3)
    assert (batch.start, batch.end, rows_of(batch)) == (0, 3, [0, 1, 2])


async def test_a_range_is_given_again_until_it_is_acknowledged_whatever_came_meanwhile(world):
    await ended(world, 2)
    before = await world.ledger.results(world.run, 10)
    await world.ledger.feed(world.run, 2, 4, [FedRow(2, b"{}"), FedRow(3, b"{}")])
    await world.commit(*(world.sent(row, NO) for row in (await world.claim()).rows))
    assert await world.ledger.results(world.run, 1) == before
    assert await world.ledger.results(world.run, 10) == before


async def test_an_acknowledged_range_is_gone_and_the_next_one_follows(world):
    await ended(world, 5)
    first = await world.ledger.results(world.run, 3)
    assert await world.ledger.results_written(world.run, first)
    second = await world.ledger.results(world.run, 3)
    assert (second.start, second.end, rows_of(second)) == (3, 5, [3, 4])


async def test_a_range_is_acknowledged_once(world):
    await ended(world, 5)
    batch = await world.ledger.results(world.run, 3)
    assert await world.ledger.results_written(world.run, batch)
    assert not await world.ledger.results_written(world.run, batch)
    assert (await world.look()).results == 2


async def test_a_range_that_was_never_noted_can_not_be_acknowledged(world):
    await ended(world, 3)
    noted = await world.ledger.results(world.run, 3)
    assert not await world.ledger.results_written(world.run, Batch(0, noted.items[:2]))
    assert not await world.ledger.results_written(world.run, Batch(1, noted.items[1:]))
    assert await world.ledger.results(world.run, 10) == noted


async def test_an_empty_range_takes_nothing_away_from_a_writer_at_work(world):
    await world.open(rows=1)
    empty = await world.ledger.results(world.run, 10)
    assert empty == Batch(0, ())
    await world.commit(*(world.sent(row, NO) for row in (await world.claim()).rows))
    noted = await world.ledger.results(world.run, 10)
    await world.ledger.feed(world.run, 1, 2, [FedRow(1, b"{}")])
    await world.commit(*(world.sent(row, NO) for row in (await world.claim()).rows))
    assert not await world.ledger.results_written(world.run, empty)
    assert await world.ledger.results(world.run, 10) == noted


async def test_another_writer_sees_the_range_that_a_dead_one_noted(world):
    await ended(world, 3)
    noted = await world.ledger.results(world.run, 2)
    other = world.again()
    assert await other.results(world.run, 10) == noted
    assert await other.results_written(world.run, noted)
    assert not await world.ledger.results_written(world.run, noted)


async def test_accepted_ids_are_noted_and_acknowledged_like_results(world):
    await world.open(rows=3)
    await world.commit(*(world.sent(row, Accepted(f"task-{row.row_index}")) for row in (await world.claim()).rows))
    batch = await world.ledger.accepted_ids(world.run, 2)
    sent_at = world.clock() * 1000
    assert [orjson.loads(item) for item in batch.items] == [[0, "task-0", sent_at, 1, 0], [1, "task-1", sent_at, 1, 0]]
    assert await world.ledger.accepted_ids(world.run, 9) == batch
    assert (await world.look()).accepted_unsaved == 3
    assert await world.ledger.accepted_saved(world.run, batch)
    assert not await world.ledger.accepted_saved(world.run, batch)
    [last] = (await world.ledger.accepted_ids(world.run, 9)).items
    assert orjson.loads(last)[:2] == [2, "task-2"]
    assert (await world.look()).accepted_unsaved == 1


async def test_results_and_ids_are_apart(world):
    await world.open(rows=2)
    one, two = (await world.claim()).rows
    await world.commit(world.sent(one, Accepted("task-0")), world.sent(two, NO))
    await world.ledger.accepted_saved(world.run, await world.ledger.accepted_ids(world.run, 9))
    run = await world.look()
    assert (run.results, run.accepted_unsaved) == (1, 0)


async def test_the_bytes_that_wait_for_the_writer_are_counted(world):
    await ended(world, 3)
    batch = await world.ledger.results(world.run, 2)
    total = (await world.look()).results_bytes
    assert total == sum(map(len, batch.items)) * 3 // 2
    await world.ledger.results_written(world.run, batch)
    assert (await world.look()).results_bytes == total // 3


async def test_a_snapshot_counts_where_the_rows_are(world):
    await world.open(rows=10)
    rows = (await world.claim(limit=6)).rows
    await world.commit(*(world.sent(row, Accepted(f"task-{row.row_index}")) for row in rows[:3]))
    await world.commit(world.sent(rows[3], NO))
    run = await world.look()
    assert (run.run_id, run.total, run.fed, run.now_ms) == (world.run, 10, 10, world.clock())
    assert (run.ready, run.ready_due, run.submitting, run.lapsed) == (4, 4, 2, 0)
    assert (run.pending, run.pending_due, run.results, run.accepted, run.in_flight) == (3, 0, 1, 3, 5)
    assert {outcome: count for outcome, count in run.outcomes.items() if count} == {Outcome.REFUSED: 1}
    assert set(run.outcomes) == set(Outcome)


async def test_a_poll_counts_as_due_half_a_second_ahead(world):
    await world.open(rows=1)
    await world.commit(*(world.sent(row, Accepted("task-0")) for row in (await world.claim()).rows))
    world.clock.advance(4_499)
    assert (await world.look()).pending_due == 0
    world.clock.advance(1)
    assert (await world.look()).pending_due == 1


async def test_a_snapshot_sums_tokens_and_money(world):
    await world.open(rows=3)
    await world.commit(*(world.sent(row, Accepted(f"task-{row.row_index}")) for row in (await world.claim()).rows))
    world.clock.advance(5_000)
    answers = [
        Completed(Completion(prompt_tokens=10_000, completion_tokens=20, cost=0.1)),
        Completed(Completion(prompt_tokens=5, completion_tokens=1, cost=0.2)),
        Completed(Completion()),
    ]
    rows = (await world.polls()).rows
    await world.commit(*(world.polled(row, answer) for row, answer in zip(rows, answers, strict=True)))
    run = await world.look()
    assert (run.prompt_tokens, run.completion_tokens, run.cost) == (10_005, 21, 0.3)
    assert run.outcomes[Outcome.COMPLETED] == 3


async def test_absurd_usage_does_no_harm(world):
    await world.open(rows=2)
    await world.commit(*(world.sent(row, Accepted(f"task-{row.row_index}")) for row in (await world.claim()).rows))
    world.clock.advance(5_000)
    absurd = Completed(Completion(prompt_tokens=2**63 - 1, completion_tokens=2**63 - 1, cost=1e300))
    assert await world.commit(*(world.polled(row, absurd) for row in (await world.polls()).rows)) == [True, True]
    [first, _] = (await world.ledger.results(world.run, 9)).items
    assert unpack_result(first).ending.completion.prompt_tokens == 2**63 - 1


async def test_rows_that_may_have_been_billed_twice_are_counted(world):
    await world.open(rows=2)
    one, two = (await world.claim()).rows
    await world.commit(world.sent(one, Ambiguous(Problem("no_answer", ""))), world.sent(two, NO))
    world.clock.advance(10_000)
    [again] = (await world.claim()).rows
    await world.commit(world.sent(again, NO))
    assert (await world.look()).possible_duplicates == 1


async def test_what_was_known_on_disk_is_where_a_ledger_made_anew_begins(world):
    card = world.card(epoch="e2")
    outcomes = {"completed": 700, "failed": 2}
    assert await world.ledger.open_run(card, recover_until=900, ended=outcomes, done=Rows(range(702)))
    run = await world.look()
    assert (run.recover_until, run.fed, run.ended) == (900, 0, 702)
    assert (run.outcomes[Outcome.COMPLETED], run.outcomes[Outcome.FAILED]) == (700, 2)
    await world.ledger.feed(world.run, 0, 900, [FedRow(row, b"{}") for row in (0, 701, 702)])
    await world.commit(*(world.sent(row, NO) for row in (await world.claim()).rows))
    run = await world.look()
    assert (run.double_ends, run.results, run.outcomes[Outcome.REFUSED]) == (2, 1, 1)


async def test_a_run_that_completed_rows_before_is_past_its_first_rows(world):
    card = world.card(first_rows=1)
    await world.ledger.open_run(card, recover_until=0, ended={"completed": 1}, done=Rows([9]))
    await world.ledger.feed(world.run, 0, 5, [FedRow(row, b"{}") for row in range(5)])
    assert len((await world.claim()).rows) == 5
