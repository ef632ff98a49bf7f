"""How fast a run is sent and what keeps it from going faster, in words: for the screen, `status` and `limits`.

The words follow from what the ledger told and decide nothing. A bound that no longer holds is not told: the last claim
may be long ago.
"""

import math
from dataclasses import dataclass

from pipeline.core.limits import Limits
from pipeline.core.pacing import Pace
from pipeline.core.snapshot import RESULTS_BYTES, RunSnapshot, RunState
from pipeline.core.spending import caps_of

SHARED = 1.05
"""Above so many times what the run does itself, others of the account do the rest; below it is a moment's noise."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What bounds sending: which kind, its name for people, and what a run waits for because of it."""

    kind: str
    name: str
    wait: str


def per_minute(rate: float) -> str:
    """A rate a second as a number a minute, as `--rpm` takes it."""
    minute = rate * 60
    return _number(round(minute) if minute >= 10 else minute)  # noqa: PLR2004 - below, a fraction matters


def rate_words(pace: Pace) -> str:
    """Who sets the rate of POSTs, and which it is: `found: 583 a minute`; empty where nothing bounds it."""
    return "" if pace.rate is None else f"{_sets(pace.why)}: {per_minute(pace.rate)} a minute"


def poll_rate_words(pace: Pace) -> str:
    """The same of polls; empty where nobody looked yet."""
    return "" if pace.poll_rate is None else f"{_sets(pace.poll_why) or 'now'}: {per_minute(pace.poll_rate)} a minute"


def begins_words(pace: Pace) -> str:
    """With what the next run begins: `583 POSTs a minute (found)`; empty where nothing bounds it."""
    return "" if pace.rate is None else f"{per_minute(pace.rate)} POSTs a minute ({_SETS.get(pace.why, pace.why)})"


def _sets(why: str) -> str:
    """Who sets a rate; one that is not settled is that of now."""
    return f"{_SETS.get(why, why)}{', now' if why in _UNSETTLED else ''}"


_SETS = {
    "given": "given",
    "tokens": "by the tokens that rows take",
    "starting": "still to be found",
    "searching": "being found",
    "found": "found",
}
"""Who sets a rate, in words."""

_UNSETTLED = ("starting", "searching")


def bound_of(run: RunSnapshot) -> Bound | None:
    """What cuts the sending of rows short just now; nothing where nothing does, or nothing is to be sent."""
    if run.state is not RunState.RUNNING or run.ready + run.total - run.fed == 0:
        return None
    if run.account_wait_until_ms > run.now_ms or run.bound == "back-off":
        more = run.account_wait_until_ms - run.now_ms
        rest = f", {math.ceil(more / 1000)} s more" if more > 0 else ""
        return Bound("back-off", f"the API's back-off{rest}", "one of a few rows that try whether it accepts again")
    if run.results_bytes >= RESULTS_BYTES:
        return Bound("results", "the disk", "results to be on disk")
    match run.bound:
        case "rate":
            limit = f"the account's rate limit{f' ({words})' if (words := rate_words(run.pace)) else ''}"
            return Bound("rate", limit, limit)
        case "in flight":
            limit = f"the limit in flight ({in_flight_words(run.pace)})"
            return Bound("in flight", limit, f"a generation to end: {_full(run.pace)}")
        case "turn":
            others = f"other runs of the account (priority {run.priority})"
            return Bound("turn", others, f"its turn among {others}")
        case "budget":
            budget = f"the budget{_budget_words(run)}"
            return Bound("budget", budget, budget)
        case "first rows":
            alone = "the first rows, which go alone"
            return Bound("first rows", alone, f"one of {alone}, to complete")
    return None


def in_flight_words(pace: Pace) -> str:
    """Who set the bound in flight that holds, and which it is: `found: 50`."""
    if _found_holds(pace):
        return f"found: {pace.cap:,}"
    return "no limit known" if pace.most is None else f"given: {pace.most:,}"


def _full(pace: Pace) -> str:
    if _found_holds(pace):
        return f"{pace.cap:,} are in flight, the most that the API was found to accept"
    return "as many are in flight as are risked" if pace.most is None else f"{pace.most:,} are in flight, as was given"


def _found_holds(pace: Pace) -> bool:
    return pace.cap is not None and (pace.most is None or pace.cap < pace.most)


def _budget_words(run: RunSnapshot) -> str:
    caps = caps_of(run.budget, run.spending)
    if not caps:
        return ""
    return f": all that is left of {caps[0].words(caps[0].cap)} is reserved for rows in flight"


def sending_words(run: RunSnapshot, own: float, account: float) -> str:
    """What bounds sending, and how many POSTs a minute are accepted of this run, and of its account where that differs.

    Empty where nothing is left to be sent.
    """
    if run.state is not RunState.RUNNING or run.ready + run.submitting + run.total - run.fed == 0:
        return ""
    told = [f"{own:,.0f} POSTs a minute"] if own else []
    if own and account > own * SHARED:
        told[0] += f" ({account:,.0f} of the account)"
    bound = bound_of(run)
    return ", ".join([*told, f"bound by {bound.name}"] if bound else told)


def given_words(limits: Limits) -> str:
    """Limits that a person gave: `600 POSTs a minute, 50 in flight`; empty where none was."""
    told = [("POSTs a minute", limits.rpm), ("polls a minute", limits.poll_rpm), ("tokens a minute", limits.tpm)]
    return ", ".join(
        f"{_number(limit)} {what}" for what, limit in [*told, ("in flight", limits.max_in_flight)] if limit
    )


def _number(amount: float) -> str:
    return f"{amount:,.2f}".rstrip("0").rstrip(".")
