"""Shifts over the ledger in memory, in simulated time: what they claim, renew, record, and when they leave."""

import asyncio
from dataclasses import replace

import orjson
import pytest

from pipeline.core.answering import AnswerStatus, Verdict
from pipeline.core.answers import (
    UNREACHABLE,
    Accepted,
    Ambiguous,
    Answered,
    Completed,
    Completion,
    NothingSent,
    Problem,
    Refused,
    Running,
    Throttled,
)
from pipeline.core.errors import LedgerUnavailable
from pipeline.core.lifecycle import Outcome, State
from pipeline.core.policy import Policy
from pipeline.core.reach import FEW, Reach
from pipeline.core.records import Attempt, RowRecord, unpack_result
from pipeline.core.rows import Rows
from pipeline.core.snapshot import RunState
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.flows.leaving import ON_THE_WIRE_S
from pipeline.flows.poll import poll_shift
from pipeline.flows.shift import LINGER_S, Bench
from pipeline.flows.submit import CUT, submit_shift
from pipeline.ports import FedRow, RunCard

pytestmark = pytest.mark.anyio

RUN = "run-1"
LEASE_S = 8.0
ATTEMPT = Attempt(None, 1, Outcome.UNKNOWN)
LOST = Problem("http_502", "bad gateway", None, 502)


class Api:
    """Answers after some seconds, and counts what it was asked."""

    def __init__(self, answer, seconds=0.1):
        self._answer, self._seconds = answer, seconds
        self.asked = []
        self.at = []
        self.open = self.most_open = 0

    async def submit(self, body):
        return await self._one(int(body))

    async def query(self, generation_id):
        return await self._one(generation_id)

    async def _one(self, what):
        self.asked.append(what)
        self.at.append(asyncio.get_running_loop().time())
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await asyncio.sleep(self._seconds(what) if callable(self._seconds) else self._seconds)
        finally:
            self.open -= 1
        answer = self._answer(what) if callable(self._answer) else self._answer
        if isinstance(answer, Exception):
            raise answer
        return answer


def accepted(row):
    return Accepted(f"task-{row}")


class Ledger(MemoryLedger):
    """In memory; `faults` happen in turn where a test says, `None` being the one time that all goes well."""

    faults = ()

    async def commit(self, run_id, commits):
        self._fault("commit")
        if self.forgetful:
            return [False] * len(commits)
        applied = await super().commit(run_id, commits)
        self._fault("committed")
        return applied

    forgetful = False
    """The run was ended and forgotten by others: as in Redis, its scripts then find nothing."""

    async def card(self, run_id):
        return None if self.forgetful else await super().card(run_id)

    async def claim_submit(self, run_id, holder, limit):
        self._fault("claim_submit")
        claim = await super().claim_submit(run_id, holder, limit)
        self._fault("claimed")
        return claim

    async def take_ready(self, run_id, holder, row_index):
        self._fault("take_ready")
        if self.forgetful:
            return None
        return await super().take_ready(run_id, holder, row_index)

    async def note_late(self, run_id, line):
        self._fault("note_late")
        await super().note_late(run_id, line)

    async def renew(self, run_id, state, rows):
        self._fault("renew")
        await super().renew(run_id, state, rows)

    def _fault(self, where):
        for place, (name, error) in enumerate(self.faults):
            if name == where:
                self.faults = [*self.faults[:place], *self.faults[place + 1 :]]
                if error is not None:
                    raise error
                return


class Work:
    """A run in a ledger, and shifts over it."""

    def __init__(self, clock):
        self.clock = clock
        self.ledger = Ledger(clock.now_ms)
        self.stopping = False
        self.kept = []

    async def open(self, rows, *, past_first=True, **policy):
        self.policy = Policy(**{"lease_s": LEASE_S, "guard_first": 10_000, "guard_later": 10_000, **policy})
        card = RunCard(RUN, "api#key", "https://api", "key", "out", "secret", "e1", rows, self.policy)
        ended = {"completed": 1} if past_first else {}
        await self.ledger.open_run(card, recover_until=0, ended=ended, done=Rows())
        await self.ledger.feed(RUN, 0, rows, [FedRow(row, b"%d" % row) for row in range(rows)])

    def bench(self, role, window, seconds, reach=None):
        bench = Bench(RUN, role, f"{role}-1", window, seconds, LEASE_S, lambda: self.stopping)
        return bench if reach is None else replace(bench, reach=reach)

    async def submit(self, api, window=16, seconds=5.0, reach=None):
        return await submit_shift(
            self.bench("submit", window, seconds, reach),
            self.ledger,
            api,
            self.clock,
            self.policy,
            lambda: 0.0,
            self.kept.extend,
        )

    async def poll(self, api, window=16, seconds=5.0, judge=None):
        bench = self.bench("poll", window, seconds)
        return await poll_shift(bench, self.ledger, api, self.clock, self.policy, lambda: 0.0, judge=judge)

    async def look(self):
        return await self.ledger.snapshot(RUN)

    async def results(self):
        return [unpack_result(item) for item in (await self.ledger.results(RUN, 10_000)).items]

    async def submit_again_and_again(self, api, window, seconds):
        """Shift after shift, as the heartbeat issues them."""
        ends = self.clock.monotonic() + seconds
        while self.clock.monotonic() < ends:
            await self.submit(api, window=window, seconds=min(5.0, ends - self.clock.monotonic()))
            await self.wait(0.5)

    async def wait(self, seconds):
        await asyncio.sleep(seconds)


@pytest.fixture
def anyio_backend(simulated_backend):
    return simulated_backend


@pytest.fixture
def work(loop_clock):
    return Work(loop_clock)


async def test_every_row_is_sent_once_and_never_more_at_a_time_than_the_window(work):
    await work.open(rows=100)
    api = Api(accepted)
    assert await work.submit(api, window=16, seconds=60.0) == 100
    assert (sorted(api.asked), api.most_open) == (list(range(100)), 16)
    run = await work.look()
    assert (run.pending, run.accepted, run.submitting) == (100, 100, 0)


async def test_a_shift_with_nothing_to_do_lingers_a_moment_and_leaves(work):
    await work.open(rows=0)
    assert await work.submit(Api(accepted), seconds=60.0) == 0
    assert LINGER_S <= work.clock.monotonic() <= LINGER_S + 1.0


async def test_a_shift_waits_out_a_back_off_that_ends_within_it_for_others_would_take_its_place(work):
    await work.open(rows=1)
    answers = [Throttled(LOST, 3.0)]
    api = Api(lambda row: answers.pop() if answers else accepted(row))
    await work.submit(api, seconds=10.0)
    assert len(api.asked) == 2
    assert 3.0 <= api.at[1] - api.at[0] < 4.0


async def test_a_shift_does_not_wait_for_a_back_off_that_is_longer_than_it(work):
    await work.open(rows=1)
    await work.submit(Api(Throttled(LOST, 30.0)), seconds=10.0)
    assert work.clock.monotonic() < 2.0


async def test_a_shift_that_is_over_records_what_it_has_in_hand(work):
    await work.open(rows=50)
    assert await work.submit(Api(accepted, seconds=3.0), window=8, seconds=4.0) == 16
    run = await work.look()
    assert (run.pending, run.submitting, run.ready) == (16, 0, 34)


async def test_a_claim_that_comes_when_its_lease_may_be_over_is_given_back_and_not_sent(work):
    await work.open(rows=8)
    slow = [LEASE_S, 0.0]

    async def claims_slowly(run_id, holder, limit):
        claim = await Ledger.claim_submit(work.ledger, run_id, holder, limit)
        await work.wait(slow.pop(0) if slow else 0.0)
        return claim

    work.ledger.claim_submit = claims_slowly
    api = Api(accepted)
    await work.submit(api, window=8, seconds=20.0)
    assert sorted(api.asked) == list(range(8))
    assert api.at[0] >= LEASE_S - 0.01
    assert not any(record.possible_duplicate for record in work.ledger._runs[RUN].records.values())


async def test_a_process_that_does_not_reach_the_api_takes_a_few_rows_at_a_time_in_all_of_its_shifts(work):
    await work.open(rows=100)
    api = Api(NothingSent(Problem(UNREACHABLE, "no route")), seconds=0.5)
    reach = Reach()
    for _ in range(3):
        await work.submit(api, window=16, seconds=5.0, reach=reach)
    assert len(api.asked) <= 16 + FEW * 4  # after 0.5, 2, 4.5, 9 and 17.5 s, or as long as a shift finds rows
    held = await work.ledger.claim_submit(RUN, "another host", 50)
    assert len(held.rows) == 50, "others are not held back"


async def test_a_claim_that_brought_no_row_is_no_try_to_reach_the_api(work):
    await work.open(rows=8)
    work.ledger.faults = [("claim_submit", LedgerUnavailable("away"))]
    api = Api(accepted)
    await work.submit(api, window=8, seconds=5.0, reach=Reach(failures=1))
    assert sorted(api.asked) == list(range(8))


async def test_rows_of_a_claim_that_nobody_heard_of_are_sent_at_once_and_are_in_no_doubt(work):
    await work.open(rows=20)
    work.ledger.faults = [("claimed", None), *[("claimed", LedgerUnavailable("away"))] * 2]
    api = Api(accepted, seconds=1.0)
    await work.submit(api, window=8, seconds=30.0)
    assert sorted(api.asked) == list(range(20))
    records = work.ledger._runs[RUN].records
    assert not any(record.possible_duplicate for record in records.values())
    assert (await work.look()).pending == 20


async def test_a_stopping_worker_claims_nothing_more_and_records_what_it_has(work):
    await work.open(rows=50)
    api = Api(accepted, seconds=2.0)
    shift = asyncio.create_task(work.submit(api, window=8, seconds=60.0))
    await work.wait(1.0)
    work.stopping = True
    assert await shift == 8
    assert (await work.look()).pending == 8


async def test_a_silent_api_does_not_hold_up_a_stop_and_what_was_cut_may_have_been_billed(work):
    await work.open(rows=50)
    api = Api(accepted, seconds=lambda row: 300.0 if row % 2 else 10.0)
    shift = asyncio.create_task(work.submit(api, window=8, seconds=60.0))
    await work.wait(1.0)
    work.stopping, told_at = True, work.clock.monotonic()
    assert await shift == 8
    assert ON_THE_WIRE_S <= work.clock.monotonic() - told_at <= ON_THE_WIRE_S + 1.0
    run = await work.look()
    assert (run.pending, run.ready, run.submitting) == (4, 46, 0)
    cut = [work.ledger._runs[RUN].records[row] for row in (1, 3, 5, 7)]
    assert all(record.possible_duplicate and record.resubmits == 1 for record in cut)
    assert all([attempt.outcome for attempt in record.log] == [Outcome.UNKNOWN] for record in cut)
    assert (run.trouble, run.account_wait_until_ms) == (f"worker_lost: {CUT.message}", 0)


async def test_what_was_cut_is_held_where_the_user_wants_it_held_and_pauses_nothing(work):
    await work.open(rows=50, on_unknown="hold", guard_first=2, guard_later=2)
    shift = asyncio.create_task(work.submit(Api(accepted, seconds=300.0), window=8, seconds=60.0))
    await work.wait(1.0)
    work.stopping = True
    await shift
    run = await work.look()
    assert (run.state, run.outcomes[Outcome.UNKNOWN], run.submitting) == (RunState.RUNNING, 8, 0)


async def test_polls_that_are_cut_leave_their_rows_to_the_next(work):
    await work.open(rows=4, poll="fixed:1s")
    await work.submit(Api(accepted))
    shift = asyncio.create_task(work.poll(Api(Running("processing"), seconds=300.0), seconds=60.0))
    await work.wait(3.0)
    work.stopping, told_at = True, work.clock.monotonic()
    await shift
    assert work.clock.monotonic() - told_at <= ON_THE_WIRE_S + 1.0
    work.stopping = False
    await work.wait(2 * LEASE_S)
    await work.poll(Api(Completed(Completion())), seconds=10.0)
    results = await work.results()
    assert len(results) == 4
    assert not any(result.record.possible_duplicate for result in results)


async def test_what_redis_could_not_be_told_before_a_stop_is_kept(work):
    await work.open(rows=20)
    api = Api(lambda row: Refused(LOST) if row == 7 else accepted(row), seconds=1.0)
    shift = asyncio.create_task(work.submit(api, window=8, seconds=60.0))
    await work.wait(0.5)
    work.ledger.faults = [(name, LedgerUnavailable("away")) for name in ("commit", "claim_submit") for _ in range(9999)]
    work.stopping = True
    assert await shift == 8
    assert work.clock.monotonic() < 10.0
    assert {commit.row_index: commit.step.record.generation_id for commit in work.kept} == {
        **{row: f"task-{row}" for row in range(7)},
        7: None,
    }


async def test_an_id_that_comes_after_its_run_was_forgotten_is_kept(work):
    await work.open(rows=1)
    shift = asyncio.create_task(work.submit(Api(accepted, seconds=2.0), window=1, seconds=1.0))
    await work.wait(1.0)
    work.ledger.faults = [("committed", None)]
    work.ledger.forgetful = True
    await shift
    assert [commit.step.record.generation_id for commit in work.kept] == ["task-0"]


async def test_a_request_may_take_minutes_and_keeps_its_lease(work):
    await work.open(rows=3)
    shift = asyncio.create_task(work.submit(Api(accepted, seconds=300.0), seconds=5.0))
    for _ in range(299):
        await work.wait(1.0)
        assert (await work.look()).lapsed == 0
    assert await shift == 3
    assert (await work.look()).pending == 3


async def test_a_renewal_that_failed_is_made_up_for_before_the_lease_runs_out(work):
    await work.open(rows=1)
    work.ledger.faults = [("renew", LedgerUnavailable("away"))] * 2
    shift = asyncio.create_task(work.submit(Api(accepted, seconds=60.0), seconds=5.0))
    for _ in range(59):
        await work.wait(1.0)
        assert (await work.look()).lapsed == 0
    await shift


async def test_a_crash_while_sending_may_have_cost_a_generation(work):
    await work.open(rows=1)
    await work.submit(Api(RuntimeError("no idea")), seconds=1.0)
    run = await work.look()
    assert (run.ready, run.trouble) == (1, "internal_error: RuntimeError while sending")


async def test_answers_while_redis_is_away_are_recorded_when_it_is_back(work):
    await work.open(rows=20)
    shift = asyncio.create_task(work.submit(Api(accepted, seconds=1.0), window=32, seconds=5.0))
    await work.wait(0.5)
    work.ledger.faults = [(name, LedgerUnavailable("away")) for name in ("commit", "claim_submit") for _ in range(12)]
    await shift
    run = await work.look()
    assert (run.pending, run.ready, run.submitting) == (20, 0, 0)


async def test_a_group_whose_answer_was_lost_leaves_each_row_paid_for_once_and_each_id_kept(work):
    await work.open(rows=4)
    work.ledger.faults = [("committed", LedgerUnavailable("the answer was lost"))]
    api = Api(accepted)
    await work.submit(api)
    run = await work.look()
    assert (run.pending, run.accepted, run.ready, run.submitting) == (4, 4, 0, 0)
    assert sorted(api.asked) == [0, 1, 2, 3]
    saved = (await work.ledger.accepted_ids(RUN, 100)).items
    assert {line.split(b",")[1] for line in saved} == {b'"task-%d"' % row for row in range(4)}


@pytest.mark.parametrize("where", ["take_ready", "note_late"])
async def test_a_late_id_is_kept_though_redis_was_away_when_it_came(work, where):
    await work.open(rows=3)
    work.ledger.faults = [(where, LedgerUnavailable("away"))] * 3
    shift = asyncio.create_task(work.submit(Api(accepted, seconds=2.0), window=3, seconds=1.0))
    await work.wait(1.0)
    run = work.ledger._runs[RUN]
    run.tokens[0] = "1:another:1"
    await shift
    assert (await work.look()).accepted == 2
    ids = [line.split(b",")[1] for line in (await work.ledger.accepted_ids(RUN, 100)).items]
    assert sorted(ids) == [b'"task-0"', b'"task-1"', b'"task-2"']


async def given_up_meanwhile(work, shift, where):
    """Row 0 is given up while its POST is on the wire, and Redis goes away once as the answer comes; how it stands."""
    await work.wait(1.0)
    run = work.ledger._runs[RUN]
    lost = run.tokens.pop(0)
    run.records[0] = RowRecord(attempts=1, resubmits=1, possible_duplicate=True, given_up=lost, log=(ATTEMPT,))
    run.move(0, State.READY, 10**15)
    work.ledger.faults = [("commit", None), ("committed", None), (where, LedgerUnavailable("away"))]
    await shift
    return await work.look()


@pytest.mark.parametrize("where", ["take_ready", "commit", "committed"])
async def test_a_late_id_is_adopted_though_redis_went_away_in_the_middle(work, where):
    await work.open(rows=1)
    shift = asyncio.create_task(work.submit(Api(accepted, seconds=2.0), window=1, seconds=1.0))
    seen = await given_up_meanwhile(work, shift, where)
    assert (seen.pending, seen.ready, seen.submitting, seen.accepted) == (1, 0, 0, 1)
    record = work.ledger._runs[RUN].records[0]
    assert (record.generation_id, record.attempts, record.possible_duplicate) == ("task-0", 1, False)


@pytest.mark.parametrize("where", [None, "take_ready", "commit", "committed"])
async def test_a_late_answer_on_its_post_ends_its_row_though_redis_went_away_in_the_middle(work, where):
    await work.open(rows=1, mode="sync", past_first=False)
    answer = Answered(Completion(content="good", prompt_tokens=3, usage="{}"), "a")
    shift = asyncio.create_task(work.submit(Api(answer, seconds=2.0), window=1, seconds=1.0))
    seen = await given_up_meanwhile(work, shift, where)
    assert (seen.outcomes[Outcome.COMPLETED], seen.ready, seen.submitting, seen.double_ends) == (1, 0, 0, 0)
    [end] = await work.results()
    assert (end.record.generation_id, end.record.attempts, end.record.possible_duplicate) == ("a#0.1", 1, False)


async def test_nothing_more_is_claimed_once_answers_can_not_be_recorded(work):
    await work.open(rows=500)
    api = Api(accepted, seconds=lambda row: 0.1 + row / 100)
    work.ledger.faults = [("take_ready", RuntimeError("a bug"))]
    shift = asyncio.create_task(work.submit(api, window=8, seconds=60.0))
    await work.wait(0.05)
    work.ledger._runs[RUN].tokens[0] = "1:another:1"
    with pytest.raises(RuntimeError, match="a bug"):
        await shift
    assert len(api.asked) <= 8 + 1


@pytest.mark.parametrize("fault", [KeyError("the run was forgotten"), RuntimeError("a bug")])
async def test_a_full_shift_whose_answers_can_not_be_recorded_ends_and_says_why(work, fault):
    await work.open(rows=500)
    api = Api(accepted, seconds=lambda row: 0.1 + row / 100)
    work.ledger.faults = [("commit", fault)]
    with pytest.raises(type(fault)):
        await work.submit(api, window=8, seconds=60.0)
    assert sorted(api.asked) == list(range(8))
    assert work.clock.monotonic() < 2.0


async def test_an_api_that_never_says_what_it_did_costs_a_few_rows_at_a_time(work):
    await work.open(rows=400, first_rows=4)
    api = Api(Ambiguous(LOST), seconds=0.2)
    await work.submit_again_and_again(api, window=32, seconds=240.0)
    late = [at for at in api.at if at > 0.1]
    assert len(api.asked) - len(late) == 32
    assert 4 * 5 <= len(late) <= 4 * 8
    assert all(sum(at <= one < at + 1.0 for one in late) <= 4 for at in late)


async def test_one_accepted_row_opens_the_account_again(work):
    await work.open(rows=400, first_rows=4)
    answers = [Ambiguous(LOST)] * 32
    api = Api(lambda row: answers.pop() if answers else accepted(row), seconds=0.2)
    await work.submit_again_and_again(api, window=32, seconds=60.0)
    assert len(api.asked) >= 400
    assert (await work.look()).pending >= 368


async def test_the_first_rows_go_alone(work):
    await work.open(rows=100, past_first=False, first_rows=4)
    api = Api(accepted)
    await work.submit(api, window=32, seconds=10.0)
    assert len(api.asked) == 4


async def test_polls_go_on_until_the_generations_end(work):
    await work.open(rows=10, poll="fixed:1s")
    await work.submit(Api(accepted))
    begun = work.clock.monotonic()

    def ready_after_some_seconds(_):
        if work.clock.monotonic() - begun < 4.0:
            return Running("processing")
        return Completed(Completion(content="a dog"))

    await work.poll(Api(ready_after_some_seconds), seconds=30.0)
    results = await work.results()
    assert sorted(result.row_index for result in results) == list(range(10))
    assert {result.ending.outcome for result in results} == {Outcome.COMPLETED}
    assert work.clock.monotonic() - begun < 8.0


async def test_a_crash_of_one_poll_leaves_the_row_to_the_next(work):
    await work.open(rows=2, poll="fixed:1s")
    await work.submit(Api(accepted))
    answers = [RuntimeError("no idea")]
    api = Api(lambda _: answers.pop() if answers else Completed(Completion()))
    await work.poll(api, seconds=30.0)
    assert len(await work.results()) == 2


async def test_what_a_row_went_through_is_told_by_its_record(work):
    await work.open(rows=1)
    answers = [Ambiguous(LOST), Refused(Problem("no", ""))]
    await work.submit_again_and_again(Api(lambda _: answers.pop(0)), window=1, seconds=30.0)
    [result] = await work.results()
    assert result.ending.outcome is Outcome.REFUSED
    assert isinstance(result.record, RowRecord)
    assert (result.record.attempts, result.record.possible_duplicate) == (1, True)


class Modest:
    """An API that answers in full only where `max_tokens` allows for it."""

    def __init__(self):
        self.asked = []

    async def submit(self, body):
        self.asked.append(orjson.loads(body))
        return Accepted(f"task-{len(self.asked)}")

    async def query(self, generation_id):
        asked = self.asked[int(generation_id.removeprefix("task-")) - 1]
        whole = asked.get("max_tokens", 0) >= 1_024
        used = {"prompt_tokens": 10, "completion_tokens": 5}
        return Completed(Completion(content="whole" if whole else "who", **used))


def cut_short(completion):
    return Verdict(AnswerStatus.OK if completion.content == "whole" else AnswerStatus.TRUNCATED)


async def repaired(work, judge):
    """One row, sent and polled until it ended."""
    await work.open(rows=0, past_first=False, repairs=1, poll="fixed:1s")
    await work.ledger.feed(RUN, 0, 1, [FedRow(0, b'{"model":"m","prompt":"Describe."}')])
    api = Modest()
    for _ in range(3):
        await work.submit(api)
        await work.poll(api, judge=judge)
    [result] = await work.results()
    return api, result, await work.look()


async def test_an_answer_that_is_not_fit_is_asked_for_again_with_what_it_needs(work):
    api, result, run = await repaired(work, cut_short)
    assert [asked.get("max_tokens") for asked in api.asked] == [None, 1_024]
    assert (result.ending.completion.content, result.record.generation_id) == ("whole", "task-2")
    assert [(one.generation_id, one.content) for one in result.record.log] == [("task-1", "who")]
    assert (run.ended, run.prompt_tokens, run.completion_tokens) == (1, 20, 10)


async def test_an_answer_that_cannot_be_judged_is_kept_and_not_paid_for_again(work):
    def broken(_):
        raise RecursionError

    api, result, _ = await repaired(work, broken)
    assert len(api.asked) == 1
    assert result.ending.completion.content == "who"


async def test_a_repair_that_waits_is_not_sent_once_the_run_makes_none(work):
    await work.open(rows=0, past_first=False, repairs=1, poll="fixed:1s")
    await work.ledger.feed(RUN, 0, 1, [FedRow(0, b'{"model":"m","prompt":"Describe."}')])
    api = Modest()
    await work.submit(api)
    await work.poll(api, judge=cut_short)
    work.policy = replace(work.policy, repairs=0)
    await work.submit(api)
    [result] = await work.results()
    assert len(api.asked) == 1
    assert (result.ending.completion.content, result.record.generation_id) == ("who", "task-1")
    assert (await work.look()).ended == 1


async def test_a_repair_that_cannot_be_judged_leaves_its_row_the_earlier_answer(work):
    def judged_once(completion):
        if len(api.asked) > 1:
            raise RecursionError
        return cut_short(completion)

    api = Modest()
    await work.open(rows=0, past_first=False, repairs=1, poll="fixed:1s")
    await work.ledger.feed(RUN, 0, 1, [FedRow(0, b'{"model":"m","prompt":"Describe."}')])
    for _ in range(3):
        await work.submit(api)
        await work.poll(api, judge=judged_once)
    [result] = await work.results()
    assert (len(api.asked), result.ending.completion.content) == (2, "who")
