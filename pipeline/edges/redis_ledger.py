"""The ledger in Redis. Each method is one script or command: one atomic step, decided elsewhere.

The layout of the keys is in `redis_keys`, the scripts are in `lua/`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.core.budget import Budget, Settled
from pipeline.core.lead import lead_lock
from pipeline.core.lifecycle import State
from pipeline.core.permits import (
    AHEAD,
    AHEAD_PART,
    AHEAD_US,
    ASKING_MS,
    LATE_PERMITS,
    LATE_US,
    LEAST_LATE_US,
    PAUSE_US,
    QUIET_MS,
    SHARE,
    TESTER_MS,
    WAKE_US,
)
from pipeline.core.polling import TOGETHER_MS, longest_wait_s
from pipeline.core.records import Ending, pack, pack_ending, unpack
from pipeline.core.rows import Rows
from pipeline.core.snapshot import RESULTS_BYTES, RunSnapshot, RunState
from pipeline.edges.redis_accounts import OBSERVED_KEPT, RedisAccounts
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_keys import (
    ACCOUNTS,
    LEDGER_VERSION,
    LOCKS,
    ROLES,
    RUN_PREFIX,
    RUNS,
    RunKeys,
    account_counts_key,
    account_key,
    account_observed_key,
    account_runs_key,
)
from pipeline.edges.redis_presence import SHIFT_LEASE_MS, TICKET_LEASE_MS
from pipeline.edges.redis_wire import (
    cap_fields,
    card_fields,
    commit_arguments,
    count_arguments,
    pack_card,
    read_snapshot,
    taken_over,
    unpack_card,
)
from pipeline.ports import Claim, Claimed, Commit, FedRow, RowSeen, RunCard

POLL_AHEAD_MS = 500
"""A poll shift takes about this long to begin, so polls due within it count as due."""


class RedisLedger(RedisAccounts):
    """Implements `ports.Ledger`."""

    def __init__(self, url: str) -> None:
        super().__init__(RedisDoor(url))

    async def open_run(
        self,
        card: RunCard,
        *,
        recover_until: int,
        ended: Mapping[str, int],
        done: Rows,
        state: RunState = RunState.RUNNING,
        settled: Settled = Settled(),
    ) -> bool:
        """Make the run's ledger; False when it is there already."""
        keys = RunKeys(card.run_id)
        meta: list[str | bytes | int] = ["card", pack_card(card), "state", state, "fed", 0]
        meta += ["recover_until", recover_until]
        meta += ["version", LEDGER_VERSION]
        for outcome, count in ended.items():
            meta += [f"o:{outcome}", count]
        meta += ["prompt_tokens", settled.prompt_tokens, "completion_tokens", settled.completion_tokens]
        meta += ["cost_micro", settled.cost_micro, "kept", settled.kept, *card_fields(card)]
        named = [keys("meta"), keys("done"), RUNS, account_runs_key(card.account), ACCOUNTS]
        named += [keys("submitting"), keys("pending")]
        return bool(await self._door.script("open_run", named, [card.run_id, done.bitmap(), card.account, *meta]))

    async def active_runs(self) -> list[str]:
        """Ids of the runs that are not forgotten, oldest first."""
        return sorted(member.decode() for member in await self._door.call("SMEMBERS", RUNS))

    async def set_state(
        self, run_id: str, state: RunState, reason: str = "", *, only_from: RunState | None = None
    ) -> bool:
        """Change what the run is doing; whether it was."""
        args = [state, reason, only_from or ""]
        return bool(await self._door.script("set_state", [RunKeys(run_id)("meta")], args))

    async def reopen(self, card: RunCard, state: RunState = RunState.RUNNING) -> None:
        """Continue a run with this card, whatever stopped it; the account's block is lifted."""
        before = await self.card(card.run_id) or card
        keys = RunKeys(card.run_id)
        named = [keys("meta"), account_key(card.account), account_runs_key(card.account)]
        named += [account_runs_key(before.account), keys("submitting"), keys("pending")]
        await self._door.script("reopen", named, [card.run_id, pack_card(card), state, *card_fields(card)])
        self._cards[card.run_id] = card

    async def set_budget(self, run_id: str, budget: Budget) -> bool:
        """Replace the caps of a run, from its next claim on; False for an unknown run."""
        card = await self.card(run_id)
        if card is None:
            return False
        card = replace(card, budget=budget)
        keys = RunKeys(run_id)
        named = [keys(name) for name in ("meta", "submitting", "pending")]
        known = await self._door.script("set_budget", named, ["card", pack_card(card), *cap_fields(budget)])
        self._cards[run_id] = card
        return bool(known)

    async def forget(self, run_id: str) -> None:
        """Remove all of a finished run."""
        card = await self.card(run_id) or self._cards.get(run_id)
        account = card.account if card is not None else ""
        named = [RUNS, account_runs_key(account), account_key(account), *RunKeys(run_id).every()]
        await self._door.script("forget", named, [run_id])
        self._cards.pop(run_id, None)

    async def feed(self, run_id: str, cursor: int, until: int, rows: Sequence[FedRow]) -> bool:
        """Push rows and move the feed cursor, if nobody moved it meanwhile."""
        keys = RunKeys(run_id)
        args: list[Any] = [cursor, until, _ms((await self._known(run_id)).policy.lease_s)]
        for row in rows:
            record = b"" if row.record is None else pack(row.record)
            untold = 0 if row.record is None else row.record.untold
            args += [row.row_index, row.body, record, row.place, untold]
        named = [keys(name) for name in ("meta", "ready", "bodies", "records", "pending", "submitting", "kept")]
        return bool(await self._door.script("feed", named, args))

    async def clock_went_back(self, run_id: str, jump_ms: int = 0) -> int:
        """Put the run's times back with the clock; how many there were."""
        policy, keys = (await self._known(run_id)).policy, RunKeys(run_id)
        sets: dict[str, int | str] = {"submitting": _ms(policy.lease_s), "ready": "", "pending": "", "late": ""}
        sets |= {f"shifts:{role}": SHIFT_LEASE_MS for role in ROLES}
        sets |= {f"tickets:{role}": TICKET_LEASE_MS for role in ROLES}
        args = [jump_ms, _ms(longest_wait_s(policy.poll)), *sets.values(), "trouble_since", "", "doubt_since", ""]
        return int(await self._door.script("clock_back", [keys("meta"), *map(keys, sets)], args))

    async def claim_submit(self, run_id: str, holder: str, limit: int) -> Claim:
        """Claim rows that may be sent now, together with their permits."""
        card = await self._known(run_id)
        keys, policy = RunKeys(run_id), card.policy
        named = [keys(name) for name in ("meta", "ready", "submitting", "pending", "bodies", "records", "tokens")]
        named += [account_key(card.account), account_runs_key(card.account), f"{LOCKS}{lead_lock(run_id)}"]
        args = [holder, limit, _ms(policy.lease_s), policy.first_rows, policy.max_in_flight, RESULTS_BYTES, RUN_PREFIX]
        args += ["1" if card.detached else "", run_id, card.priority, LATE_US, WAKE_US, AHEAD, AHEAD_US, SHARE]
        args += [ASKING_MS, QUIET_MS, PAUSE_US, LEAST_LATE_US, TESTER_MS, AHEAD_PART, LATE_PERMITS]
        reply = await self._door.script("claim_submit", named, args)
        rows: list[Claimed] = []
        if len(reply) > _CLAIM_HEAD:
            token, now = reply[4].decode(), reply[0]
            rows.extend(
                Claimed(int(reply[i]), token, unpack(reply[i + 2]), reply[i + 1], now) for i in range(5, len(reply), 3)
            )
        return Claim(tuple(rows), reply[0], reply[1], reply[2], reply[3].decode())

    async def unclaim(self, run_id: str, holder: str, held: Sequence[int]) -> int:
        """Give back rows that were claimed for a holder who never heard of it."""
        keys = RunKeys(run_id)
        named = [keys(name) for name in ("ready", "submitting", "records", "tokens")]
        return int(await self._door.script("unclaim", named, [holder, *held]))

    async def claim_polls(self, run_id: str, holder: str, limit: int) -> Claim:
        """Claim rows whose next poll is due."""
        return await self._claim_due(run_id, "pending", holder, limit, polling=True)

    async def claim_lapsed(self, run_id: str, holder: str, limit: int) -> Claim:
        """Take over rows whose POST nobody answers for any more."""
        return await self._claim_due(run_id, "submitting", holder, limit, polling=False)

    async def _claim_due(self, run_id: str, state: str, holder: str, limit: int, *, polling: bool) -> Claim:
        card = await self._known(run_id)
        keys = RunKeys(run_id)
        named = [keys("meta"), keys(state), keys("records"), keys("tokens"), account_key(card.account)]
        args = [holder, limit, _ms(card.policy.lease_s), "1" if polling else ""]
        args += [LATE_US, WAKE_US, PAUSE_US, LEAST_LATE_US, LATE_PERMITS]
        reply = await self._door.script("claim_due", named, args)
        rows: list[Claimed] = []
        if len(reply) > _CLAIM_HEAD:
            rows.extend(taken_over(reply, i) for i in range(_CLAIM_HEAD, len(reply), 4))
        return Claim(tuple(rows), reply[0], reply[1], reply[2], reply[3].decode())

    async def take_ready(self, run_id: str, holder: str, row_index: int) -> Claimed | None:
        """Take one row out of `ready`, to adopt a late id."""
        reply = await self._take(run_id, holder, row_index, "", 0)
        return None if reply is None else Claimed(row_index, reply[1].decode(), unpack(reply[2]), b"", reply[0])

    async def row_seen(self, run_id: str, row_index: int) -> RowSeen:
        """Where one row stands."""
        keys = [RunKeys(run_id)(name) for name in ("ready", "submitting", "pending", "records", "done")]
        state, record = await self._door.script("row_seen", keys, [row_index])
        return RowSeen(State(state.decode()) if state else None, unpack(record))

    async def put_back(self, run_id: str, row: Claimed) -> None:
        """Return a row of `take_ready` unchanged."""
        card = await self._known(run_id)
        await self._take(run_id, "", row.row_index, row.token, _ms(card.policy.lease_s))

    async def _take(self, run_id: str, holder: str, row_index: int, token: str, wait_ms: int) -> Any:  # noqa: ANN401
        card = await self._known(run_id)
        keys = RunKeys(run_id)
        named = [keys(name) for name in ("meta", "ready", "submitting", "records", "tokens")]
        return await self._door.script(
            "take_ready", named, [holder, row_index, _ms(card.policy.lease_s), token, wait_ms]
        )

    async def commit(self, run_id: str, commits: Sequence[Commit]) -> list[bool]:
        """Apply steps in one group; False for each whose token is stale."""
        card = await self._known(run_id)
        keys = RunKeys(run_id)
        names = ("meta", "ready", "submitting", "pending", "bodies", "records", "tokens", "results", "accepted", "done")
        account = card.account
        named = [*(keys(name) for name in names), account_key(account), account_runs_key(account)]
        named += [account_observed_key(account), keys("kept"), account_counts_key(account)]
        args: list[Any] = [card.policy.guard_first, card.policy.guard_later, card.policy.guard_missing]
        args += [RUN_PREFIX, OBSERVED_KEPT, card.policy.most_doubts, TOGETHER_MS, card.total]
        args += count_arguments(commit.step for commit in commits)
        for commit in commits:
            args += commit_arguments(commit)
        applied = [bool(was) for was in await self._door.script("commit", named, args)]
        await self._count_some(account, [one.step for one, was in zip(commits, applied, strict=True) if was], applied)
        return applied

    async def cancel_ready(self, run_id: str, limit: int, ending: Ending) -> int:
        """End rows that are ready, while the run is cancelling."""
        return await self._end_rows(run_id, "ready", limit, ending, "")

    async def abandon_pending(self, run_id: str, limit: int, ending: Ending) -> int:
        """End rows that are pending, and forget the late ids, while the run is abandoning."""
        return await self._end_rows(run_id, "pending", limit, ending, "1")

    async def _end_rows(self, run_id: str, state: str, limit: int, ending: Ending, abandoning: str) -> int:
        keys = RunKeys(run_id)
        names = ("meta", state, "bodies", "records", "results", "done", "tokens", "late", "kept")
        named = [keys(name) for name in names]
        named.append(account_counts_key((await self._known(run_id)).account))
        args = [limit, pack_ending(ending), ending.outcome, abandoning]
        return int(await self._door.script("end_rows", named, args))

    async def renew(self, run_id: str, state: State, rows: Mapping[int, str]) -> None:
        """Extend the leases of rows that are still in hand."""
        card = await self._known(run_id)
        keys = RunKeys(run_id)
        args: list[Any] = [_ms(card.policy.lease_s)]
        for row_index, token in rows.items():
            args += [row_index, token]
        await self._door.script("renew", [keys(state), keys("tokens")], args)

    async def snapshot(self, run_id: str) -> RunSnapshot | None:
        """What the run looks like now; nothing for an unknown run."""
        card = self._cards.get(run_id) or await self.card(run_id)
        if card is None:
            return None
        keys = RunKeys(run_id)
        named = [keys(name) for name in ("meta", "ready", "submitting", "pending", "results", "accepted")]
        named += [account_key(card.account)]
        named += [keys(f"{kind}:{role}") for kind in ("shifts", "tickets") for role in ROLES]
        named += [f"{LOCKS}{lead_lock(run_id)}", keys("late")]
        reply = await self._door.script("snapshot", named, [POLL_AHEAD_MS])
        if reply is None:
            return None
        meta = dict(zip(reply[1][::2], reply[1][1::2], strict=True))
        self._cards[run_id] = unpack_card(meta[b"card"])
        return read_snapshot(self._cards[run_id], meta, reply)

    async def close(self) -> None:
        """Close the connections."""
        await self._door.close()


_CLAIM_HEAD = 4


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
