"""Whatever rows cost and whenever they settle: a cap holds, and a run that it stops is told so."""

import asyncio
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.answers import Accepted, Ambiguous, Completed, Completion, Problem
from pipeline.core.budget import Budget, Reservation
from pipeline.core.policy import Policy
from pipeline.core.polling import parse_schedule
from pipeline.core.retries import after_query
from pipeline.core.rows import Rows
from pipeline.core.spending import budget_reached
from pipeline.core.submitting import after_submit
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.ports import Commit, FedRow, RunCard

RUN = "run-1"
ROWS = 60
POLICY = Policy(first_rows=ROWS, guard_first=ROWS, guard_later=ROWS, on_unknown="hold")
SCHEDULE = parse_schedule("fixed:1s")
LOST = Problem("no_answer", "the connection was closed")

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("claim"), st.integers(1, 20)),
        st.tuples(st.just("settle"), st.lists(st.integers(1, 400), min_size=1, max_size=8)),
        st.tuples(st.just("lose"), st.integers(1, 2)),
        st.tuples(st.just("reserve"), st.integers(1, 300)),
    ),
    max_size=30,
)


@dataclass
class Scene:
    """A run under a cap; rows are claimed, lost and settled as a script says."""

    cap: int
    now: int = 1_000_000
    sent: list = field(default_factory=list)
    billed: int = 0

    def __post_init__(self):
        self.ledger = MemoryLedger(lambda: self.now)

    async def open(self, reserved):
        budget = Budget(cost=self.cap / 1e6, tokens=self.cap)
        card = RunCard(RUN, "api#key", "https://api", "key", "out", "secret", "e1", ROWS, POLICY, budget=budget)
        await self.ledger.open_run(card, recover_until=0, ended={}, done=Rows())
        await self.ledger.feed(RUN, 0, ROWS, [FedRow(i, b"{}") for i in range(ROWS)])
        await self.reserve(reserved)

    async def reserve(self, amount):
        await self.ledger.set_reservation(RUN, Reservation(amount, amount))

    async def claim(self, limit):
        self.sent += (await self.ledger.claim_submit(RUN, "worker", limit)).rows

    async def lose(self, count):
        await self._answer([Ambiguous(LOST)] * min(count, len(self.sent)))
        self.now += 60_000

    async def settle(self, costs):
        """Rows that were sent are accepted, and end at these costs."""
        costs = costs[: len(self.sent)]
        await self._answer([Accepted(f"task-{row.row_index}") for row in self.sent[: len(costs)]])
        self.now += 10_000
        commits = []
        for row, cost in zip((await self.ledger.claim_polls(RUN, "poller", 100)).rows, costs, strict=True):
            answer = Completed(Completion(prompt_tokens=cost, completion_tokens=0, cost=cost / 1e6))
            step = after_query(answer, row.record, POLICY, SCHEDULE, now_ms=self.now, troubles=0, chance=0.5)
            commits.append(Commit(row.row_index, row.token, step))
        await self.ledger.commit(RUN, commits)
        self.billed += sum(costs)

    async def _answer(self, answers):
        rows, self.sent = self.sent[: len(answers)], self.sent[len(answers) :]
        steps = (
            after_submit(answer, row.record, POLICY, SCHEDULE, now_ms=self.now, troubles=0, chance=0.5)
            for row, answer in zip(rows, answers, strict=True)
        )
        await self.ledger.commit(
            RUN, [Commit(row.row_index, row.token, step) for row, step in zip(rows, steps, strict=True)]
        )

    async def look(self):
        run = await self.ledger.snapshot(RUN)
        assert run is not None
        return run


@given(st.integers(1, 3_000), st.integers(1, 300), STEPS)
@settings(max_examples=150, deadline=None)
def test_a_cap_is_overshot_by_no_more_than_what_rows_in_flight_cost_beyond_their_reservation(cap, reserved, steps):
    async def act():
        scene = Scene(cap)
        await scene.open(reserved)
        for name, given_ in steps:
            await getattr(scene, name)(given_)
        await scene.settle([400] * len(scene.sent))
        spending = (await scene.look()).spending
        assert spending.in_flight == 0
        assert spending.tokens == spending.cost_micro == scene.billed
        assert spending.tokens <= cap + spending.over_tokens
        assert spending.cost_micro <= cap + spending.over_cost_micro

    asyncio.run(act())


@given(st.integers(1, 3_000), st.integers(1, 300), STEPS)
@settings(max_examples=50, deadline=None)
def test_a_run_is_paused_by_its_budget_just_when_no_claim_can_bring_a_row_any_more(cap, reserved, steps):
    async def act():
        scene = Scene(cap)
        await scene.open(reserved)
        for name, given_ in steps:
            await getattr(scene, name)(given_)
            run = await scene.look()
            reason = budget_reached(run)
            claim = await scene.ledger.claim_submit(RUN, "worker", 1)
            if reason is not None:
                assert not claim.rows
            elif not run.in_flight and run.ready_due:
                assert claim.rows
            scene.sent += claim.rows

    asyncio.run(act())
