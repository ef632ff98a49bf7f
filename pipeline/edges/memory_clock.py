"""What becomes of times in memory when the clock was put back: the rules of `lua/clock_back.lua`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from pipeline.core.lifecycle import State
from pipeline.core.polling import LONGEST_HOLD_S, longest_wait_s
from pipeline.edges.memory_account import MemoryAccount
from pipeline.edges.memory_lists import milliseconds
from pipeline.edges.memory_run import MemoryRun
from pipeline.edges.redis_presence import SHIFT_LEASE_MS, TICKET_LEASE_MS

_Name = TypeVar("_Name")


@dataclass(frozen=True, slots=True)
class Jump:
    """A clock that was put back by `ms`, 0 where nobody knows, and tells `now`."""

    now: int
    ms: int = 0

    def run(self, run: MemoryRun) -> int:
        """Put the times of a run back; how many there were."""
        policy = run.card.policy
        held, waiting = run.rows[State.SUBMITTING], (run.rows[State.READY], run.rows[State.PENDING])
        longest = milliseconds(longest_wait_s(policy.poll))
        back = self._leases(held, milliseconds(policy.lease_s))
        back += sum(self._leases(shifts.until, SHIFT_LEASE_MS) for shifts in run.shifts.values())
        back += sum(self._leases(tickets.until, TICKET_LEASE_MS) for tickets in run.tickets.values())
        for due in waiting:
            moved = self._moved(due, longest)
            due.update(moved)
            back += len(moved)
        late = self._moved({line: due for line, (_, due) in run.late.items()}, longest)
        run.late.update({line: (run.late[line][0], due) for line, due in late.items()})
        past = self._moved({"trouble": run.trouble_since, "doubt": run.doubt_since}, 0)
        run.trouble_since, run.doubt_since = past.get("trouble", run.trouble_since), past.get("doubt", run.doubt_since)
        return back + len(late) + len(past)

    def account(self, account: MemoryAccount) -> int:
        """Put the times of an account back; how many there were."""
        longest, back = milliseconds(LONGEST_HOLD_S), 0
        for lane in (account.posts, account.polling):
            waits, past = self._moved({"": lane.wait_until}, longest), self._moved({"": lane.seen.event_at_ms}, 0)
            lane.wait_until = waits.get("", lane.wait_until)
            lane.seen = replace(lane.seen, event_at_ms=past.get("", lane.seen.event_at_ms))
            back += len(waits) + len(past)
        waits, past = self._moved({"": account.tester_until}, longest), self._moved({"": account.sent_at}, 0)
        account.tester_until, account.sent_at = waits.get("", account.tester_until), past.get("", account.sent_at)
        return back + len(waits) + len(past)

    def _moved(self, times: Mapping[_Name, int], longest: int) -> dict[_Name, int]:
        """Of these times those that go back, as they are then; what happened has no `longest` wait."""
        moved = {name: at - self.ms for name, at in times.items() if at > self.now}
        moved = {name: self.now if at > self.now + longest else at for name, at in moved.items()}
        return {name: at for name, at in moved.items() if at != times[name]}

    def _leases(self, until: dict[_Name, int], lease: int) -> int:
        """Cut leases, but never below a whole one; how many there were."""
        longer = [name for name, at in until.items() if at > self.now + lease]
        until.update(dict.fromkeys(longer, self.now + lease))
        return len(longer)
