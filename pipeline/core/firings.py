"""When a schedule fires, and what becomes of times that come too early, too late or not at all.

Every function takes a schedule's book as it stands and returns the one after it; what came over stays in it until
whoever keeps it has put it into the history.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from pipeline.core.filling import local
from pipeline.core.notices import RETRY_MS, is_waiting
from pipeline.core.schedule_times import latest_between, next_after
from pipeline.core.schedules import Book, Cause, Firing, FiringState, Missed, Notice, Overlap, Schedule

ON_TIME_MS = 60_000
"""A time that is longer ago when somebody looks was missed: no worker lived, or Redis was away."""

_NOBODY = "no worker lived at that time, or Redis was away"

MOST_QUEUED = 50
MOST_MISSED = 200
"""So many missed times are told one by one; one line tells of all before them."""

MOST_UNTOLD = 100
"""Firings that are over are kept in the book for so many messages that did not get through."""

FAR_MS = 2 * 86_400_000
"""A next time that is further away is held against the clock, which may have been put back."""

_BUSY = frozenset({FiringState.DUE, FiringState.LAUNCHING, FiringState.RUNNING})


def added(schedule: Schedule, now_ms: int) -> Book:
    """The first book of a schedule. Its revision is none that one of the same name, removed since, ever had."""
    return Book(schedule, next_after(schedule.cron, schedule.tz, now_ms), revision=now_ms)


def replaced(book: Book, schedule: Schedule, now_ms: int) -> Book:
    """The same schedule by other words; what has fired, or should have by now, goes on as it was."""
    book = fired(book, now_ms)
    firings = book.firings if schedule.notify else tuple(map(_untold, book.firings))
    return book.revised(schedule=schedule, next_ms=next_after(schedule.cron, schedule.tz, now_ms), firings=firings)


def fired(book: Book, now_ms: int) -> Book:
    """The book once all times until now are told of, each once; the very same where none has come."""
    schedule = book.schedule
    if book.next_ms > now_ms:
        return _counted_anew(book, now_ms)
    next_ms = next_after(schedule.cron, schedule.tz, now_ms)
    if schedule.paused:
        return book.revised(next_ms=next_ms)
    times, earlier = latest_between(schedule.cron, schedule.tz, book.next_ms - 1, now_ms, MOST_MISSED + 1)
    known = {firing.firing_id for firing in book.firings}  # a clock that was put back has times come again
    times = [at for at in times if _id_of(at) not in known]
    missed = [at for at in times if now_ms - at > ON_TIME_MS]
    on_time = times[len(missed) :]
    caught_up = missed[-1:] if schedule.missed is Missed.ONCE and not on_time else []
    missed = missed[: len(missed) - len(caught_up)]
    firings = [*book.firings, *_missed(schedule, missed, now_ms, since_ms=book.next_ms if earlier else None)]
    for at in caught_up:
        firings.append(_arrived(schedule, firings, _new(at, Cause.CAUGHT_UP, now_ms)))
    for at in on_time:
        firings.append(_arrived(schedule, firings, _new(at, Cause.CRON, now_ms)))
    return with_firings(book.revised(next_ms=next_ms), firings, now_ms)


def by_hand(book: Book, now_ms: int) -> Book:
    """The book once a person has had it fire now: also while it is paused, but never beside another firing."""
    known, at = {firing.firing_id for firing in book.firings}, now_ms
    while (firing := _new(at, Cause.BY_HAND, now_ms)).firing_id in known:
        at += 1
    return with_firings(book, [*book.firings, _arrived(book.schedule, book.firings, firing)], now_ms)


def paused(book: Book, now_ms: int) -> Book:
    """The book of a schedule that does not fire: what has begun goes on, what only waits to begin is left out.

    A firing by hand is none of the schedule's times, and is left as it is.
    """
    book = fired(book, now_ms)

    def left_out(firing: Firing) -> Firing:
        waits = firing.state in {FiringState.QUEUED, FiringState.DUE} and firing.cause is not Cause.BY_HAND
        return _skipped(book.schedule, firing, "the schedule was paused before it began", now_ms) if waits else firing

    return with_firings(
        book.revised(schedule=replace(book.schedule, paused=True)), list(map(left_out, book.firings)), now_ms
    )


def resumed(book: Book, now_ms: int) -> Book:
    """The book of a schedule that fires again, from its next time on."""
    schedule = replace(book.schedule, paused=False)
    return book.revised(schedule=schedule, next_ms=next_after(schedule.cron, schedule.tz, now_ms))


def with_firings(book: Book, firings: Sequence[Firing], now_ms: int) -> Book:
    """The book with these firings: the first that is queued is due once nothing is before it."""
    told = list(firings)
    if not any(firing.state in _BUSY for firing in told):
        for place, firing in enumerate(told):
            if firing.state is FiringState.QUEUED:
                told[place] = replace(firing, state=FiringState.DUE, changed_ms=now_ms)
                break
    waiting = [place for place, one in enumerate(told) if not one.is_open and any(map(is_waiting, one.notices))]
    for place in waiting[:-MOST_UNTOLD]:
        told[place] = _untold(told[place], "too many later ones wait, too")
    return book.revised(firings=tuple(told))


def notices(schedule: Schedule, event: str, now_ms: int) -> tuple[Notice, ...]:
    """What the schedule's URL is to be told of, where it has one."""
    return (Notice(event, due_ms=now_ms),) if schedule.notify else ()


def when(schedule: Schedule, at_ms: int) -> str:
    """A planned time for people, on the schedule's clock."""
    return local(at_ms, schedule.tz).isoformat(" ", "minutes")


def moved(before: Book, after: Book) -> list[Firing]:
    """Firings that came about, or have come to another state; of those that were missed, the last one."""
    stood = {firing.firing_id: (firing.state, firing.exit_code) for firing in before.firings}
    found = [one for one in after.firings if stood.get(one.firing_id) != (one.state, one.exit_code)]
    missed = [one for one in found if one.state is FiringState.MISSED]
    return [one for one in found if one not in missed[:-1]]


def _counted_anew(book: Book, now_ms: int) -> Book:
    """A clock that was far ahead for a while must not silence the schedule until then."""
    if book.next_ms - now_ms > FAR_MS:
        next_ms = next_after(book.schedule.cron, book.schedule.tz, now_ms)
        if next_ms < book.next_ms:
            return book.revised(next_ms=next_ms)
    return book


def _new(at_ms: int, cause: Cause, now_ms: int) -> Firing:
    by_hand_too = f".{at_ms % 1000:03}" if cause is Cause.BY_HAND else ""
    return Firing(f"{_id_of(at_ms)}{by_hand_too}", at_ms, cause, FiringState.DUE, now_ms)


def _id_of(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y%m%dT%H%M%SZ}"


def _arrived(schedule: Schedule, firings: Sequence[Firing], firing: Firing) -> Firing:
    """A new firing beside the others: due, queued or skipped."""
    before = [one for one in firings if one.is_open]
    if not before:
        return firing
    if schedule.overlap is Overlap.SKIP:
        first = before[0]
        run = f", run {first.run_id}" if first.run_id else ""
        return _skipped(
            schedule, firing, f"that of {when(schedule, first.at_ms)} was still open{run}", firing.changed_ms
        )
    queued = sum(one.state is FiringState.QUEUED for one in before)
    if queued >= MOST_QUEUED:
        return _skipped(schedule, firing, f"{queued} waited before it already", firing.changed_ms)
    return replace(firing, state=FiringState.QUEUED)


def _skipped(schedule: Schedule, firing: Firing, why: str, now_ms: int) -> Firing:
    told = (*firing.notices, *notices(schedule, "skipped", now_ms))
    return replace(firing, state=FiringState.SKIPPED, said=why, changed_ms=now_ms, notices=told)


def _missed(schedule: Schedule, times: Sequence[int], now_ms: int, *, since_ms: int | None) -> list[Firing]:
    """Firings that are over before they began; the last of them tells the schedule's URL of all."""
    found = [replace(_new(at, Cause.CRON, now_ms), state=FiringState.MISSED, said=_NOBODY) for at in times]
    if found and since_ms is not None:
        said = f"{_NOBODY}, nor at those before it, from {when(schedule, since_ms)} on"
        found[0] = replace(found[0], said=said)
    if found:
        more = f"{_NOBODY}, nor at {len(found) - 1} before it" if len(found) > 1 else found[0].said
        found[-1] = replace(found[-1], said=more, notices=notices(schedule, "missed", now_ms))
    return found


def _untold(firing: Firing, why: str = "the schedule has no URL any more") -> Firing:
    """A firing of which nobody is to be told any more."""
    given_up = tuple(
        replace(notice, tries=len(RETRY_MS) + 1, due_ms=0, trouble=why) if is_waiting(notice) else notice
        for notice in firing.notices
    )
    return replace(firing, notices=given_up)
