"""How fast an account may be asked: the limits that were given are kept, those that nobody gave are found.

One step of the finder is one pure function of what the account looks like; its memory travels with the account, so
that any heartbeat goes on where another ended. The rate is found in `core.finding`, the limit in flight in
`core.flight`; here both are joined, since a refusal may be due to either.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import orjson

from pipeline.core.finding import Search, begun, goes_on, put_back, rate_of, searched
from pipeline.core.flight import UNSUSPECTED, Flight, cap_of, dropped, explains, met, passed, suspected, tested
from pipeline.core.limits import Limits
from pipeline.core.spells import NOTHING_SEEN, LaneSeen

__all__ = ["AccountSeen", "LaneSeen", "Pace", "found_now"]

START = 10.0
"""POSTs a second at first: what a small account allows is not far, and a large one is found within seconds."""

POLL_START = 100.0
"""Polls a second at first: they cost nothing, and APIs allow more of them."""

ROW_TOKENS = 20_000.0
"""Tokens of a row while none is known: a short video and its answer."""

_FORMAT = 2
"""Of the finder's memory; another one is not read."""

_NUMBERS = tuple(one.name for one in fields(Search) if one.name not in {"seen", "marks"})
_COUNTS = tuple(one.name for one in fields(LaneSeen))
_FLIGHT = tuple(one.name for one in fields(Flight))


@dataclass(frozen=True, slots=True)
class Pace:
    """What claims keep to; None is no bound of that kind.

    `rate` POSTs and `poll_rate` polls a second; at most `most` generations in flight, and more than `cap` only where
    `tests`, for a tester: one POST, after at least a second without any. `why` and `poll_why` tell what sets the rates.
    """

    rate: float | None = None
    poll_rate: float | None = None
    cap: int | None = None
    most: int | None = None
    tests: bool = False
    why: str = ""
    poll_why: str = ""


@dataclass(frozen=True, slots=True)
class AccountSeen:
    """An account at one moment.

    `in_flight` rows are submitting or pending, `event_in_flight` were pending when the last POST event came. Of `tests`
    testers that came back the last was `tested`, "accepted" or "refused", while `tested_in_flight` were pending.
    `limits` are those that a person gave to the account itself, whatever its runs were given.
    `observed` counts generations whose end was seen; `found` is the finder's own state, which the ledger only keeps.
    """

    now_ms: int
    posts: LaneSeen = NOTHING_SEEN
    polls: LaneSeen = NOTHING_SEEN
    in_flight: int = 0
    event_in_flight: int = 0
    tests: int = 0
    tested: str = ""
    tested_in_flight: int = 0
    observed: int = 0
    limits: Limits = Limits()
    found: bytes = b""


@dataclass(frozen=True, slots=True)
class _Finder:
    """What travels with the account. `before` is how POSTs were paced before the refusals that are in question."""

    posts: Search
    polls: Search
    flight: Flight = UNSUSPECTED
    before: Search | None = None
    tests: int = 0
    now_ms: int = 0


def found_now(seen: AccountSeen, limits: Limits, tokens_a_row: float | None) -> tuple[bytes, Pace]:
    """One step of the finder, to be made every fraction of a second: its memory for the next step, and the pace.

    `tokens_a_row` is what a row costs on average, where that is known. A memory that is missing, of another format or
    of other counters is none: the finder begins gently.
    """
    most, why = _given(limits, tokens_a_row)
    finder = _read(seen.found)
    if finder is not None and finder.now_ms > seen.now_ms:
        finder = _put_back(finder, finder.now_ms - seen.now_ms)
    if finder is None or not (goes_on(finder.posts, seen.posts) and goes_on(finder.polls, seen.polls)):
        finder = _Finder(
            begun(START, seen.posts, seen.now_ms),
            begun(POLL_START, seen.polls, seen.now_ms),
            tests=seen.tests,
            now_ms=seen.now_ms,
        )
    poll_most = _a_second(limits.poll_rpm)
    polls = searched(finder.polls, seen.polls, seen.now_ms, poll_most)
    finder = _posts_step(replace(finder, polls=polls), seen, most)
    return _packed(finder), _pace(finder, limits, most, why)


def _put_back(finder: _Finder, by_ms: int) -> _Finder:
    """The finder after the clock was put back, as if no time had passed since its last step."""
    before = finder.before and put_back(finder.before, by_ms)
    posts, polls = put_back(finder.posts, by_ms), put_back(finder.polls, by_ms)
    return replace(finder, posts=posts, polls=polls, before=before, now_ms=finder.now_ms - by_ms)


def _given(limits: Limits, tokens_a_row: float | None) -> tuple[float, str]:
    """The lowest rate, a second, that limits allow, and which of them it is."""
    by_rate = _a_second(limits.rpm)
    by_tokens = _a_second(limits.tpm) / max(1.0, tokens_a_row or ROW_TOKENS)
    return (by_tokens, "tokens") if by_tokens < by_rate else (by_rate, "given")


def _a_second(a_minute: float | None) -> float:
    return float("inf") if a_minute is None else a_minute / 60


def _posts_step(finder: _Finder, seen: AccountSeen, most: float) -> _Finder:
    """A refusal of POSTs is about the rate or about the number in flight: both are suspected until one is cleared."""
    was, held_back = finder.posts, seen.now_ms < seen.posts.event_at_ms + seen.posts.event_wait_ms
    refused = seen.posts.events > was.seen.events
    flight = finder.flight
    verdict = seen.tested if seen.tests > finder.tests else ""
    if verdict:
        flight = tested(flight, verdict, seen.tested_in_flight)
    excused, before = flight.proven and not finder.flight.proven, finder.before
    if refused and not excused:
        accepted = seen.posts.event_answered - was.seen.event_answered
        excused = explains(flight, seen.event_in_flight, accepted)
        if excused:
            flight = met(flight, seen.event_in_flight, accepted)
        elif verdict != "refused":
            before = before if flight.cap and not flight.proven else was
            flight = dropped(flight, wrong=True) if flight.proven else flight
            flight = suspected(flight, seen.event_in_flight) if seen.event_in_flight else flight
            excused = flight.proven
    seconds = max(0, min(1000, seen.now_ms - finder.now_ms)) / 1000
    paced = seen.posts.bound > was.seen.bound
    proven = flight.proven and not finder.flight.proven
    flight = passed(flight, seconds, seen.in_flight, held_back=held_back, paced=paced)
    if proven and before is not None:
        was = _restored(was, before)
    cap = cap_of(flight)
    full = cap is not None and seen.in_flight >= cap - 1
    posts = searched(was, seen.posts, seen.now_ms, most, excused=excused, full=full)
    before = before if flight.cap and not flight.proven else None
    return _Finder(posts, finder.polls, flight, before, seen.tests, seen.now_ms)


def _restored(now: Search, before: Search) -> Search:
    """The search as if what came since `before` had not been about the rate."""
    return replace(before, bound_at_ms=now.bound_at_ms, busy_at_ms=now.busy_at_ms, seen=now.seen, marks=now.marks)


def _pace(finder: _Finder, limits: Limits, most: float, why: str) -> Pace:
    rate, poll_rate = rate_of(finder.posts), rate_of(finder.polls)
    poll_most = _a_second(limits.poll_rpm)
    if limits.rpm is not None and not finder.posts.anchor:
        rate = most
    if limits.poll_rpm is not None and not finder.polls.anchor:
        poll_rate = poll_most
    return Pace(
        rate=min(rate, most),
        poll_rate=min(poll_rate, poll_most),
        cap=cap_of(finder.flight),
        most=limits.max_in_flight,
        tests=finder.flight.cap > 0 and not finder.flight.proven,
        why=_why(finder.posts, rate >= most, why),
        poll_why=_why(finder.polls, poll_rate >= poll_most, "given"),
    )


def _why(search: Search, at_most: bool, given: str) -> str:
    """What sets the rate of a lane."""
    if at_most:
        return given
    if not search.anchor:
        return "starting"
    return "found" if search.sure else "searching"


def _packed(finder: _Finder) -> bytes:
    before = finder.before and replace(finder.before, marks=(), seen=NOTHING_SEEN)
    return orjson.dumps(
        [
            _FORMAT,
            _listed(finder.posts),
            _listed(finder.polls),
            [getattr(finder.flight, name) for name in _FLIGHT],
            before and _listed(before),
            finder.tests,
            finder.now_ms,
        ]
    )


def _listed(search: Search) -> list[object]:
    numbers = [getattr(search, name) for name in _NUMBERS]
    first_ms, first = search.marks[0] if search.marks else (0, 0)
    apart = [(at_ms - first_ms, answered - first) for at_ms, answered in search.marks]
    return [numbers, [getattr(search.seen, name) for name in _COUNTS], first_ms, first, apart]


def _read(found: bytes) -> _Finder | None:
    try:
        known, posts, polls, flight, before, tests, now_ms = orjson.loads(found)
        if known != _FORMAT:
            return None
        earlier = None if before is None else _search(before)
        limit = Flight(**_named(_FLIGHT, flight))
        return _Finder(_search(posts), _search(polls), limit, earlier, int(tests), int(now_ms))
    except (ValueError, TypeError):
        return None


def _search(listed: Sequence[Any]) -> Search:
    numbers, seen, first_ms, first, apart = listed
    marks = tuple((first_ms + at_ms, first + answered) for at_ms, answered in apart)
    return Search(**_named(_NUMBERS, numbers), seen=LaneSeen(**_named(_COUNTS, seen)), marks=marks)


def _named(names: Sequence[str], numbers: Sequence[Any]) -> dict[str, Any]:
    """Numbers by their names; ValueError or TypeError when they are not so many, or no numbers."""
    return {name: number + 0 if number is not True else True for name, number in zip(names, numbers, strict=True)}
