"""What goes wrong, decided: given the switches and a source of chance, one fault or none.

Pure but for the buckets, whose clock is an argument. A rate of zero draws no number, so that switching one fault on
does not move the others of a seeded run.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from enum import Enum

from pipeline.simulator.billing import COMPLETED
from pipeline.simulator.settings import SimulatorSettings
from pipeline.simulator.validation import Refusal


class Fault(Enum):
    """Ways in which a request can go wrong whatever it asks for."""

    THROTTLED = "throttled"
    ERROR_BEFORE = "error before anything was created"
    ERROR_AFTER = "error after the generation was created"
    HANGUP_BEFORE = "closed before anything was created"
    HANGUP_AFTER = "closed after the generation was created"
    NO_CHANNEL = "no channel"
    MISSING = "untrue 404"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a generation will end: `outcome` is completed or an error code; never, when stuck."""

    outcome: str
    stuck: bool
    latency_s: float


def _happens(rate: float, rng: random.Random) -> bool:
    return rate > 0 and rng.random() < rate


def _first(rates: Iterable[tuple[float, Fault]], rng: random.Random) -> Fault | None:
    for rate, fault in rates:
        if rate and rng.random() < rate:
            return fault
    return None


def before_submit(settings: SimulatorSettings, rng: random.Random) -> Fault | None:
    """Decide whether a valid POST fails with nothing created."""
    rates = (
        (settings.submit_throttle_rate, Fault.THROTTLED),
        (settings.no_channel_rate, Fault.NO_CHANNEL),
        (settings.error_before_rate, Fault.ERROR_BEFORE),
        (settings.hangup_before_rate, Fault.HANGUP_BEFORE),
    )
    return _first(rates, rng)


def after_submit(settings: SimulatorSettings, rng: random.Random) -> Fault | None:
    """Decide whether the answer of a POST is lost although the generation exists and is billed."""
    rates = (
        (settings.error_after_rate, Fault.ERROR_AFTER),
        (settings.hangup_after_rate, Fault.HANGUP_AFTER),
    )
    return _first(rates, rng)


def on_query(settings: SimulatorSettings, rng: random.Random) -> Fault | None:
    """Decide whether a GET of a task fails."""
    rates = (
        (settings.query_throttle_rate, Fault.THROTTLED),
        (settings.query_error_rate, Fault.ERROR_BEFORE),
        (settings.query_missing_rate, Fault.MISSING),
    )
    return _first(rates, rng)


def ending(settings: SimulatorSettings, rng: random.Random) -> Ending:
    """Draw how and after how long a generation ends."""
    outcome = COMPLETED
    if _happens(settings.fail_rate, rng):
        outcome = rng.choice(settings.fail_codes)
    return Ending(outcome, _happens(settings.stuck_rate, rng), settings.latency.draw(rng))


def retry_after(settings: SimulatorSettings, wall: float) -> tuple[tuple[str, str], ...]:
    """Return the Retry-After header, if 429s carry one; `wall` is the unix time."""
    if settings.retry_after is None:
        return ()
    if settings.retry_after_as_date:
        return (("Retry-After", formatdate(wall + settings.retry_after, usegmt=True)),)
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
