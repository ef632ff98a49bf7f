"""What a generation that ended tells about those to come: how long it took, and what it cost.

A poll only tells "not yet" or "by now", so its duration is known as an interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from pipeline.core.mixture import LONGEST_S
from pipeline.core.records import RowRecord

TOKENS_OVER = 200
"""A row's tokens are the mean over so many that ended last."""


@dataclass(frozen=True, slots=True)
class Observed:
    """It took more than `low_ms`, its age at the last poll that said "not yet", and at most `high_ms`.

    `low_ms` is 0 when no poll said so, `high_ms` when nobody watched it. Ages count from its acceptance. Tokens and
    `cost_micro`, millionths of the currency, are 0 where they are not known.
    """

    model: str
    low_ms: int
    high_ms: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_micro: int = 0
    completed: bool = True


def ended_observed(record: RowRecord, age_ms: int, used: tuple[int, int, int] | None = None) -> Observed | None:
    """What the end of a generation tells; not how long it took where an earlier ledger accepted it, unwatched since.

    `used` are the tokens of the prompt and of the answer, and the micro-cost, where it completed.
    """
    if record.submitted_at is None:
        return None
    low_ms, high_ms = (0, 0) if record.recovered else (min(record.running_ms, age_ms), age_ms)
    return Observed(record.model, low_ms, high_ms, *(used or (0, 0, 0)), completed=used is not None)


def unending_observed(record: RowRecord, age_ms: int) -> Observed:
    """What a generation tells that was given up while it ran: it takes longer than that, if it ends at all."""
    longest_ms = round(LONGEST_S * 1000)
    return Observed(record.model, min(age_ms, longest_ms - 1), longest_ms, completed=False)


def pack_observed(observed: Observed) -> bytes:
    """A JSON list of the fields, in order."""
    sums = (observed.prompt_tokens, observed.completion_tokens, observed.cost_micro)
    return orjson.dumps((observed.model, observed.low_ms, observed.high_ms, *sums, observed.completed))


def read_observed(packed: bytes) -> Observed:
    """The reverse of `pack_observed`."""
    return Observed(*orjson.loads(packed))


def tokens_a_row(observed: Sequence[Observed]) -> float | None:
    """The mean tokens of a row, over those that completed last and told them; nothing while none did."""
    told = (one.prompt_tokens + one.completion_tokens for one in observed if one.completed)
    known = [tokens for tokens in told if tokens][-TOKENS_OVER:]
    return sum(known) / len(known) if known else None
