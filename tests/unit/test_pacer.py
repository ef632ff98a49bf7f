"""What the heartbeat does for an account at each tick: the strictest limit holds, and runs learn from what ended."""

from dataclasses import replace

import pytest

from pipeline.core.answers import Accepted, Completed, Completion
from pipeline.core.budget import Budget, Reservation
from pipeline.core.costs import Price
from pipeline.core.limits import Limits
from pipeline.core.observations import Observed, tokens_a_row
from pipeline.core.policy import Policy
from pipeline.core.polling import parse_schedule
from pipeline.core.retries import after_query
from pipeline.core.rows import Rows
from pipeline.core.snapshot import RunState
from pipeline.core.submitting import after_submit
from pipeline.core.timetable import read_timetables, timetables_of
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.flows import pacing
from pipeline.flows.pacing import LEARN_S, Pacer, pace_account
from pipeline.ports import Commit, FedRow, RunCard

pytestmark = pytest.mark.anyio

ACCOUNT = "api#key"
FIXED = parse_schedule("fixed:1s")
CARD = RunCard("run-1", ACCOUNT, "https://api", "key", "out", "secret", "e1", 20, Policy(), models=("m",))


class Ledger(MemoryLedger):
    """Counts how often it is told a pace and asked for what ended."""

    told = asked = 0
    broken = ""

    async def account_seen(self, account):
        if account == self.broken:
            raise ValueError(f"{account} can't be read")
        return await super().account_seen(account)

    async def set_pace(self, account, found, pace):
        self.told += 1
        await super().set_pace(account, found, pace)

    async def observed(self, account):
        self.asked += 1
        return await super().observed(account)


class World:
    def __init__(self, clock):
        self.clock = clock
        self.ledger = Ledger(clock.now_ms)
        self.pacer = Pacer(self.ledger, clock)

    async def open(self, run_id="run-1", rows=20, **changes):
        card = replace(CARD, run_id=run_id, **changes)
        await self.ledger.open_run(card, recover_until=0, ended={}, done=Rows())
        await self.ledger.feed(run_id, 0, rows, [FedRow(i, b'{"model":"m"}') for i in range(rows)])
        return card

    async def tick(self, *run_ids):
        names = run_ids or ["run-1"]
        await self.pacer([(await self.ledger.snapshot(name), await self.ledger.card(name)) for name in names])
        await self.clock.sleep(0.2)

    async def pace(self, run_id="run-1"):
        return (await self.ledger.snapshot(run_id)).pace

    async def complete(self, count, tokens=100, cost=0.5):
        """Rows that were sent and ended, as shifts record them."""
        rows = (await self.ledger.claim_submit("run-1", "w", count)).rows
        policy, common = Policy(first_rows=50), {"troubles": 0, "chance": 0.0}
        for row in rows:
            step = after_submit(
                Accepted(f"task-{row.row_index}"), row.record, policy, FIXED, now_ms=self.clock.now_ms(), **common
            )
            await self.ledger.commit("run-1", [Commit(row.row_index, row.token, step)])
        await self.clock.sleep(1.5)
        answer = Completed(Completion(prompt_tokens=tokens, completion_tokens=0, cost=cost))
        for row in (await self.ledger.claim_polls("run-1", "p", count)).rows:
            step = after_query(answer, row.record, policy, FIXED, now_ms=self.clock.now_ms(), **common)
            told = Observed("m", 0, 1_500, tokens, 0, round(cost * 1_000_000))
            await self.ledger.commit("run-1", [Commit(row.row_index, row.token, replace(step, observed=told))])


@pytest.fixture
def anyio_backend(simulated_backend):
    return simulated_backend


@pytest.fixture
def world(loop_clock):
    return World(loop_clock)


async def test_a_limit_that_was_given_holds_from_the_next_tick(world):
    await world.open(limits=Limits(rpm=60.0))
    await world.tick()
    assert (await world.pace()).rate == 1.0


async def test_of_limits_of_the_account_and_of_its_runs_the_strictest_holds(world):
    await world.open(limits=Limits(rpm=600.0, max_in_flight=9))
    await world.open("run-2", limits=Limits(rpm=120.0))
    await world.ledger.set_account_limits(ACCOUNT, Limits(max_in_flight=5))
    await world.tick("run-1", "run-2")
    pace = await world.pace()
    assert (pace.rate, pace.most) == (2.0, 5)
    await world.ledger.forget("run-2")
    await world.tick("run-1")
    assert (await world.pace()).rate == 10.0


async def test_a_changed_limit_holds_from_the_next_tick(world):
    await world.open(limits=Limits(rpm=600.0))
    await world.tick()
    await world.ledger.set_limits("run-1", Limits(rpm=30.0))
    await world.tick()
    assert (await world.pace()).rate == 0.5


async def test_a_limit_holds_before_the_first_row_is_fed(world):
    await pace_account(world.ledger, ACCOUNT, [Limits(rpm=60.0)])
    await world.open(limits=Limits(rpm=60.0))
    assert len((await world.ledger.claim_submit("run-1", "w", 50)).rows) == 1


async def test_tokens_a_minute_become_a_rate_of_rows_by_what_rows_use(world):
    await world.open(limits=Limits(tpm=6_000.0))
    await world.tick()
    assert (await world.pace()).rate < 0.1  # a guess, while nothing is known
    await world.complete(4, tokens=100)
    await world.tick()
    await world.clock.sleep(LEARN_S)
    await world.tick()
    await world.tick()
    pace = await world.pace()
    assert (pace.rate, pace.why) == (pytest.approx(1.0), "tokens")


async def test_tokens_a_minute_are_kept_by_what_is_known_from_the_first_tick_of_a_heartbeat_on(world):
    await world.open(limits=Limits(tpm=60_000.0))
    world.ledger._named(ACCOUNT).observed = [Observed("m", 0, 1_500, 60_000)] * 20
    await world.tick()
    pace = await world.pace()
    assert (pace.rate, pace.why) == (pytest.approx(1 / 60), "tokens")


async def test_a_run_with_a_cap_reserves_what_rows_cost(world):
    await world.open(budget=Budget(cost=100.0), prices={"m": Price(1.0, 2.0)})
    await world.tick()
    guessed = (await world.ledger.snapshot("run-1")).spending.reserved
    assert guessed.cost_micro > 0
    for _ in range(5):
        await world.complete(4, tokens=100, cost=0.5)
        await world.tick()
    await world.clock.sleep(LEARN_S)
    await world.tick()
    assert (await world.ledger.snapshot("run-1")).spending.reserved == Reservation(100, 500_000)


async def test_of_a_model_that_was_not_seen_the_flat_guess_is_reserved_however_cheap_the_others_are(world):
    await world.open(rows=40, budget=Budget(tokens=1_000_000), models=("m", "dear"))
    await world.tick()
    for _ in range(8):
        await world.complete(1, tokens=100)
        await world.clock.sleep(LEARN_S)
        await world.tick()
    run = await world.ledger.snapshot("run-1")
    assert (run.spending.tokens, run.spending.reserved.tokens) == (800, 22_000)


async def test_what_rows_of_a_model_cost_is_known_after_others_pushed_them_out_of_the_ledger(world):
    card = await world.open(budget=Budget(tokens=30_000), models=("m", "other"))
    account = world.ledger._named(ACCOUNT)
    account.observed = [Observed("m", 0, 1_500, 200)] * 20 + [Observed("other", 0, 1_500, 100)] * 20
    await world.tick()
    account.observed = [Observed("m", 0, 1_500)] + [Observed("other", 0, 1_500, 100)] * 20
    await world.pacer.reserve(await world.ledger.snapshot("run-1"), card)
    assert (await world.ledger.snapshot("run-1")).spending.reserved.tokens == 200
    account.observed, account.observed_count = [Observed("other", 0, 1_500, 100)] * 20, 1
    await world.clock.sleep(LEARN_S)
    await world.tick()
    assert (await world.ledger.snapshot("run-1")).spending.reserved.tokens == 200


async def test_a_run_of_cheap_rows_goes_on_to_the_end_of_its_cap(world):
    await world.open(rows=20, budget=Budget(tokens=2_100))
    for _ in range(20):
        await world.tick()
        await world.complete(1, tokens=100)
        await world.clock.sleep(LEARN_S)
    assert (await world.ledger.snapshot("run-1")).spending.tokens == 2_000


async def test_what_ended_is_read_only_when_something_did_and_not_at_every_tick(world):
    await world.open()
    for _ in range(20):
        await world.tick()
    assert world.ledger.asked == 1


async def test_a_run_that_comes_later_is_told_what_is_known_though_nothing_ended_since(world):
    await world.open()
    await world.tick()
    await world.open("run-2", budget=Budget(tokens=1_000_000))
    await world.tick("run-1", "run-2")
    assert (await world.ledger.snapshot("run-2")).spending.reserved.tokens > 0


async def test_a_cap_that_is_given_later_is_reserved_for_though_nothing_ended_since(world):
    card = await world.open()
    await world.tick()
    await world.ledger.reopen(replace(card, budget=Budget(tokens=1_000_000)))
    await world.tick()
    assert (await world.ledger.claim_submit("run-1", "w", 10)).rows


async def test_an_account_that_can_not_be_paced_keeps_no_other_from_its_pace(world):
    await world.open(limits=Limits(rpm=60.0))
    await world.open("run-2", account="api#other", limits=Limits(rpm=-1.0))
    world.ledger.broken = "api#other"
    runs = [(await world.ledger.snapshot(name), await world.ledger.card(name)) for name in ("run-2", "run-1")]
    [failure] = await world.pacer(runs)
    assert "other" in str(failure)
    assert (await world.pace()).rate == 1.0


async def test_a_run_without_a_cap_reserves_nothing(world):
    await world.open()
    await world.tick()
    assert (await world.ledger.snapshot("run-1")).spending.reserved == Reservation()


def test_a_rows_tokens_are_those_of_rows_that_completed():
    assert tokens_a_row([]) is None
    assert tokens_a_row([Observed("m", 0, 1, 100, 20), Observed("m", 0, 1, completed=False)]) == 120
    assert tokens_a_row([Observed("m", 0, 1, 100, 20), Observed("m", 0, 1)]) == 120, "one that told nothing is not free"


async def test_a_run_that_is_paused_or_that_nobody_leads_binds_no_other_with_its_limits(world):
    await world.open(limits=Limits(rpm=6.0, poll_rpm=60.0), detached=True)
    await world.open("run-2", limits=Limits(rpm=600.0), detached=True)
    await world.tick("run-1", "run-2")
    assert (await world.pace()).rate == 0.1
    await world.ledger.set_state("run-1", RunState.PAUSED, "a person")
    await world.tick("run-1", "run-2")
    pace = await world.pace()
    assert (pace.rate, pace.poll_rate) == (10.0, 1.0)


async def test_runs_that_ask_alike_share_one_fit_and_none_is_made_where_nothing_is_new(world, monkeypatch):
    made = []

    def fit(observed, *bounds):
        made.append((observed[0].model, bounds))
        return timetables_of(observed, *bounds)

    monkeypatch.setattr(pacing, "timetables_of", fit)
    for number in (1, 2, 3):
        await world.open(f"run-{number}", policy=Policy(poll="adaptive", poll_cost=1.0 + (number == 3)))
    world.ledger._named(ACCOUNT).observed = [Observed("m", 900, 1_500)] * 20 + [Observed("other", 9, 99)] * 20
    await world.tick("run-1", "run-2", "run-3")
    assert [cost for _, (cost, *_) in made] == [1.0, 2.0]
    tables = [read_timetables(await world.ledger.timetables(f"run-{number}")) for number in (1, 2, 3)]
    assert [set(one) for one in tables] == [{"m"}] * 3
    assert tables[0] == tables[1] != tables[2]
    await world.open("run-4", policy=Policy(poll="adaptive"))
    await world.tick("run-1", "run-2", "run-3", "run-4")
    assert len(made) == 2
    assert read_timetables(await world.ledger.timetables("run-4")) == tables[0]


@pytest.mark.parametrize("tpm", [None, 1e9])
async def test_an_account_is_paced_although_what_it_observed_cannot_be_read(world, tpm):
    await world.open(limits=Limits(rpm=60.0, tpm=tpm))

    async def unreadable(_):
        raise ValueError("no JSON")

    world.ledger.observed = unreadable
    failures = await world.pacer([(await world.ledger.snapshot("run-1"), await world.ledger.card("run-1"))])
    assert [str(one) for one in failures] == ["no JSON"]
    assert (await world.pace()).rate == 1.0
