"""The answer's columns of an annotation, and its times."""

from datetime import UTC, datetime, timedelta

from pipeline.core.answers import Completion
from pipeline.core.costs import PriceList, price_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COMPLETION = (
    "model_answered",
    "content",
    "reasoning",
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "reasoning_tokens",
    "cached_tokens",
    "audio_tokens",
    "video_tokens",
    "usage",
    "credits",
    "response",
)
"""Columns that a completion has under the same names."""

ANSWER = (*COMPLETION, "cost", "answer", "answer_status", "answer_error")
"""Columns that are the answer's: null where there is none."""


COPIED = (
    *("model_answered", "content", "reasoning", "finish_reason", "answer", "answer_status", "answer_error"),
    *("outcome", "error_code", "error_type", "error_message", "http_status"),
    *("submitted_at", "finished_at", "collected_at"),
)
"""Columns that a duplicate has of the row that was asked instead of it. What was billed is that row's alone."""


def answer_columns(completion: Completion | None, prices: PriceList, model: str) -> dict[str, object]:
    """The columns that a completion fills, its cost among them; none without a completion."""
    if completion is None:
        return {}
    columns: dict[str, object] = {name: getattr(completion, name) for name in COMPLETION}
    return {**columns, "cost": price_of(completion, prices, model)}


def time_of(at: int | None) -> datetime | None:
    """A time in UTC from µs since 1970."""
    return None if at is None else _EPOCH + timedelta(microseconds=at)


def microseconds(at: datetime | None) -> int:
    """The reverse of `time_of`; 0 for no time."""
    return 0 if at is None else (at - _EPOCH) // timedelta(microseconds=1)
