"""Assemble an annotation: what was asked and how it ended, under the dataset's column names."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from pipeline.core.answers import Completion
from pipeline.core.costs import PriceList, price_of
from pipeline.core.records import Result
from pipeline.core.requests import Request

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COMPLETION = (
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
ANSWER = (*_COMPLETION, "cost", "answer", "answer_status", "answer_error")
"""Columns that are the answer's: null where there is none."""


def annotation(
    request: Request, result: Result, prices: PriceList, names: Mapping[str, str], collected_us: int
) -> dict[str, object]:
    """One row of the dataset; columns that are left out are null. `names` maps carried columns to the dataset's."""
    record, ending = result.record, result.ending
    row: dict[str, object] = {
        "row_id": request.row_id,
        "row_index": request.row_index,
        "request_hash": request.request_hash,
        "model": request.model,
        "prompt": request.prompt,
        "system_prompt": request.system_prompt,
        "video_urls": list(request.video_urls),
        "outcome": ending.outcome.value,
        "generation_id": record.generation_id,
        "attempts": record.attempts,
        "polls": record.polls,
        "possible_duplicate": record.possible_duplicate,
        "submitted_at": time_of(record.submitted_at),
        "finished_at": time_of(ending.at),
        "collected_at": time_of(collected_us),
    }
    row.update({names[own]: value for own, value in request.carried.items() if own in names})
    if record.submitted_at is not None and record.generation_id is not None:
        row["latency_s"] = (ending.at - record.submitted_at) / 1_000_000
    row.update(answer_columns(ending.completion, prices, request.model))
    if ending.problem is not None:
        row["error_code"] = ending.problem.code
        row["error_type"] = ending.problem.type
        row["error_message"] = ending.problem.message
        row["http_status"] = ending.problem.http_status
    row["attempt_log"] = _attempt_log(row, result)
    return row


def answer_columns(completion: Completion | None, prices: PriceList, model: str) -> dict[str, object]:
    """The columns that a completion fills, its cost among them; none without a completion."""
    if completion is None:
        return {}
    columns: dict[str, object] = {name: getattr(completion, name) for name in _COMPLETION}
    return {**columns, "cost": price_of(completion, prices, model)}


def _attempt_log(row: Mapping[str, object], result: Result) -> list[dict[str, object]]:
    """Every POST that was or may have been billed: the earlier ones, then the one whose end this is."""
    entries: list[dict[str, object]] = [
        {
            "generation_id": attempt.generation_id,
            "submitted_at": time_of(attempt.submitted_at),
            "outcome": attempt.outcome,
            "prompt_tokens": attempt.prompt_tokens,
            "completion_tokens": attempt.completion_tokens,
            "cost": attempt.cost,
        }
        for attempt in result.record.log
    ]
    if result.record.generation_id is not None:
        kept = ("generation_id", "submitted_at", "outcome", "prompt_tokens", "completion_tokens", "cost")
        entries.append({name: row.get(name) for name in kept})
    return entries


def time_of(at: int | None) -> datetime | None:
    """A time in UTC from µs since 1970."""
    return None if at is None else _EPOCH + timedelta(microseconds=at)


def microseconds(at: datetime | None) -> int:
    """The reverse of `time_of`; 0 for no time."""
    return 0 if at is None else (at - _EPOCH) // timedelta(microseconds=1)
