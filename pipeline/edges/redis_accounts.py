"""Accounts in Redis: their pace, their limits, and what was counted and observed of them. Nothing is decided here."""

from collections.abc import Sequence
from contextlib import suppress

from pipeline.core.budget import Reservation
from pipeline.core.errors import LedgerUnavailable
from pipeline.core.limits import Limits
from pipeline.core.observations import Observed, read_observed
from pipeline.core.pacing import AccountSeen, Pace
from pipeline.core.polling import LONGEST_HOLD_S
from pipeline.core.steps import Step
from pipeline.edges.redis_keys import (
    ACCOUNTS,
    RUN_PREFIX,
    RunKeys,
    account_counts_key,
    account_key,
    account_observed_key,
    account_runs_key,
)
from pipeline.edges.redis_late import RedisLate
from pipeline.edges.redis_wire import count_arguments, pace_fields, pack_limits, read_account, read_limits

OBSERVED_KEPT = 1_000
"""What ended generations told is kept of so many: enough for a distribution, and what is older is out of date."""

TIMETABLES_LIVE_S = 86_400
"""A run that is forgotten in the very moment in which they are set leaves nothing for longer."""


class RedisAccounts(RedisLate):
    """The part of `ports.Ledger` that knows accounts."""

    async def account_seen(self, account: str) -> AccountSeen:
        """What an account looks like now."""
        named = [account_key(account), account_runs_key(account)]
        return read_account(await self._door.script("account", named, [RUN_PREFIX]))

    async def account_clock_went_back(self, account: str, jump_ms: int = 0) -> int:
        """Put the account's times back with the clock; how many there were."""
        args: list[int | str] = [jump_ms, round(LONGEST_HOLD_S * 1000)]
        args += ["wait_until", "1", "poll_wait_until", "1", "tester_until", "1"]
        args += ["event_at", "", "poll_event_at", "", "sent_at", ""]
        return int(await self._door.script("clock_back", [account_key(account)], args))

    async def set_pace(self, account: str, found: bytes, pace: Pace) -> None:
        """Have all claims of the account's runs keep to this pace from now on."""
        await self._door.script("set_fields", [account_key(account)], ["", *pace_fields(found, pace)])

    async def observed(self, account: str) -> list[Observed]:
        """What the account's last ended generations told, oldest first."""
        return [read_observed(item) for item in await self._door.call("LRANGE", account_observed_key(account), 0, -1)]

    async def account_limits(self, account: str) -> Limits:
        """What a person gave to the account itself."""
        return read_limits(await self._door.call("HGET", account_key(account), "limits"))

    async def set_account_limits(self, account: str, limits: Limits) -> None:
        """Replace the account's own limits."""
        await self._door.call("SADD", ACCOUNTS, account)
        await self._door.script("set_fields", [account_key(account)], ["", "limits", pack_limits(limits)])

    async def account_counts(self, account: str) -> dict[str, int]:
        """What was counted of an account."""
        flat = await self._door.call("HGETALL", account_counts_key(account))
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        return {name.decode(): int(number) for name, number in pairs}

    async def _count_some(self, account: str, steps: Sequence[Step], applied: Sequence[bool]) -> None:
        """Count what was applied of a group of which the script counted nothing, since some of it was stale.

        A count that Redis can't take is missed: to offer the group again for that would tell it of steps twice.
        """
        if steps and not all(applied):
            with suppress(LedgerUnavailable):
                await self._door.script("count", [account_counts_key(account)], count_arguments(steps)[1:])

    async def accounts(self) -> list[str]:
        """Accounts that are known, by name."""
        return sorted(name.decode() for name in await self._door.call("SMEMBERS", ACCOUNTS))

    async def set_limits(self, run_id: str, limits: Limits) -> bool:
        """Replace the limits that a run was given; False for an unknown run."""
        named = [RunKeys(run_id)("meta")]
        return bool(await self._door.script("set_fields", named, ["1", "limits", pack_limits(limits)]))

    async def set_reservation(self, run_id: str, reservation: Reservation) -> None:
        """What one row in flight of this run reserves of its budget from now on."""
        args = ["1", "reserve_tokens", reservation.tokens, "reserve_micro", reservation.cost_micro]
        await self._door.script("set_fields", [RunKeys(run_id)("meta")], args)

    async def set_timetables(self, run_id: str, packed: bytes) -> None:
        """When to poll, by model."""
        await self._door.call("SET", RunKeys(run_id)("timetables"), packed, "EX", TIMETABLES_LIVE_S)

    async def timetables(self, run_id: str) -> bytes:
        """What `set_timetables` left; empty before."""
        return await self._door.call("GET", RunKeys(run_id)("timetables")) or b""
