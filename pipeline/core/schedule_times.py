"""When a cron expression comes next on the clock of a time zone.

As Debian's cron has it: where minute and hour are both fixed, a time that clocks jump over comes as soon as they have,
and one that they pass twice comes the first time. Any other expression follows the clock as it stands on the wall.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from pipeline.core.errors import SettingsError

FIELDS = {
    "minute": "0-59",
    "hour": "0-23",
    "day of month": "1-31, L (last day), LW (last weekday)",
    "month": "1-12, JAN-DEC",
    "day of week": "0-7 (0 and 7 are Sunday), SUN-SAT, MON#2 (second Monday), 5L (last Friday)",
}
"""The fields of an expression, in order, and what stands in each."""

ANYWHERE = "*, lists as 1,15, ranges as 1-5 and steps as */10"
LONGEST = 200
"""Characters of an expression; every minute of an hour, one by one, takes 169."""

BEGAN = datetime(2000, 1, 1, tzinfo=UTC)
_DAY_S = 86_400
_MINUTE_MS = 60_000


def check_cron(cron: str) -> None:
    """SettingsError for an expression that says nothing, or that never comes."""
    parts = cron.split()
    if len(parts) != len(FIELDS) or len(cron) > LONGEST:
        raise SettingsError(
            f"--cron: found {cron[:LONGEST]!r}; allowed are five fields with blanks between: {', '.join(FIELDS)}, such "
            "as '0 2 * * *' for two o'clock each night"
        )
    for place, (name, values) in enumerate(FIELDS.items()):
        alone = ["*"] * len(FIELDS)
        alone[place] = parts[place]
        if not _is_read(alone):
            raise SettingsError(
                f"--cron {cron!r}: {name}: found {parts[place]!r}; allowed are {values}, and everywhere {ANYWHERE}"
            )
    if not _is_read(parts) or _first(cron, BEGAN) is None:
        raise SettingsError(f"--cron: found {cron!r}, which never comes; allowed is what some day has")


def check_zone(tz: str) -> None:
    """SettingsError for a time zone that nobody knows."""
    _zone(tz)


def next_after(cron: str, tz: str, after_ms: int) -> int:
    """The first time after this one. Both are ms since 1970. SettingsError where there is none for 50 years."""
    zone, after_s = _zone(tz), after_ms // 1000
    found = _fixed(cron, zone, after_s) if is_fixed(cron) else _by_the_wall(cron, zone, after_s)
    if found is None:
        raise SettingsError(f"--cron: {cron!r} does not come in the next 50 years")
    return found * 1000


def times_between(cron: str, tz: str, after_ms: int, until_ms: int) -> Iterator[int]:
    """The times after the first and not after the second one, in order."""
    while (after_ms := next_after(cron, tz, after_ms)) <= until_ms:
        yield after_ms


def latest_between(cron: str, tz: str, after_ms: int, until_ms: int, most: int) -> tuple[list[int], bool]:
    """The latest of those times, `most` of them, in order; and whether there are earlier ones.

    What is looked at is never much more than is told: a year of minutes costs no more than the last hours of it.
    """

    def enough(begin: int) -> bool:
        return len(list(islice(times_between(cron, tz, begin, until_ms), most + 1))) > most

    begin = late = until_ms
    back = _MINUTE_MS * most
    while begin > after_ms and not enough(begin):
        begin, late, back = max(after_ms, until_ms - back), begin, back * 4
    if not enough(begin):
        return list(times_between(cron, tz, begin, until_ms)), False
    while late - begin > _MINUTE_MS:
        middle = (begin + late) // 2
        begin, late = (middle, late) if enough(middle) else (begin, middle)
    return list(times_between(cron, tz, begin, until_ms))[-most:], True


def is_fixed(cron: str) -> bool:
    """Whether minute and hour are both told, and not as a star: then a planned time comes once, whatever clocks do."""
    minute, hour = cron.split()[:2]
    return not minute.startswith("*") and not hour.startswith("*")


def _fixed(cron: str, zone: ZoneInfo, after_s: int) -> int | None:
    # the library leaves out a time's second coming; one that it begins in, it would go back for
    after = datetime.fromtimestamp(after_s, zone)
    for found in _coming(cron, after):
        if (second := round(found.timestamp())) > after_s:
            return second
    return None


def _by_the_wall(cron: str, zone: ZoneInfo, after_s: int) -> int | None:
    """Between two changes of its offset a zone's clock is plain: what it shows is looked for there, one after another.

    The library's own way stumbles where a change is not of whole hours.
    """
    begin_s = after_s + 1
    while True:
        offset = _offset(zone, begin_s)
        wall = _first(cron, datetime.fromtimestamp(begin_s - 1 + offset, UTC))
        if wall is None:
            return None
        found = round(wall.timestamp()) - offset
        change = _change(zone, begin_s, found)
        if change is None:
            return found
        begin_s = change


def _change(zone: ZoneInfo, begin_s: int, end_s: int) -> int | None:
    """The first second in which the zone's offset is another one than at the beginning; nothing until the end."""
    offset, low = _offset(zone, begin_s), begin_s
    while low < end_s:
        high = min(low + _DAY_S, end_s)
        if _offset(zone, high) != offset:
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
            return high
        low = high
    return None


def _offset(zone: ZoneInfo, second: int) -> int:
    offset = datetime.fromtimestamp(second, zone).utcoffset() or timedelta()
    return round(offset.total_seconds())


def _first(cron: str, after: datetime) -> datetime | None:
    return next(_coming(cron, after), None)


def _coming(cron: str, after: datetime) -> Iterator[datetime]:
    return CronSim(cron, after)


def _is_read(parts: list[str]) -> bool:
    try:
        CronSim(" ".join(parts), BEGAN)
    except (CronSimError, AssertionError, TypeError, ValueError):
        # the library trips over some of what it does not allow
        return False
    return True


@lru_cache(64)
def _zone(tz: str) -> ZoneInfo:
    try:
        return ZoneInfo(tz)
    except (OSError, ValueError, KeyError):
        raise SettingsError(
            f"--tz: found {tz!r}; allowed are names of the IANA data base, such as Europe/Berlin or UTC"
        ) from None
