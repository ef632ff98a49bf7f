"""Whether a run will be through by the time that a person named. It only tells: nothing is stopped by it.

The time is an argument, and so is what makes an instant of a time on the wall: where clocks are put back or forward,
only the edge knows the local rules.
"""

import math
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

from pipeline.core.errors import SettingsError
from pipeline.core.lifecycle import Outcome
from pipeline.core.polling import parse_duration
from pipeline.core.snapshot import RunSnapshot, RunState

ALLOWED = "a time such as 06:00, a day with it such as 2026-11-23T06:00, or a span such as 8h"
OVER_MS = 60_000
"""A rate is taken over the last minute: back-offs and probes of the limit even out."""

AT_LEAST_MS = 10_000
"""Over less than this, what was sent at once at the start would pass for the rate."""

NEWS_S = 60.0
"""A forecast that wavers is told again no more often than this."""

NEAR = timedelta(minutes=10)
"""Times so near are told to the second."""

OTHER = 0.2
"""And one of as many rows, more or less, is no news."""

_SURE = ("given", "tokens", "found")
"""Who sets a rate that is going to last."""

_DURATION = re.compile(r"[\d.]+(s|m|h)")
_TIME = re.compile(r"\d{1,2}:\d\d")


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a run will be through at its rate; nothing where it does not move. `late_rows` end after `by`."""

    by: datetime
    finishes_at: datetime | None
    late_rows: int


def parse_by(text: str, now: datetime, local: Callable[[datetime], datetime]) -> datetime:
    """The instant that `06:00` (the next one), `2026-11-23T06:00` or `8h` names, after `now`, which has a time zone.

    `local` turns a time on the wall, without a time zone, into an instant. SettingsError otherwise.
    """
    text = text.strip()
    if _DURATION.fullmatch(text):
        try:
            return now + timedelta(seconds=parse_duration("--by", text))
        except OverflowError:
            raise _refused(text) from None
    by = _next(text, now, local) if _TIME.fullmatch(text) else _instant(text, local)
    if by <= now:
        raise SettingsError(f"--by: {text} is over; it is {now:%Y-%m-%dT%H:%M} now")
    return by


def _next(text: str, now: datetime, local: Callable[[datetime], datetime]) -> datetime:
    hours, _, minutes = text.partition(":")
    try:
        at = time(int(hours), int(minutes))
    except ValueError:
        raise _refused(text) from None
    today = datetime.combine(now.date(), at)
    first = local(today)
    return first if first > now else local(today + timedelta(days=1))


def _instant(text: str, local: Callable[[datetime], datetime]) -> datetime:
    try:
        named = datetime.fromisoformat(text)
    except ValueError:
        raise _refused(text) from None
    if "T" not in text.upper() and " " not in text:
        raise _refused(text)
    try:
        return local(named) if named.tzinfo is None else named
    except (ValueError, OverflowError):
        raise _refused(text) from None


def _refused(text: str) -> SettingsError:
    return SettingsError(f"--by: found {text!r}; allowed is {ALLOWED}")


def forecast(rows_left: int, a_minute: float, now: datetime, by: datetime, latency_s: float) -> Forecast:
    """What becomes of `rows_left` rows that are still to be sent, at `a_minute` of them, each ready after `latency_s`.

    A row that is sent less than a latency before `by` ends after it.
    """
    if rows_left <= 0:
        return Forecast(by, now + timedelta(seconds=latency_s), 0)
    if a_minute <= 0:
        return Forecast(by, None, rows_left)
    sending_s = rows_left / a_minute * 60
    usable_s = max(0.0, (by - now).total_seconds() - latency_s)
    late = 0 if sending_s <= usable_s else rows_left - math.floor(usable_s / 60 * a_minute)
    return Forecast(by, _after(now, sending_s + latency_s), late)


def _after(now: datetime, seconds: float) -> datetime | None:
    """So many seconds later; nothing where no calendar goes so far."""
    try:
        return now + timedelta(seconds=seconds)
    except OverflowError:
        return None


def forecast_words(told: Forecast, now: datetime) -> str:
    """A forecast in one sentence, all times in the time zone of `by`: clocks may be put back or forward before."""
    by = f"by {clock_words(told.by, now)}"
    if told.finishes_at is None:
        return f"{by}: {told.late_rows:,} rows won't be done, since nothing is accepted"
    at = clock_words(told.finishes_at.astimezone(told.by.tzinfo), now)
    if told.late_rows:
        return f"{by}: about {told.late_rows:,} rows won't be done; at this rate the last one is about {at}"
    return f"{by}: at this rate every row is done, the last one about {at}"


def forecast_object(told: Forecast | None) -> dict[str, Any] | None:
    """A forecast for programs: times as ISO 8601 to the minute, since they move all the time."""
    if told is None:
        return None
    at = told.finishes_at
    ends = None if at is None else at.astimezone(told.by.tzinfo).isoformat(timespec="minutes")
    return {"by": told.by.isoformat(timespec="minutes"), "late_rows": told.late_rows, "finishes_at": ends}


def clock_words(moment: datetime, now: datetime) -> str:
    """The time of day; with the day where it is not the next such time, with seconds where it is near."""
    if moment.second and abs(moment - now) < NEAR:
        return f"{moment:%H:%M:%S}"
    return f"{moment:%H:%M}" if moment - now < timedelta(days=1) else f"{moment:%Y-%m-%d %H:%M}"


class Outlook:
    """The forecast of a run under way.

    Where the account's rate is what bounds it, that holds from the next row on; else the rate at which its rows were
    accepted over the last minute, once its first rows have completed: until then a few go alone.
    """

    def __init__(self, by: datetime) -> None:
        self._by = by
        self._seen: deque[tuple[int, int, int]] = deque()
        self._told: tuple[int, datetime] | None = None
        self._over = False

    def news(self, run: RunSnapshot, now: datetime) -> str | None:
        """The forecast in words: the first that there is, when it turns, and when it is much another; nothing else.

        Once the time is over, how many rows were not done by then.
        """
        if now >= self._by:
            return self._is_over(run, now)
        forecast = self.look(run, now) if run.state is RunState.RUNNING else None
        if forecast is None or (self._told and not self._is_news(forecast.late_rows, now)):
            return None
        self._told = forecast.late_rows, now
        return forecast_words(forecast, now)

    def _is_over(self, run: RunSnapshot, now: datetime) -> str | None:
        rest = run.total - run.ended
        if self._over or not rest:
            return None
        self._over = True
        return f"{clock_words(self._by, now)} is over: {rest:,} row{' is' if rest == 1 else 's are'} not done yet"

    def _is_news(self, late_rows: int, now: datetime) -> bool:
        before, at = self._told or (0, now)
        turned, other = (before == 0) != (late_rows == 0), abs(late_rows - before) > OTHER * max(before, late_rows)
        return (now - at).total_seconds() >= NEWS_S and (turned or other)

    def look(self, run: RunSnapshot, now: datetime) -> Forecast | None:
        """The forecast with this look included; nothing while the rate is not known, or nothing is to be sent."""
        measured, share = self._measured(run)
        unsent = run.total - run.ended - run.in_flight
        paced = run.pace.rate if run.bound == "rate" and run.pace.why in _SURE else None
        a_second = measured if paced is None else paced * share
        if a_second is None or unsent <= 0:
            return None
        # Little's law: what is in flight is what came during one latency
        latency_s = run.in_flight / a_second if a_second else 0.0
        return forecast(unsent, a_second * 60, now, self._by, latency_s)

    def _measured(self, run: RunSnapshot) -> tuple[float | None, float]:
        """Rows that were accepted a second, nothing while that is not known, and the run's share of its account."""
        seen = self._seen
        if seen and run.accepted < seen[-1][1]:
            seen.clear()  # the ledger was made anew
        if run.outcomes.get(Outcome.COMPLETED, 0):
            seen.append((run.now_ms, run.accepted, run.account_answered))
        while seen and run.now_ms - seen[0][0] > OVER_MS:
            seen.popleft()
        if not seen or run.now_ms - seen[0][0] < AT_LEAST_MS:
            return None, 1.0
        at_ms, accepted, of_account = seen[0]
        own = run.accepted - accepted
        return own / (run.now_ms - at_ms) * 1000, min(1.0, own / max(1, own, run.account_answered - of_account))
