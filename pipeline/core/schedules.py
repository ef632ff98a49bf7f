"""Schedules: a run's command, when it is to be given, and what has become of it so far.

All times are ms since 1970 by the Redis server's clock, so hosts with wrong clocks do no harm. A `Book` is what is kept
of one schedule: it is replaced whole, in one step, by whoever saw it as it stands.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class Overlap(StrEnum):
    """What becomes of a time that comes while an earlier one is still at work."""

    SKIP = "skip"
    QUEUE = "queue"


class Missed(StrEnum):
    """What becomes of times at which no worker lived: the latest is caught up, or none is."""

    ONCE = "once"
    SKIP = "skip"


class FiringState(StrEnum):
    """Where a firing stands: queued, due, launching and running are open, the others are over."""

    QUEUED = "queued"
    """It waits until an earlier one is over."""
    DUE = "due"
    """A control worker is to give the command."""
    LAUNCHING = "launching"
    """One does, under a lease."""
    RUNNING = "running"
    """The run is with the fleet."""
    ENDED = "ended"
    SKIPPED = "skipped"
    MISSED = "missed"


class Cause(StrEnum):
    """Why a firing came about."""

    CRON = "cron"
    CAUGHT_UP = "caught up"
    BY_HAND = "by hand"


OPEN = frozenset({FiringState.QUEUED, FiringState.DUE, FiringState.LAUNCHING, FiringState.RUNNING})


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a person added. `command` are the arguments of `vidbatch run`, with `{date}` and the like unfilled."""

    name: str
    cron: str
    tz: str
    """IANA name of the time zone whose clock `cron` and `{date}` follow."""
    command: tuple[str, ...]
    folder: str
    """Where the command's relative paths, and its vidbatch.toml, are looked for."""
    overlap: Overlap = Overlap.SKIP
    missed: Missed = Missed.ONCE
    notify: str = ""
    """URL that is told how firings end; empty where nobody is."""
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to the schedule's URL, until it arrived or was given up."""

    event: str
    """`ended`, `paused`, `skipped` or `missed`."""
    tries: int = 0
    due_ms: int = 0
    delivered_ms: int = 0
    trouble: str = ""
    """Why the last try failed."""


@dataclass(frozen=True, slots=True)
class Firing:
    """One time of a schedule. `at_ms` is the time that was planned, and what `{date}` is filled by."""

    firing_id: str
    """Sorts by time, unique within the schedule; also the message's id towards the webhook."""
    at_ms: int
    cause: Cause
    state: FiringState
    changed_ms: int
    run_id: str = ""
    out: str = ""
    holder: str = ""
    """The worker that launches it."""
    lease_ms: int = 0
    tries: int = 0
    exit_code: int | None = None
    """That of `vidbatch run`: also 3 or 4 while the run is paused."""
    said: str = ""
    """One line for people: how it ended, or why it did not begin."""
    summary: dict[str, object] | None = None
    """The receipt's sums, once the run has ended."""
    notices: tuple[Notice, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it keeps the next one from running."""
        return self.state in OPEN


@dataclass(frozen=True, slots=True)
class Book:
    """All that is kept of a schedule but the history: `revision` grows with each change."""

    schedule: Schedule
    next_ms: int
    """The next time at which it fires; counted on while it is paused, so that no pause is caught up."""
    firings: tuple[Firing, ...] = ()
    """Those that are open, and those that are over of which somebody is still to be told; oldest first."""
    revision: int = 0

    def revised(self, **changes: object) -> "Book":
        """The book after this one."""
        return replace(self, revision=self.revision + 1, **changes)  # type: ignore[arg-type]
