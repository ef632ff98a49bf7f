"""How patient a run is: every bound in one frozen group, each with its reason.

The policy travels with the run through the ledger, so that all workers decide alike.
"""

import math
from dataclasses import dataclass, fields
from typing import Literal

ASYNC, SYNC, STREAM, SYNC_STREAM = MODES = ("async", "sync", "stream", "sync-stream")
"""How an answer comes: asked for by polls, on the POST, as a stream of its own, or as a stream on the POST."""

FOLLOWS = frozenset((STREAM,))
"""Modes in which a generation is followed and not asked for again and again."""

HOLDS = frozenset((SYNC, SYNC_STREAM))
"""Modes in which the POST brings the answer, and is held open until then."""


MOST_INLINE = 15_000_000
"""Bytes that base64 makes 20 MB of, which is the most that a request may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Seconds unless said otherwise. ValueError for a number that is out of bounds."""

    mode: str = ASYNC
    """How answers come, one of `MODES`."""

    poll: str = "adaptive"
    """The polling schedule, as `core.polling.parse_schedule` reads it."""

    poll_cost: float = 1.0
    """Seconds of lag that one poll is worth: an adaptive schedule keeps lag + cost x polls low."""

    lease_s: float = 8.0
    """A dead worker's rows come back after one lease, and are resent after two: within 30 s with the detection."""

    max_attempts: int = 3
    """A generation that failed retryably is asked for again, and billed again: three is what people do by hand."""

    repairs: int = 0
    """An answer that is not fit is asked for again so often, and billed again; people have to ask for that."""

    on_unknown: Literal["resubmit", "hold"] = "resubmit"
    """What becomes of a POST that may or may not have been billed; resubmitting happens at most once a row."""

    generation_deadline_s: float = 3600.0
    """A poll that still says "not ready" after so long a watch ends the row as expired; its id is kept."""

    longest_gap_s: float = 120.0
    """A gap between two polls counts at most so long as watched: a pause or a night without workers is no watch."""

    missing_polls: int = 3
    missing_for_s: float = 60.0
    """A 404 for an accepted id is believed after this many of them over this long."""

    inline_limit: int = MOST_INLINE
    """Bytes of a row's files, all together, that are sent within its request; larger ones are uploaded first."""

    upload: bool = False
    """Whether files are uploaded, however small they are."""

    preflight: bool = False
    """Whether each video is looked at right before its row is sent."""

    max_duration_s: float = 0.0
    """With preflight, a video that is longer is refused, as far as its header tells; 0 for no such bound."""

    stream_kept_s: float = 840.0
    """The API keeps a stream for 15 minutes: a generation older than this is asked for instead."""

    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    """Bounds of the exponential back-off, for a row and for the account."""

    slow_wait_s: float = 15.0
    """The wait after "no channel for now": the vendor's capacity does not come back within a second."""

    most_doubts: int = 4
    """Ambiguous answers with none accepted between that hold the account back: one alone says little of the API, and
    each of several may cost a generation."""

    max_in_flight: int = 20_000
    """Generations of the account at a time; the API tells its own limit with 429."""

    first_rows: int = 4
    """Rows in flight until one completes, and sent at a time after a back-off: what a fault of the API can cost."""

    guard_first: int = 4
    guard_later: int = 50
    """Like ends in a row that pause the run: before, and after, any row has completed."""

    guard_missing: int = 12
    """Polls in a row answered 404, with none answered as it should between: another account's key, or an outage."""

    doubtful_for_s: float = 600.0
    """Answers that may each have been billed, with nothing accepted between, pause the run after this long."""

    useless_for_s: float = 7200.0
    """An API that throttles or can't be reached costs nothing but time: a night's run waits two hours for it."""

    def __post_init__(self) -> None:
        for bound in fields(self):
            value, default = getattr(self, bound.name), bound.default
            if isinstance(default, str):
                continue
            if isinstance(default, bool):
                continue
            whole = isinstance(default, int)
            least, most = _BOUNDS.get(bound.name, (1 if whole else 0, math.inf))
            fits = math.isfinite(value) and least <= value <= most and (isinstance(value, int) or not whole)
            if not fits or (value == 0 and bound.name not in _BOUNDS):
                raise ValueError(f"{bound.name}: found {value}; allowed is {_allowed(bound.name, whole=whole)}")
        if self.mode not in MODES:
            raise ValueError(f"mode: found {self.mode}; allowed is {', '.join(MODES)}")
        if self.on_unknown not in {"resubmit", "hold"}:
            raise ValueError(f"on_unknown: found {self.on_unknown}; allowed is resubmit or hold")


MOST_REPAIRS = 10
"""A model that did not find the form in so many tries does not find it."""

_BOUNDS = {
    "poll_cost": (0.001, 86_400),
    "missing_for_s": (0, math.inf),
    "repairs": (0, MOST_REPAIRS),
    "inline_limit": (0, MOST_INLINE),
    "max_duration_s": (0, math.inf),
}
"""Numbers that are neither any above 0 nor a whole one from 1 on."""


def _allowed(name: str, *, whole: bool) -> str:
    if name not in _BOUNDS:
        return "a whole number from 1 on" if whole else "a number above 0"
    least, most = _BOUNDS[name]
    return f"a {'whole ' if whole else ''}number from {least:g}" + ("" if most == math.inf else f" to {most:,.0f}")
