"""What goes wrong, decided: given the switches and a source of chance, one fault or none.

Pure but for the buckets, whose clock is an argument. A rate of zero draws no number, so that switching one fault on
does not move the others of a seeded run.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from enum import Enum

from pipeline.simulator.billing import COMPLETED
from pipeline.simulator.settings import SimulatorSettings
from pipeline.simulator.validation import Refusal

_LAST_DATE = 253_402_300_799  # the end of the year 9999


class Fault(Enum):
    """Ways in which a request can go wrong whatever it asks for; each is named like the switch of its rate."""

    SUBMIT_THROTTLE = "submit_throttle"
    NO_CHANNEL = "no_channel"
    ERROR_BEFORE = "error_before"
    HANGUP_BEFORE = "hangup_before"
    ERROR_AFTER = "error_after"
    HANGUP_AFTER = "hangup_after"
    SUBMIT_CUT = "submit_cut"
    SUBMIT_SILENCE = "submit_silence"
    SUBMIT_GARBLED = "submit_garbled"
    SUBMIT_FLOOD = "submit_flood"
    DUPLICATE_ID = "duplicate_id"
    QUERY_THROTTLE = "query_throttle"
    QUERY_ERROR = "query_error"
    QUERY_MISSING = "query_missing"
    QUERY_CUT = "query_cut"
    QUERY_SILENCE = "query_silence"
    QUERY_GARBLED = "query_garbled"
    FLOOD = "flood"
    UNKNOWN_STATUS = "unknown_status"
    NULL_RESULTS = "null_results"


class UploadFault(Enum):
    """Ways in which an upload can go wrong; each is named like the switch of its rate."""

    THROTTLE = "upload_throttle"
    ERROR = "upload_error"


class StreamFault(Enum):
    """Ways in which one connection to a stream can go wrong; each is named like the switch of its rate."""

    SILENCE = "stream_silence"
    CUT = "stream_cut"
    ERROR = "stream_error"
    MISSING = "stream_missing"


Dice = Callable[[str], random.Random]
"""Chance of its own for each name."""


_BEFORE_SUBMIT = (Fault.SUBMIT_THROTTLE, Fault.NO_CHANNEL, Fault.ERROR_BEFORE, Fault.HANGUP_BEFORE)
_AFTER_SUBMIT = (
    Fault.ERROR_AFTER,
    Fault.HANGUP_AFTER,
    Fault.SUBMIT_CUT,
    Fault.SUBMIT_SILENCE,
    Fault.SUBMIT_GARBLED,
    Fault.SUBMIT_FLOOD,
    Fault.DUPLICATE_ID,
)
_BEFORE_QUERY = (Fault.QUERY_THROTTLE, Fault.QUERY_ERROR, Fault.QUERY_MISSING)
_AFTER_QUERY = (Fault.QUERY_CUT, Fault.QUERY_SILENCE, Fault.QUERY_GARBLED, Fault.FLOOD, Fault.UNKNOWN_STATUS)
_COMPLETED_QUERY = (Fault.NULL_RESULTS,)

Odds = tuple[tuple[float, Fault], ...]


@dataclass(frozen=True, slots=True)
class Chances:
    """The faults that are switched on, by the moment that draws them; a request pays nothing for those that are off."""

    before_submit: Odds  # nothing is created
    after_submit: Odds  # the generation exists and is billed
    before_query: Odds  # whatever the id
    after_query: Odds  # the task was found
    completed_query: Odds  # the task was found completed, with results

    @classmethod
    def of(cls, settings: SimulatorSettings) -> "Chances":
        """Read them from the switches."""
        groups = (_BEFORE_SUBMIT, _AFTER_SUBMIT, _BEFORE_QUERY, _AFTER_QUERY, _COMPLETED_QUERY)
        return cls(*(_odds(settings, group) for group in groups))


def _odds(settings: SimulatorSettings, group: Iterable[Fault]) -> Odds:
    rates = ((getattr(settings, f"{fault.value}_rate"), fault) for fault in group)
    return tuple((rate, fault) for rate, fault in rates if rate)


def drawn(odds: Odds, rng: random.Random) -> Fault | None:
    """Draw one fault or none; the earlier in the odds goes first."""
    for rate, fault in odds:
        if rng.random() < rate:
            return fault
    return None


def happens(fault: UploadFault | StreamFault, settings: SimulatorSettings, dice: Dice) -> bool:
    """Tell whether it does this time; a rate of zero asks no dice."""
    return _happens(getattr(settings, f"{fault.value}_rate"), dice(fault.value))


def stream_fault(settings: SimulatorSettings, dice: Dice, *, may_be_cut: bool) -> StreamFault | None:
    """Draw what goes wrong in the middle of one connection, or nothing."""
    faults = (StreamFault.SILENCE, StreamFault.CUT, StreamFault.ERROR)
    drawn = next((fault for fault in faults if happens(fault, settings, dice)), None)
    return None if drawn is StreamFault.CUT and not may_be_cut else drawn


@dataclass(frozen=True, slots=True)
class Ending:
    """How a generation will end: `outcome` is completed or an error code; never, when stuck.

    One whose results are lost completes and is billed, and never shows them.
    """

    outcome: str
    stuck: bool
    latency_s: float
    results_lost: bool = False


def _happens(rate: float, rng: random.Random) -> bool:
    return rate > 0 and rng.random() < rate


def ending(settings: SimulatorSettings, rng: random.Random, video_urls: Sequence[str] = ()) -> Ending:
    """Draw how and after how long a generation of these videos ends."""
    outcome = COMPLETED
    named = settings.failing_videos and any(settings.failing_videos in url for url in video_urls)
    if _happens(settings.fail_rate, rng) or named:
        outcome = rng.choice(settings.fail_codes)
    stuck, latency_s = _happens(settings.stuck_rate, rng), settings.latency.draw(rng)
    return Ending(outcome, stuck, latency_s, results_lost=_happens(settings.lost_results_rate, rng))


def retry_after_s(settings: SimulatorSettings) -> float | None:
    """Return the seconds that the Retry-After of a 429 stands for; None where there is none, or nobody can tell."""
    if not settings.retry_after_text:
        return settings.retry_after
    try:
        return float(settings.retry_after_text)
    except ValueError:
        return None


def retry_after(settings: SimulatorSettings, wall: float) -> tuple[tuple[str, str], ...]:
    """Return the Retry-After header, if 429s carry one; `wall` is the unix time."""
    if settings.retry_after_text:
        return (("Retry-After", settings.retry_after_text),)
    if settings.retry_after is None:
        return ()
    if settings.retry_after_as_date:
        return (("Retry-After", formatdate(min(wall + settings.retry_after, _LAST_DATE), usegmt=True)),)
    return (("Retry-After", f"{settings.retry_after:g}"),)


THROTTLED = Refusal(429, "rate_limit_error", "Too many requests.")
TOO_MANY_OPEN = Refusal(429, "rate_limit_error", "Too many generations are open.")
NO_CHANNEL = Refusal(422, "service_unavailable_error", "No channel is available now.", "no_available_model")
BALANCE_EMPTY = Refusal(402, "insufficient_quota", "The balance is empty.")
NOT_FOUND = Refusal(404, "not_found", "There is no such task.")


class Bucket:
    """A token bucket: `burst` requests at once, then so many a minute. Seconds come from the caller's clock."""

    def __init__(self, now: float) -> None:
        self._filled_at = now
        self._level = 0.0

    def admits(self, per_minute: float | None, burst: int, now: float) -> bool:
        """Take one request if there is room; always, without a limit."""
        if per_minute is None:
            return True
        # The level is what has been used of the burst; it drains at the rate.
        self._level = max(0.0, self._level - (now - self._filled_at) * per_minute / 60)
        self._filled_at = now
        if self._level + 1 > max(burst, 1):
            return False
        self._level += 1
        return True
