"""A firing's way from its command to its end: claimed, launched, with the fleet, held up, lost, over.

As in `firings`, each function takes the book as it stands and returns the one after it, or nothing where what it is
told of is not so any more: another worker has taken the firing over, or the schedule is gone.
"""

from collections.abc import Mapping
from dataclasses import replace

from pipeline.core.firings import notices, with_firings
from pipeline.core.holds import Hold
from pipeline.core.schedules import Book, Firing, FiringState

LEASE_MS = 30_000
"""A worker that gives a command and says nothing for so long is dead; it says so at every third of this."""

AGAIN_MS = 60_000
"""A command that the system failed is given again after so long."""

MOST_LAUNCHES = 6
"""The first one, and five more where the system failed, a worker died, or the ledger was lost."""

SYSTEM = 5
"""The exit code of a command that Redis, the disk or a process failed."""


def claimable(book: Book, now_ms: int) -> Firing | None:
    """The firing whose command is to be given now, or given again since its worker is silent.

    A time further ahead than any lease is one of a clock that was put back, and no reason to wait.
    """
    for firing in book.firings:
        waits_ms = firing.lease_ms - now_ms
        if firing.state is FiringState.DUE and not 0 < waits_ms <= AGAIN_MS:
            return firing
        if firing.state is FiringState.LAUNCHING and not 0 < waits_ms <= LEASE_MS:
            return firing
    return None


def claimed(book: Book, firing_id: str, holder: str, now_ms: int) -> Book | None:
    """The book once this worker gives the command; one that was given too often is over instead."""
    firing = claimable(book, now_ms)
    if firing is None or firing.firing_id != firing_id:
        return None
    if firing.tries >= MOST_LAUNCHES:
        why = firing.said or "no worker came back to tell how it went"
        return _over(book, firing, SYSTEM, f"its command was given {firing.tries} times: {why}", None, now_ms)
    return _with(
        book,
        replace(
            firing,
            state=FiringState.LAUNCHING,
            holder=holder,
            lease_ms=now_ms + LEASE_MS,
            tries=firing.tries + 1,
            changed_ms=now_ms,
        ),
        now_ms,
    )


def held(book: Book | None, firing_id: str, holder: str) -> Firing | None:
    """The firing, if it is still this worker that gives its command."""
    firing = _of(book, firing_id) if book is not None else None
    is_ours = firing is not None and firing.state is FiringState.LAUNCHING and firing.holder == holder
    return firing if is_ours else None


def renewed(book: Book, firing_id: str, holder: str, now_ms: int) -> Book | None:
    """The book once the worker has said that it is still at it."""
    firing = held(book, firing_id, holder)
    return None if firing is None else _with(book, replace(firing, lease_ms=now_ms + LEASE_MS), now_ms)


def released(book: Book, firing_id: str, holder: str, now_ms: int) -> Book | None:
    """The book once the worker leaves: the next one gives the command at once, and this time does not count."""
    firing = held(book, firing_id, holder)
    if firing is None:
        return None
    due = replace(firing, state=FiringState.DUE, holder="", lease_ms=0, tries=firing.tries - 1, changed_ms=now_ms)
    return _with(book, due, now_ms)


def handed_over(book: Book, firing_id: str, holder: str, run_id: str, out: str, now_ms: int) -> Book | None:
    """The book once the run is with the fleet."""
    firing = held(book, firing_id, holder)
    if firing is None:
        return None
    running = replace(firing, state=FiringState.RUNNING, run_id=run_id, out=out, said="")
    return _with(book, replace(running, holder="", lease_ms=0, exit_code=None, changed_ms=now_ms), now_ms)


def failed(book: Book, firing_id: str, holder: str, said: str, now_ms: int) -> Book | None:
    """The book once the system failed the command: it is given again later, unless that was the last time."""
    firing = held(book, firing_id, holder)
    if firing is None:
        return None
    if firing.tries >= MOST_LAUNCHES:
        return _over(book, firing, SYSTEM, said, None, now_ms)
    due = replace(firing, state=FiringState.DUE, holder="", lease_ms=now_ms + AGAIN_MS, said=said, changed_ms=now_ms)
    return _with(book, due, now_ms)


def running(book: Book) -> Firing | None:
    """The firing whose run is with the fleet."""
    return next((firing for firing in book.firings if firing.state is FiringState.RUNNING), None)


def seen(book: Book, firing_id: str, hold: Hold | None, now_ms: int) -> Book:
    """The book by what the ledger says of the run; the very same where it says nothing new. Each pause is told once."""
    firing = _running(book, firing_id)
    if firing is None:
        return book
    code, said = (None, "") if hold is None else (hold.exit_code, hold.reason or hold.by.value)
    if (firing.exit_code, firing.said) == (code, said):
        return book
    told = firing.notices
    if hold is not None and firing.exit_code is None:
        told = (*told, *notices(book.schedule, "paused", now_ms))
    return _with(book, replace(firing, exit_code=code, said=said, notices=told, changed_ms=now_ms), now_ms)


def lost(book: Book, firing_id: str, now_ms: int) -> Book | None:
    """The book once the run's ledger is lost: the same command goes on from what is on disk."""
    firing = _running(book, firing_id)
    if firing is None:
        return None
    said = "the ledger of its run was lost"
    return _with(
        book, replace(firing, state=FiringState.DUE, exit_code=None, lease_ms=0, said=said, changed_ms=now_ms), now_ms
    )


def ended(
    book: Book,
    firing_id: str,
    exit_code: int,
    said: str,
    now_ms: int,
    *,
    summary: Mapping[str, object] | None = None,
    holder: str = "",
    run_id: str = "",
    out: str = "",
) -> Book | None:
    """The book once it is over: of a run that was with the fleet, or, with its `holder`, of a command."""
    firing = held(book, firing_id, holder) if holder else _running(book, firing_id)
    if firing is None:
        return None
    firing = replace(firing, run_id=run_id or firing.run_id, out=out or firing.out)
    return _over(book, firing, exit_code, said, summary, now_ms)


def _over(
    book: Book, firing: Firing, exit_code: int, said: str, summary: Mapping[str, object] | None, now_ms: int
) -> Book:
    over = replace(
        firing,
        state=FiringState.ENDED,
        exit_code=exit_code,
        said=said,
        summary=None if summary is None else dict(summary),
        holder="",
        lease_ms=0,
        changed_ms=now_ms,
        notices=(*firing.notices, *notices(book.schedule, "ended", now_ms)),
    )
    return _with(book, over, now_ms)


def _of(book: Book, firing_id: str) -> Firing | None:
    return next((firing for firing in book.firings if firing.firing_id == firing_id), None)


def _running(book: Book, firing_id: str) -> Firing | None:
    firing = _of(book, firing_id)
    return firing if firing is not None and firing.state is FiringState.RUNNING else None


def _with(book: Book, changed: Firing, now_ms: int) -> Book:
    firings = [changed if firing.firing_id == changed.firing_id else firing for firing in book.firings]
    return with_firings(book, firings, now_ms)
