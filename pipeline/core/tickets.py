"""Which tickets are due: what the heartbeat asks, as a pure function of what the ledger looks like.

A ticket says "run R has this kind of work" and carries no row, so losing or repeating one is harmless.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from pipeline.core.media_roots import covers
from pipeline.core.snapshot import RunSnapshot, RunState


class Role(StrEnum):
    """A kind of work, and the Celery queue of its tickets."""

    SUBMIT = "submit"
    POLL = "poll"
    WRITE = "write"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Ticket:
    """A Celery message: run `run_id` has work of this role."""

    role: Role
    run_id: str


@dataclass(frozen=True, slots=True)
class Capacity:
    """Shifts that the living workers can hold at a time, and messages that already wait, by role."""

    shifts: dict[Role, int]
    queued: dict[Role, int]
    keys: frozenset[str] | None = None
    """Fingerprints of the keys that the living workers hold; nothing when that does not matter."""
    roots: tuple[tuple[str, ...], ...] | None = None
    """The folders that each living sender may read; nothing when that does not matter."""


ROWS_A_SHIFT = 64
"""One more shift of a role is worth its process once this many rows wait for it."""


def tickets_due(runs: list[RunSnapshot], capacity: Capacity, turn: int = 0) -> list[Ticket]:
    """The tickets to issue now: need - what is on its way - live shifts, within each role's capacity.

    Runs take turns, so that none waits for another to finish: `turn` says whose turn comes first where two hold as
    much. A queue that nobody drains gets no more messages, a run whose key nobody holds no tickets to send or poll,
    and one whose files nobody may read none to send.
    """
    first = turn % max(1, len(runs))
    runs = runs[first:] + runs[:first]
    due: list[Ticket] = []
    for role in Role:
        held = {run.run_id: run.shifts.get(role, 0) for run in runs}
        needs = {run.run_id: _need(run, role) for run in runs if _served(run, role, capacity)}
        room = capacity.shifts.get(role, 0) - sum(held.values())
        if capacity.queued.get(role, 0) > 2 * max(1, capacity.shifts.get(role, 0)):
            continue
        while room > 0 and (waiting := [run_id for run_id, need in needs.items() if need > held[run_id]]):
            # The run that holds the fewest: else the first one takes each shift that becomes free, for ever.
            next_one = min(waiting, key=lambda run_id: held[run_id])
            due.append(Ticket(role, next_one))
            held[next_one] += 1
            room -= 1
    return due


def _served(run: RunSnapshot, role: Role, capacity: Capacity) -> bool:
    needs_files = role is Role.SUBMIT and run.media_roots and capacity.roots is not None
    if needs_files and not any(covers(own, run.media_roots) for own in capacity.roots or ()):
        return False
    needs_key = role in {Role.SUBMIT, Role.POLL}
    return not needs_key or capacity.keys is None or run.key_fingerprint in capacity.keys


def _need(run: RunSnapshot, role: Role) -> int:
    match role:
        case Role.SUBMIT:
            return min(_shifts_for(run.ready_due), _senders(run)) if run.sends else 0
        case Role.POLL:
            return _shifts_for(run.pending_due + run.late_due) if run.collects else 0
        case Role.WRITE:
            return int(run.results > 0 or run.accepted_unsaved > 0)
        case Role.CONTROL:
            return int(wants_feed(run) or _wants_cancel(run) or run.all_ended)


def _shifts_for(rows: int) -> int:
    return -(-rows // ROWS_A_SHIFT)


def _senders(run: RunSnapshot) -> int:
    """Shifts that a paced account keeps busy: what is on the wire, the permits of the next second, and a spare."""
    rate = run.pace.rate
    return run.ready_due if rate is None else 1 + _shifts_for(run.submitting + math.ceil(rate))


def wants_feed(run: RunSnapshot) -> bool:
    """Whether the ledger has room for more of the run's rows."""
    return run.state is RunState.RUNNING and run.fed < run.total and run.window_has_room


def _wants_cancel(run: RunSnapshot) -> bool:
    unsent = run.ready + run.total - run.fed
    if run.state is RunState.ABANDONING:
        return unsent + run.pending + run.late > 0
    return run.state is RunState.CANCELLING and unsent > 0
