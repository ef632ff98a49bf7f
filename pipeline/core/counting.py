"""What is counted of an account as steps are recorded: words and sums that only ever grow, for whoever watches.

Nothing is decided by these numbers. A count may be missed where a reply was lost, and none is made twice.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping

from pipeline.core.lifecycle import Event, State
from pipeline.core.steps import MISSING, Step

POST, POLL, AGAIN, ENDED, TOKENS, DETAIL = "post:", "poll:", "again:", "ended:", "tokens:", "detail:"
"""How the names of counts begin that differ by one word."""

LATENCY, LAG = "latency:", "lag:"
"""The same of histograms: each count bears its bucket's upper bound in seconds, and `ms` is the sum."""

ADOPTED, STALE, DUPLICATES, COST_MICRO = "adopted", "stale", "possible_duplicates", "cost_micro"
LATE_POLL = "late"

POST_ANSWERS = (
    *("accepted", "answered", "throttled", "not_now", "nothing_sent", "account_refused", "refused", "ambiguous"),
    "lost",
)
"""What became of POSTs. An answered one brought its answer, one that is lost was never heard of again."""

POLL_ANSWERS = (
    *("running", "completed", "failed", "missing", "expired", "throttled", "account_refused", "trouble"),
    *("followed_on", LATE_POLL),
)
"""What polls found. A stream is one poll, and one more for each shift that left it to the next."""

AGAIN_WHYS = ("failed", "unfit", "unknown", "gone")
TOKEN_KINDS = ("prompt", "completion")
DETAIL_KINDS = ("reasoning", "cached", "audio", "video")
"""Tokens that are among those of the prompt or of the answer, as the API tells them."""

LATENCY_BOUNDS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1800, 3600)
"""Seconds from acceptance to end: most videos take less than a minute, and an hour is the last that is waited for."""

LAG_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 15, 30, 60, 120, 300)
BEYOND = "+Inf"

_POSTS = {
    Event.ACCEPTED: "accepted",
    Event.NOTHING_SENT: "nothing_sent",
    Event.ACCOUNT_REFUSED: "account_refused",
    Event.REFUSED: "refused",
    Event.COMPLETED: "answered",
    Event.UNFIT: "answered",
    Event.FAILED_RETRY: "answered",
    Event.FAILED_LAST: "answered",
}
_POLLS = {
    Event.COMPLETED: "completed",
    Event.UNFIT: "completed",
    Event.FAILED_RETRY: "failed",
    Event.FAILED_LAST: "failed",
    Event.GONE_RESUBMIT: "missing",
    Event.GONE_HOLD: "missing",
    Event.EXPIRED: "expired",
}
_AGAIN = {
    Event.FAILED_RETRY: "failed",
    Event.UNFIT: "unfit",
    Event.LOST_RESUBMIT: "unknown",
    Event.GONE_RESUBMIT: "gone",
}
_ENDS = frozenset((Event.COMPLETED, Event.UNFIT, Event.FAILED_RETRY, Event.FAILED_LAST, Event.ANSWERED_LATE))
"""Ends of generations that were seen, so that something is known of how long they took."""


def counted(steps: Iterable[Step]) -> Counter[str]:
    """What these steps add to the counts of their account."""
    counts: Counter[str] = Counter()
    for step in steps:
        if step.source is State.PENDING:
            counts[POLL + poll_answer(step)] += 1
        elif step.source is State.SUBMITTING:
            counts[POST + post_answer(step)] += 1
        else:
            counts[ADOPTED] += 1
        if step.event in _AGAIN:
            counts[AGAIN + _AGAIN[step.event]] += 1
        if step.event in _ENDS:
            _ended(step, counts)
        if step.ending is not None:
            counts[ENDED + step.ending.outcome] += 1
            counts[DUPLICATES] += step.record.possible_duplicate
    return +counts


def post_answer(step: Step) -> str:
    """What became of the POST that this step tells of."""
    if step.event is Event.THROTTLED:
        return "throttled" if step.lane else "not_now"
    return _POSTS.get(step.event, "ambiguous" if step.doubt else "lost")


def poll_answer(step: Step) -> str:
    """What the poll found that this step tells of."""
    if step.event is not Event.NOT_READY:
        return _POLLS.get(step.event, "trouble")
    if step.lane:
        return "throttled"
    if step.account_problem is not None:
        return "account_refused"
    if step.like == MISSING:
        return "missing"
    if step.trouble is not None:
        return "trouble"
    return "running" if step.wait_ms else "followed_on"


def _ended(step: Step, counts: Counter[str]) -> None:
    seen = step.observed
    if seen is not None and seen.high_ms > 0:
        _measured(counts, LATENCY, LATENCY_BOUNDS, seen.high_ms)
        # an answer that the POST itself brought lay nowhere
        _measured(counts, LAG, LAG_BOUNDS, 0 if step.answered else seen.high_ms - seen.low_ms)
    answer = step.told
    if answer is None:
        return
    used = step.used
    counts[TOKENS + "prompt"] += used.prompt_tokens
    counts[TOKENS + "completion"] += used.completion_tokens
    counts[COST_MICRO] += used.cost_micro
    for kind in DETAIL_KINDS:
        counts[DETAIL + kind] += getattr(answer, f"{kind}_tokens") or 0


def _measured(counts: Counter[str], name: str, bounds: tuple[float, ...], ms: int) -> None:
    place = bisect_left(bounds, ms / 1000)
    counts[f"{name}{bounds[place]:g}" if place < len(bounds) else name + BEYOND] += 1
    counts[f"{name}ms"] += ms


def buckets_of(
    counts: Mapping[str, int], name: str, bounds: tuple[float, ...]
) -> tuple[list[tuple[str, float]], float]:
    """A histogram as Prometheus has it: how many took at most so long, by bound, and the sum in seconds.

    Counts by a bound that is used no more are in the next one above.
    """
    found = {
        bound: n for field, n in counts.items() if field.startswith(name) and (bound := field[len(name) :]) != "ms"
    }
    cumulative = [
        (f"{float(bound)}", float(sum(n for upto, n in found.items() if float(upto) <= bound)))
        for bound in (*map(float, bounds), float("inf"))
    ]
    return [(BEYOND if bound == "inf" else bound, n) for bound, n in cumulative], counts.get(f"{name}ms", 0) / 1000
