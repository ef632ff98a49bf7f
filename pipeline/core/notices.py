"""What a schedule's URL is told, and when it is told again: never a prompt, an answer or a manifest's cell.

A notice is claimed, sent, and then its book says what came of it. A claim is the count of tries with the time at
which another may be made, so a sender that dies costs one try, and nobody sends while somebody else does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from pipeline.core.filling import local
from pipeline.core.schedules import Book, Firing, FiringState, Notice

SCHEMA_VERSION = 1
RETRY_MS = (5_000, 30_000, 120_000, 600_000, 1_800_000, 3_600_000)
"""Waits after failed tries; after the last of them a notice is given up."""

CLAIM_MS = 20_000
"""How long a sender may take; it gives up by itself after half of that."""

FAR_MS = RETRY_MS[-1] + CLAIM_MS
"""No wait is longer: a time beyond it is one of a clock that was put back since."""

GRACE_MS = 5_000
"""So much later comes a worker that could send nothing, and says so: others may have what it lacks."""

LONGEST_SAID = 500

UNSURE = "the sender did not come back"

EXIT_MEANINGS: Mapping[int, str] = {
    0: "every row completed",
    1: "done, but some rows did not complete or were rejected",
    2: "the command can't be used; nothing was sent",
    3: "stopped by the budget",
    4: "paused until somebody acts",
    5: "the system failed: Redis, the disk or a process",
    130: "interrupted",
}


def exit_meaning(code: int | None) -> str:
    """What an exit code of `vidbatch run` means; nothing while there is none."""
    return "" if code is None else EXIT_MEANINGS.get(code, f"ended with {code}, which vidbatch does not use")


def is_waiting(notice: Notice) -> bool:
    """Whether somebody is still to be told: it did not arrive, and was not given up."""
    return not notice.delivered_ms and not _given_up(notice)


def _given_up(notice: Notice) -> bool:
    return notice.tries > len(RETRY_MS) and not notice.due_ms


def notice_state(notice: Notice) -> str:
    """`delivered`, `waiting` or `given up`."""
    return "delivered" if notice.delivered_ms else "waiting" if is_waiting(notice) else "given up"


@dataclass(frozen=True, slots=True)
class Due:
    """A notice whose time has come: the firing's place in its book, and the notice's in the firing."""

    firing: Firing
    place: int

    @property
    def notice(self) -> Notice:
        """The notice as it stood."""
        return self.firing.notices[self.place]


def due_notices(book: Book, now_ms: int, *, able: bool = True) -> Iterator[Due]:
    """What is to be sent now; who is not `able` to comes later, so that others go first."""
    until = now_ms if able else now_ms - GRACE_MS
    for firing in book.firings:
        for place, notice in enumerate(firing.notices):
            if is_waiting(notice) and (notice.due_ms <= until or notice.due_ms > now_ms + FAR_MS):
                yield Due(firing, place)


def claimed(book: Book, due: Due, now_ms: int) -> Book:
    """The book once somebody sends; a notice that used up its tries is given up instead.

    The latter happens where the last sender died, and is told by `is_claimed`.
    """
    notice = due.notice
    if notice.tries > len(RETRY_MS):
        return _with(book, due, replace(notice, due_ms=0, trouble=notice.trouble or UNSURE))
    return _with(book, due, replace(notice, tries=notice.tries + 1, due_ms=now_ms + CLAIM_MS, trouble=UNSURE))


def is_claimed(book: Book, due: Due) -> bool:
    """Whether this book has the claim on what was due in the one before, by the count of its tries."""
    notice = _found(book, due)
    return notice is not None and notice.tries == due.notice.tries + 1


def told(book: Book, due: Due, now_ms: int, trouble: str) -> Book | None:
    """The book once it is known what came of the try that began at `due`; no trouble: it arrived.

    Nothing where the book knows of a later try, or not of this firing.
    """
    if not is_claimed(book, due):
        return None
    notice = _found(book, due)
    assert notice is not None  # noqa: S101 - it is claimed
    if not trouble:
        return _with(book, due, replace(notice, delivered_ms=now_ms, due_ms=0, trouble=""))
    over = notice.tries > len(RETRY_MS)
    return _with(book, due, replace(notice, due_ms=0 if over else now_ms + RETRY_MS[notice.tries - 1], trouble=trouble))


def over(book: Book) -> tuple[Book, Sequence[Firing]]:
    """The book without firings that are over and of which nobody is to be told any more; and what history is to have.

    History has each firing that is over as it stands, so that it tells of tries, too.
    """
    ended = [firing for firing in book.firings if not firing.is_open]
    kept = tuple(firing for firing in book.firings if firing.is_open or any(map(is_waiting, firing.notices)))
    return replace(book, firings=kept), ended


def _found(book: Book, due: Due) -> Notice | None:
    for firing in book.firings:
        if firing.firing_id == due.firing.firing_id and due.place < len(firing.notices):
            return firing.notices[due.place]
    return None


def _with(book: Book, due: Due, notice: Notice) -> Book:
    firings = []
    for firing in book.firings:
        if firing.firing_id == due.firing.firing_id:
            notices = (*firing.notices[: due.place], notice, *firing.notices[due.place + 1 :])
            firings.append(replace(firing, notices=notices))
        else:
            firings.append(firing)
    return book.revised(firings=tuple(firings))


def message_id(schedule: str, due: Due) -> str:
    """The same for every try, so that a receiver who got it twice can tell; without dots, which part what is signed."""
    return f"{schedule}-{due.firing.firing_id}-{due.place}".replace(".", "-")


def payload(book: Book, due: Due) -> bytes:
    """What is sent, as JSON."""
    schedule, firing = book.schedule, due.firing
    return orjson.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "event": due.notice.event,
            "schedule": schedule.name,
            "firing": firing.firing_id,
            "planned_at": local(firing.at_ms, schedule.tz).isoformat(timespec="seconds"),
            "time_zone": schedule.tz,
            "cause": firing.cause.value,
            "state": firing.state.value,
            **_ended(firing),
            "run_id": firing.run_id or None,
            "out": firing.out or None,
            "said": firing.said[:LONGEST_SAID],
            "summary": sums(firing.summary),
        }
    )


def _ended(firing: Firing) -> dict[str, Any]:
    code = firing.exit_code
    good = None if firing.is_open else firing.state is FiringState.ENDED and code == 0
    return {"good": good, "exit_code": code, "exit_meaning": exit_meaning(code) or None}


COUNTED = ("requests", "duplicates", "reused", "rejections", "possible_duplicates")
USED = ("prompt_tokens", "completion_tokens", "total_tokens", "cost")


def sums(summary: Mapping[str, object] | None) -> dict[str, Any] | None:
    """Rows, tokens and money of a run's summary or receipt: numbers alone, whatever else it holds."""
    if summary is None:
        return None
    usage = summary.get("usage")
    by_outcome = summary.get("rows")
    if not isinstance(by_outcome, Mapping):
        by_outcome = summary.get("outcomes")
    told: dict[str, Any] = {"rows": _numbers(by_outcome) if isinstance(by_outcome, Mapping) else {}}
    told |= _numbers({name: summary.get(name) for name in (*COUNTED, *USED)})
    told |= _numbers({name: usage.get(name) for name in USED}) if isinstance(usage, Mapping) else {}
    return told


def _numbers(values: Mapping[Any, object]) -> dict[str, int | float]:
    return {str(name): value for name, value in values.items() if isinstance(value, int | float)}
