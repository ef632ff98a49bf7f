"""Accounts in memory: the counterpart of `redis_accounts`."""

from collections import Counter
from dataclasses import replace

from pipeline.core.budget import Budget, Reservation
from pipeline.core.lifecycle import State
from pipeline.core.limits import Limits
from pipeline.core.observations import Observed
from pipeline.core.pacing import AccountSeen, Pace
from pipeline.core.records import Ending
from pipeline.edges.memory_account import MemoryAccount
from pipeline.edges.memory_clock import Jump
from pipeline.edges.memory_presence import MemoryPresence
from pipeline.edges.memory_run import MemoryRun


class MemoryAccounts(MemoryPresence):
    """The part of `ports.Ledger` that knows accounts."""

    async def account_seen(self, account: str) -> AccountSeen:
        """What an account looks like now."""
        runs = [run for run in self._runs.values() if run.card.account == account]
        in_flight = sum(run.in_flight for run in runs if not run.polls_held)
        return self._named(account).look(self._clock(), in_flight)

    async def account_clock_went_back(self, account: str, jump_ms: int = 0) -> int:
        """Put the account's times back with the clock; how many there were."""
        return Jump(self._clock(), jump_ms).account(self._named(account))

    async def set_pace(self, account: str, found: bytes, pace: Pace) -> None:
        """Have all claims of the account's runs keep to this pace from now on."""
        named = self._named(account)
        named.found, named.pace = found, pace

    async def observed(self, account: str) -> list[Observed]:
        """What the account's last ended generations told, oldest first."""
        return list(self._named(account).observed)

    async def account_limits(self, account: str) -> Limits:
        """What a person gave to the account itself."""
        return self._named(account).limits

    async def set_account_limits(self, account: str, limits: Limits) -> None:
        """Replace the account's own limits."""
        self._named(account).limits = limits

    async def account_counts(self, account: str) -> dict[str, int]:
        """What was counted of an account."""
        return dict(self._named(account).counts)

    async def accounts(self) -> list[str]:
        """Accounts that are known, by name."""
        return sorted(self._accounts)

    async def set_limits(self, run_id: str, limits: Limits) -> bool:
        """Replace the limits that a run was given; False for an unknown run."""
        run = self._runs.get(run_id)
        if run is None:
            return False
        run.limits = limits
        return True

    async def set_budget(self, run_id: str, budget: Budget) -> bool:
        """Replace the caps of a run, from its next claim on; False for an unknown run."""
        run = self._runs.get(run_id)
        if run is None:
            return False
        run.card = replace(run.card, budget=budget)
        run.cap_given()
        return True

    async def set_reservation(self, run_id: str, reservation: Reservation) -> None:
        """What one row in flight of this run reserves of its budget from now on."""
        if run_id in self._runs:
            self._runs[run_id].reserved = reservation

    async def set_timetables(self, run_id: str, packed: bytes) -> None:
        """When to poll, by model."""
        if run_id in self._runs:
            self._runs[run_id].timetables = packed

    async def timetables(self, run_id: str) -> bytes:
        """What `set_timetables` left; empty before."""
        run = self._runs.get(run_id)
        return b"" if run is None else run.timetables

    def _end_rows(self, run: MemoryRun, state: State, limit: int, ending: Ending) -> int:
        before = Counter(run.counts)
        ended = run.end_rows(state, limit, ending)
        self._account(run).count_ended(before, run.counts)
        return ended

    def _account(self, run: MemoryRun) -> MemoryAccount:
        return self._named(run.card.account)

    def _named(self, account: str) -> MemoryAccount:
        return self._accounts.setdefault(account, MemoryAccount())
