"""A fleet in simulated time: the real flows, heartbeat, ledger in memory and simulator, joined as workers join them.

What is left out is what takes real time: processes, Redis, sockets. Tickets wait in queues as Celery's do, requests
take some ms to the API and back, and claimers wake a few ms late.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import count
from typing import Self

import orjson

from benchmarks.pacing.loop import LoopClock
from pipeline.core.answers import Ambiguous, Problem, QueryAnswer, SubmitAnswer, Trouble
from pipeline.core.limits import Limits
from pipeline.core.policy import Policy
from pipeline.core.reading import read_query, read_submit
from pipeline.core.rows import Rows
from pipeline.core.tickets import Role, Ticket
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.edges.redis_keys import LEDGER_VERSION
from pipeline.flows.heartbeat import TICK_S, Heartbeat
from pipeline.flows.poll import poll_shift
from pipeline.flows.shift import Bench
from pipeline.flows.submit import submit_shift
from pipeline.ports import FedRow, RunCard, WorkerCard
from pipeline.simulator.app import SUBMIT_PATH, TASK_PREFIX, App
from pipeline.simulator.media import Shelf
from pipeline.simulator.messages import Request, Response
from pipeline.simulator.settings import SimulatorSettings

KEY = "Bearer sk-benchmark"
WINDOW = {Role.SUBMIT: 96, Role.POLL: 128}
SHIFT_S = 10.0
READY = 300
"""Rows that wait for a permit: always more than can be sent at once."""

POLICY = Policy(guard_first=10**6, guard_later=10**6, guard_missing=10**6)
"""The product's own, but that no guard ends a measurement."""


@dataclass(frozen=True, slots=True)
class Post:
    """One POST as the simulator saw it: seconds, and the status it answered (0: none)."""

    at: float
    status: int


class Api:
    """`ports.Api` over a simulator in this process, some ms away."""

    def __init__(self, app: App, clock: LoopClock, rng: random.Random) -> None:
        self._app, self._clock, self._rng = app, clock, rng
        self.posts: list[Post] = []

    async def submit(self, body: bytes) -> SubmitAnswer:
        await self._way()
        posted = Post(self._clock.monotonic(), 0)
        answer = await self._asked(Request("POST", SUBMIT_PATH, "", KEY, body, from_loopback=True))
        self.posts.append(replace(posted, status=answer.status if answer else 0))
        await self._way()
        if answer is None:
            return Ambiguous(Problem("closed", "no answer"))
        return read_submit(
            answer.status, _headers(answer), answer.body, now=self._clock.wall(), longest_retry_after=300
        )

    async def query(self, generation_id: str) -> QueryAnswer:
        await self._way()
        answer = await self._asked(Request("GET", TASK_PREFIX + generation_id, "", KEY, b"", from_loopback=True))
        await self._way()
        if answer is None:
            return Trouble(Problem("closed", "no answer"))
        return read_query(answer.status, _headers(answer), answer.body, now=self._clock.wall(), longest_retry_after=300)

    async def _asked(self, request: Request) -> Response | None:
        answer = self._app.handle(request)
        if not isinstance(answer, Response):
            answer = await answer if asyncio.isfuture(answer) or asyncio.iscoroutine(answer) else None
        if isinstance(answer, Response) and answer.receipt is not None:
            answer.receipt(True)
        return answer if isinstance(answer, Response) else None

    async def _way(self) -> None:
        await asyncio.sleep(self._rng.uniform(0.002, 0.012))


def _headers(answer: Response) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers}


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the fleet: what its person gave."""

    run_id: str = "run-1"
    limits: Limits = Limits()
    priority: int = 10


class LateClock(LoopClock):
    """The clock of a worker on a busy machine: it wakes some ms late."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds + self._rng.uniform(0.0, 0.008))


class Fleet:
    """`workers` workers of one submit and one poll shift each, and one heartbeat, over runs without end."""

    def __init__(self, settings: SimulatorSettings, runs: Sequence[Run] = (Run(),), workers: int = 8) -> None:
        self._rng = random.Random(1)
        self.clock = LoopClock()
        self._late = LateClock(self._rng)
        self.app = App(replace(settings, fast=True, seed=1), Shelf(()), None, self.clock.monotonic, self.clock.wall)
        self.ledger = MemoryLedger(self.clock.now_ms)
        self.api = Api(self.app, self.clock, self._rng)
        self._runs, self._workers = runs, workers
        self._tickets: dict[Role, asyncio.Queue[str]] = {role: asyncio.Queue() for role in Role}
        self._names = count()
        self._tasks: list[asyncio.Task[None]] = []
        self.sent: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        for run in self._runs:
            await self._open(run)
        work = [self._beat(), *(self._feed(run.run_id) for run in self._runs)]
        work += [self._hold(role) for role in (Role.SUBMIT, Role.POLL) for _ in range(self._workers)]
        self._tasks = [asyncio.create_task(one) for one in work]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.app.close()

    async def passes(self, seconds: float) -> None:
        """So many seconds; whatever failed meanwhile is raised."""
        await asyncio.sleep(seconds)
        for task in self._tasks:
            if task.done():
                task.result()

    async def _open(self, run: Run) -> None:
        card = RunCard(
            run_id=run.run_id,
            account="api#key",
            base_url="https://api",
            key_fingerprint="key",
            out="out",
            token="token",
            epoch="e1",
            total=10**9,
            policy=POLICY,
            limits=run.limits,
            priority=run.priority,
        )
        await self.ledger.open_run(card, recover_until=0, ended={"completed": 1}, done=Rows())

    async def _feed(self, run_id: str) -> None:
        """What control and write tickets bring about: rows come, results and ids go."""
        fed = 0
        while True:
            run = await self.ledger.snapshot(run_id)
            if run is not None and run.ready < READY:
                rows = [FedRow(fed + row, _body(fed + row)) for row in range(READY)]
                await self.ledger.feed(run_id, fed, fed + READY, rows)
                fed += READY
            while (batch := await self.ledger.results(run_id, 10_000)).items:
                await self.ledger.results_written(run_id, batch)
            while (batch := await self.ledger.accepted_ids(run_id, 10_000)).items:
                self.sent[run_id] = self.sent.get(run_id, 0) + len(batch.items)
                await self.ledger.accepted_saved(run_id, batch)
            await asyncio.sleep(0.25)

    async def _beat(self) -> None:
        heartbeat = Heartbeat(self.ledger, self.clock, "heart", self._issue, self._queued)
        roles = (Role.SUBMIT.value, Role.POLL.value)
        while True:
            for worker in range(self._workers):
                await self.ledger.register_worker(WorkerCard(f"w{worker}", roles, 1, ("key",), LEDGER_VERSION))
            await heartbeat.tick()
            await self._late.sleep(TICK_S)

    async def _issue(self, ticket: Ticket) -> None:
        await self.ledger.note_ticket(ticket.run_id, ticket.role, str(next(self._names)))
        self._tickets[ticket.role].put_nowait(ticket.run_id)

    async def _queued(self) -> dict[Role, int]:
        return {role: queue.qsize() for role, queue in self._tickets.items()}

    async def _hold(self, role: Role) -> None:
        while True:
            run_id = await self._tickets[role].get()
            holder = f"worker-{next(self._names)}"
            if not await self.ledger.begin_shift(run_id, role, holder, self._workers):
                continue
            bench = Bench(run_id, role, holder, WINDOW[role], SHIFT_S, POLICY.lease_s, lambda: False)
            async with AsyncExitStack() as stack:
                stack.push_async_callback(self.ledger.end_shift, run_id, role, holder)
                renewing = asyncio.create_task(self._renew(bench))
                stack.callback(renewing.cancel)
                shift = submit_shift if role is Role.SUBMIT else poll_shift
                await shift(bench, self.ledger, self.api, self._late, POLICY, self._rng.random)

    async def _renew(self, bench: Bench) -> None:
        while True:
            await asyncio.sleep(1.0)
            await self.ledger.renew_shift(bench.run_id, bench.role, bench.holder)


def _body(row: int) -> bytes:
    video = f"https://videos.example/library/{row:07}.mp4"
    return orjson.dumps({"model": "gemini-2.5-pro", "prompt": "Describe the video.", "video_urls": [video]})
