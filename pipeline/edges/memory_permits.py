"""How many rows a run may send now, in memory: the rules of `lua/claim_submit.lua`, by `core.permits`.

Times are ms since 1970, but for the lanes' clocks, which are in µs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.core.budget import Budget, affordable
from pipeline.core.lifecycle import Outcome, State
from pipeline.core.permits import (
    QUIET_MS,
    SHARE,
    TESTER_MS,
    ahead_of,
    current,
    gap_us,
    room,
    share,
    taken,
    until_due,
    unwanted,
    wait_ms,
    waiter,
)
from pipeline.edges.memory_account import MemoryAccount
from pipeline.edges.memory_lists import until_next_of
from pipeline.edges.memory_run import MemoryRun


@dataclass(frozen=True, slots=True)
class Granted:
    """So many rows, none perhaps; when to come again, in ms, and what cut it short."""

    rows: int
    wait: int = 0
    bound: str = ""
    tester: bool = False


def granted(run: MemoryRun, account: MemoryAccount, runs: Sequence[MemoryRun], limit: int, now: int) -> Granted:
    """What one claim is granted; `runs` are all of the account's. The account's clocks go on with it."""
    wanted, bound = _own(run, account, limit)
    if wanted <= 0:
        return Granted(0, 100, bound)
    left = _affordable(run)
    if left is not None and left < wanted:
        wanted, bound = left, "budget"
    due = len(run.due(State.READY, now, len(run.rows[State.READY])))
    if due == 0:
        return Granted(0, *until_next_of(run.rows[State.READY], now))
    if wanted <= 0:
        return Granted(0, 500, "budget")
    if due < wanted:
        wanted, bound = due, ""
    return _shared(run, account, sum(other.in_flight for other in runs if not other.polls_held), (wanted, bound), now)


def _own(run: MemoryRun, account: MemoryAccount, limit: int) -> tuple[int, str]:
    policy, bound = run.card.policy, ""
    first = policy.first_rows - run.in_flight
    if not run.counts[Outcome.COMPLETED] and first < limit:
        limit, bound = first, "first rows"
    probes = policy.first_rows - len(run.rows[State.SUBMITTING])
    return (probes, "back-off") if account.troubles and probes < limit else (limit, bound)


def _affordable(run: MemoryRun) -> int | None:
    """Rows that the budget leaves room for; nothing without one."""
    if run.card.budget == Budget():
        return None
    return 0 if run.reserved is None else affordable(run.card.budget, run.spending)


def _shared(run: MemoryRun, account: MemoryAccount, in_flight: int, own: tuple[int, str], now: int) -> Granted:
    wanted, bound = own
    limit = _limit(run, account)
    permitted, tester = _in_flight(run, account, in_flight, now)
    permitted, bound = (permitted, "in flight") if permitted < wanted else (wanted, bound)
    gap, now_us = gap_us(account.pace.rate), now * 1000
    if gap:
        account.posts.clock = current(account.posts.clock, gap, now_us)
    if gap and permitted:
        free = room(account.posts.clock, gap, now_us)
        if free < permitted:
            permitted, bound = free, "rate"
            account.posts.cut_short()
    clock, turns = _turn(run, account, gap, now, limit if bound == "in flight" else None)
    # who is too far ahead takes no place among those who wait for the rate, either
    if turns is not None and (turns == 0 or turns < permitted):
        permitted, bound = turns, "turn"
    wait = 100 if permitted < wanted else 0
    if permitted < wanted:
        account.asking[run.card.run_id] = now
    else:
        account.asking.pop(run.card.run_id, None)
    account.clocks[run.card.run_id] = clock + permitted * (SHARE // run.card.priority)
    if permitted:
        account.turns = max(account.turns, clock)
        account.sent_at = now
        account.posts.clock = taken(account.posts.clock, gap, now_us, permitted) if gap else account.posts.clock
    others = account.waiting(run.card.run_id, now)
    if bound == "rate" and others and account.clocks[run.card.run_id] <= min(others):
        wait = wait_ms(until_due(account.posts.clock, now_us))
    elif bound == "rate":
        account.posts.clock, wait_us = waiter(account.posts.clock, gap, now_us)
        wait = wait_ms(wait_us)
    return Granted(permitted, wait, bound, tester and permitted > 0)


def _in_flight(run: MemoryRun, account: MemoryAccount, in_flight: int, now: int) -> tuple[int, bool]:
    pace = account.pace
    most = _most(run, account) - in_flight
    free = _limit(run, account) - in_flight
    quiet = now - account.sent_at >= QUIET_MS and now >= account.tester_until
    if free <= 0 < most and pace.tests and quiet:
        return 1, True
    return max(0, free), False


def _most(run: MemoryRun, account: MemoryAccount) -> int:
    bound, most = run.card.policy.max_in_flight, account.pace.most
    return bound if most is None else min(bound, most)


def _limit(run: MemoryRun, account: MemoryAccount) -> int:
    most, cap = _most(run, account), account.pace.cap
    return most if cap is None else min(most, cap)


def _turn(run: MemoryRun, account: MemoryAccount, gap: int, now: int, limit: int | None) -> tuple[int, int | None]:
    """The run's clock, and the permits that it may take before others that wait; nothing where none does."""
    run_id = run.card.run_id
    clock, others = account.clocks.get(run_id, 0), account.waiting(run_id, now)
    # who did not wait has no right to what others used meanwhile, whether or not they wait just now
    if not account.is_asking(run_id, now):
        clock = max(clock, account.turns)
    if not others:
        return clock, None
    mine = share(clock, others, run.card.priority, ahead_of(gap, limit))
    left = unwanted(account.posts.clock, gap, now * 1000) if gap and limit is None else 0
    return clock, max(mine, left)


def hand_out(account: MemoryAccount, token: str, now: int, *, tester: bool) -> None:
    """Note the token of a tester."""
    if tester:
        account.tester, account.tester_until = token, now + TESTER_MS


def paced_late(account: MemoryAccount, limit: int, due: int, now: int) -> tuple[int, int]:
    """How many of the late ids that are due may be asked for now, and the ms until more may; 0 where none is left."""
    lane, now_us, gap = account.polling, now * 1000, gap_us(account.pace.poll_rate)
    if not due:
        return 0, 0
    if lane.wait_until > now:
        return 0, lane.wait_until - now
    allowed, wait = min(limit, due), 1
    if gap:
        clock = replace(lane.clock, tat=min(lane.clock.tat, now_us + gap))
        allowed = min(allowed, room(clock, gap, now_us))
        clock = taken(clock, gap, now_us, allowed)
        lane.clock = clock if allowed else lane.clock
        wait = max(1, -(-(clock.tat - now_us) // 1000))
    return allowed, wait if allowed < due else 0


def paced_polls(account: MemoryAccount, due: int, now: int) -> tuple[int, int, str]:
    """How many of the polls that are due may go, the ms until a further claim, and what bounds them."""
    lane, now_us, gap = account.polling, now * 1000, gap_us(account.pace.poll_rate)
    if lane.wait_until > now:
        return 0, lane.wait_until - now, "back-off"
    if not gap or not due:
        return due, 0, ""
    lane.clock = current(lane.clock, gap, now_us)
    free = room(lane.clock, gap, now_us)
    if free < due:
        lane.cut_short()
    if free:
        lane.clock = taken(lane.clock, gap, now_us, min(free, due))
        return min(free, due), 0, "rate" if free < due else ""
    lane.clock, wait_us = waiter(lane.clock, gap, now_us)
    return 0, wait_ms(wait_us), "rate"
