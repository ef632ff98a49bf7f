"""Who is at work, in memory: the counterpart of `redis_presence`, with the clock as an argument."""

import time
from collections.abc import Callable

from pipeline.edges.memory_account import MemoryAccount
from pipeline.edges.memory_lists import Leases, milliseconds
from pipeline.edges.memory_run import MemoryRun
from pipeline.edges.redis_presence import SHIFT_LEASE_MS, TICKET_LEASE_MS, WORKER_LEASE_MS, served_here
from pipeline.ports import Beat, WorkerCard


def _time_of_day_ms() -> int:
    return time.time_ns() // 1_000_000


class MemoryPresence:
    """The part of `ports.Ledger` that tells who is at work. `clock` tells ms since 1970."""

    def __init__(self, clock: Callable[[], int] = _time_of_day_ms) -> None:
        self._clock = clock
        self._runs: dict[str, MemoryRun] = {}
        self._accounts: dict[str, MemoryAccount] = {}
        self._workers: dict[str, tuple[int, WorkerCard]] = {}
        self._locks: dict[str, tuple[int, str]] = {}
        self._beat: Beat | None = None

    async def begin_shift(self, run_id: str, role: str, holder: str, most: int) -> bool:
        """Register a live shift; False when as many are live already."""
        run, now = self._runs[run_id], self._clock()
        run.tickets.setdefault(role, Leases()).pop_oldest()
        shifts = run.shifts.setdefault(role, Leases())
        if shifts.live(now) >= most:
            return False
        shifts.until[holder] = now + SHIFT_LEASE_MS
        return True

    async def renew_shift(self, run_id: str, role: str, holder: str) -> None:
        """Say that a shift is still at work."""
        run = self._runs.get(run_id)
        if run is not None:
            run.shifts.setdefault(role, Leases()).until[holder] = self._clock() + SHIFT_LEASE_MS

    async def end_shift(self, run_id: str, role: str, holder: str) -> None:
        """Say that a shift is over."""
        run = self._runs.get(run_id)
        if run is not None:
            run.shifts.setdefault(role, Leases()).until.pop(holder, None)

    async def note_ticket(self, run_id: str, role: str, ticket: str) -> None:
        """Remember for a few seconds that a ticket is on its way."""
        self._runs[run_id].tickets.setdefault(role, Leases()).until[ticket] = self._clock() + TICKET_LEASE_MS

    async def register_worker(self, worker: WorkerCard) -> None:
        """Say that a worker is alive; forgotten after a few seconds."""
        self._workers[worker.name] = (self._clock() + WORKER_LEASE_MS, worker)

    async def workers(self) -> list[WorkerCard]:
        """Workers that are alive; one of another version serves no role here."""
        now = self._clock()
        alive = [worker for _, (until, worker) in sorted(self._workers.items()) if until > now]
        return [served_here(worker) for worker in alive]

    async def note_beat(self, holder: str) -> None:
        """Say that the acting heartbeat looked after all runs just now."""
        self._beat = Beat(holder, self._clock())

    async def last_beat(self) -> Beat | None:
        """Who looked after the runs last, and when."""
        return self._beat

    async def lock(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a short lock; False when another holds it."""
        until, owner = self._locks.get(name, (0, holder))
        lease = self._clock() + milliseconds(seconds)
        if owner != holder and until > self._clock():
            self._locks[name] = (min(until, lease), owner)
            return False
        self._locks[name] = (lease, holder)
        return True

    async def unlock(self, name: str, holder: str) -> None:
        """Give a lock back if it is still ours."""
        if self._locks.get(name, (0, ""))[1] == holder:
            del self._locks[name]
