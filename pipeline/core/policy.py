"""How patient a run is: every bound in one frozen group, each with its reason.

The policy travels with the run through the ledger, so that all workers decide alike.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Policy(BaseModel):
    """Seconds unless said otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    poll: str = "adaptive"
    """The polling schedule, as `core.polling.parse_schedule` reads it."""

    poll_cost: float = Field(default=1.0, ge=0.001, le=86_400, allow_inf_nan=False)
    """Seconds of lag that one poll is worth: an adaptive schedule keeps lag + cost x polls low."""

    lease_s: float = Field(default=8.0, gt=0)
    """A dead worker's rows come back after one lease, and are resent after two: within 30 s with the detection."""

    max_attempts: int = Field(default=3, ge=1)
    """A generation that failed retryably is asked for again, and billed again: three is what people do by hand."""

    on_unknown: Literal["resubmit", "hold"] = "resubmit"
    """What becomes of a POST that may or may not have been billed; resubmitting happens at most once a row."""

    generation_deadline_s: float = Field(default=3600.0, gt=0)
    """A poll that still says "not ready" after so long a watch ends the row as expired; its id is kept."""

    longest_gap_s: float = Field(default=120.0, gt=0)
    """A gap between two polls counts at most so long as watched: a pause or a night without workers is no watch."""

    missing_polls: int = Field(default=3, ge=1)
    missing_for_s: float = Field(default=60.0, ge=0)
    """A 404 for an accepted id is believed after this many of them over this long."""

    first_wait_s: float = Field(default=1.0, gt=0)
    longest_wait_s: float = Field(default=60.0, gt=0)
    """Bounds of the exponential back-off, for a row and for the account."""

    slow_wait_s: float = Field(default=15.0, gt=0)
    """The wait after "no channel for now": the vendor's capacity does not come back within a second."""

    most_doubts: int = Field(default=4, ge=1)
    """Ambiguous answers with none accepted between that hold the account back: one alone says little of the API, and
    each of several may cost a generation."""

    max_in_flight: int = Field(default=20_000, ge=1)
    """Generations of the account at a time; the API tells its own limit with 429."""

    first_rows: int = Field(default=4, ge=1)
    """Rows in flight until one completes, and sent at a time after a back-off: what a fault of the API can cost."""

    guard_first: int = Field(default=4, ge=1)
    guard_later: int = Field(default=50, ge=1)
    """Like ends in a row that pause the run: before, and after, any row has completed."""

    guard_missing: int = Field(default=12, ge=1)
    """Polls in a row answered 404, with none answered as it should between: another account's key, or an outage."""

    doubtful_for_s: float = Field(default=600.0, gt=0)
    """Answers that may each have been billed, with nothing accepted between, pause the run after this long."""

    useless_for_s: float = Field(default=7200.0, gt=0)
    """An API that throttles or can't be reached costs nothing but time: a night's run waits two hours for it."""
