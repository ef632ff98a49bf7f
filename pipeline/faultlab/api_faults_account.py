"""The API turns the account away: it throttles, takes the key for revoked, or the balance is empty.

None of this creates anything, so none of it may cost a POST; where only a person can help, the run pauses.
"""

from functools import partial

from pipeline.faultlab.fault import Family, Fault
from pipeline.faultlab.stage import Stage
from pipeline.faultlab.strikes import AFTER_BACKOFFS_S, begin, strike
from pipeline.faultlab.verdict import Rules

STORM_S = 5.0
RETRY_AFTER_S = 3.0
ABSURD = ("99999999999", "-5", "soon", "inf")
ANOTHER_KEY = "sk-another-account"


async def _storm(stage: Stage, **switches: object) -> None:
    """Nothing is sent for a while, and half of the polls are refused, too."""
    await begin(stage)
    kinds = {"submit_throttle": 1.0, "query_throttle": 0.5}
    rates = {f"{kind}_rate": rate for kind, rate in kinds.items()}
    await strike(stage, {**rates, **switches}, *kinds, lasts_s=STORM_S)


async def _absurd_storm(stage: Stage) -> None:
    """Each text comes with a few 429, one after another."""
    await begin(stage)
    for text in ABSURD:
        await strike(stage, {"submit_throttle_rate": 1.0, "retry_after_text": text}, "submit_throttle", times=1)


async def _revoke_key(stage: Stage) -> None:
    """401, or 403 where the API says so; then the key is given back and the command repeated."""
    await begin(stage)
    status = stage.dice.choice((401, 403))
    await strike(stage, {"keys": [ANOTHER_KEY], "auth_error_status": status}, f"POST {status}", times=1, ends=True)


async def _empty_balance(stage: Stage) -> None:
    """What was sent is collected still; then the account is topped up and the command repeated."""
    await begin(stage)
    await strike(stage, {"balance": 0}, "POST 402", times=1, ends=True)


FAULTS = (
    Fault("throttled", Family.API, "a storm of 429 without Retry-After", _storm),
    Fault(
        "throttled-seconds",
        Family.API,
        "a storm of 429 with Retry-After in seconds",
        partial(_storm, retry_after=RETRY_AFTER_S),
    ),
    Fault(
        "throttled-date",
        Family.API,
        "a storm of 429 with Retry-After as a date",
        partial(_storm, retry_after=RETRY_AFTER_S, retry_after_as_date=True),
    ),
    Fault(
        "throttled-absurdly",
        Family.API,
        "429 with a Retry-After that makes no sense",
        _absurd_storm,
        Rules(recovers_within_s=AFTER_BACKOFFS_S),
    ),
    Fault("key-revoked", Family.API, "the key is revoked: the run pauses, and goes on when it is back", _revoke_key),
    Fault("balance-empty", Family.API, "the balance is empty: the run pauses, and goes on later", _empty_balance),
)
