"""What a person allows an account: the limits that were given. What nobody gave is found (`core.pacing`)."""

from collections.abc import Iterable
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Limits:
    """`rpm` POSTs, `poll_rpm` polls and `tpm` tokens a minute, `max_in_flight` generations at a time.

    None is a limit that nobody gave: it is found, but for `tpm`, which then is none.
    """

    rpm: float | None = None
    poll_rpm: float | None = None
    tpm: float | None = None
    max_in_flight: int | None = None


def strictest(limits: Iterable[Limits]) -> Limits:
    """The lowest of each limit that was given by any."""
    given = list(limits)
    lowest = {}
    for limit in fields(Limits):
        values = [value for one in given if (value := getattr(one, limit.name)) is not None]
        lowest[limit.name] = min(values, default=None)
    return Limits(**lowest)


def left_out(before: Limits, now: Limits) -> Limits:
    """Of limits that were given before, those that are not given any more."""
    gone = {limit.name: getattr(before, limit.name) for limit in fields(Limits) if getattr(now, limit.name) is None}
    return Limits(**gone)
