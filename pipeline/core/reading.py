"""What an API reply means: status, headers and bytes in, one value of `answers` out.

The tables here are those of docs/foxapi.md. Bodies come from the outside and may be anything (HTML, nothing, half a
JSON text, the wrong shape), so nothing here may raise on any body; and nothing here may guess in our favour: what is
not plainly a refusal of a submission may have been billed, and is `Ambiguous`.
"""

import math
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from pipeline.core import loose
from pipeline.core.answers import (
    Accepted,
    AccountRefused,
    Ambiguous,
    Completed,
    Failed,
    Missing,
    NotNow,
    Problem,
    QueryAnswer,
    Refused,
    Running,
    SubmitAnswer,
    Throttled,
    Trouble,
)
from pipeline.core.completions import completion_of
from pipeline.core.problems import bad_answer, error_of, problem_of

_LONGEST_ID = 512
_LONGEST_BELIEVABLE_S = 86_400.0
"""A wait beyond a day is no limiter's answer but a mistake: milliseconds, an instant in seconds, a missing value."""

RETRYABLE_FAILURES: Final[Mapping[str, str]] = {
    "timeout": "the model was too slow once; generation times vary widely",
    "model_unavailable": "no capacity for the model at that moment",
    "service_unavailable": "the service behind the API was away",
    "service_unavailable_error": "the same, in the words that the API uses at submission",
    "rate_limit_exceeded": "the API's own supplier throttled it",
    "rate_limit_error": "the same, in the words that the API uses at submission",
    "server_error": "an internal fault, not the request's",
    "generation_failed": "the API's catch-all: it tells nothing apart, and attempts are bounded",
}
"""Codes of a failed generation that are worth asking again, each with its reason.

The set of codes is open. A code that is not here ends the row: asking again is billed again, and a refusal by policy,
an invalid parameter or an empty balance does not pass by waiting.
"""

MOVED: Final[Mapping[int, str]] = {
    301: "the resource lives elsewhere; this server did not act",
    307: "the same, for now, and the method must be kept: by definition the request is still to be made",
    308: "the same, for good",
}
"""Redirects that are plain refusals. 302 and 303 are not among them: both are also how a server answers a POST that
it has carried out, so they are ambiguous."""

PERHAPS_DONE: Final[Mapping[int, str]] = {
    408: "gateways use it for a slow service behind them as well as for a slow client",
    409: "a conflict may be with what this very request created",
    499: "a proxy gave up on the connection; the service behind it may not have",
}
"""4xx codes that don't prove that nothing was created."""


Success = Callable[[int, object, bytes], SubmitAnswer]
"""Reads what a POST is answered with a 2xx status: that status, the body's JSON value, and the body."""


def read_acceptance(status: int, document: object, body: bytes) -> SubmitAnswer:
    """Return what a POST means that is to be answered with a generation's id."""
    if isinstance(document, dict) and document.get("object") != "chat.completion":
        generation_id = document.get("id")
        if isinstance(generation_id, str) and _usable_id(generation_id):
            return Accepted(generation_id)
    return Ambiguous(bad_answer(status, document, body, "Accepted, but without a generation id that can be polled"))


def read_submit(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float,
    longest_retry_after: float,
    success: Success = read_acceptance,
) -> SubmitAnswer:
    """Return what a reply to a submission means.

    `headers` has lower-case names; `now` is unix seconds, for a `Retry-After` date; `longest_retry_after` is the
    ceiling in seconds; `success` knows how the answer was to come. Never raises.
    """
    document = loose.document(body)
    if 200 <= status < 300:  # noqa: PLR2004 - the HTTP classes are their own names
        return success(status, document, body)
    problem = problem_of(status, document, headers, body)
    match status:
        case 401:
            return AccountRefused(problem, polling_works=False)
        case 402:
            return AccountRefused(problem, polling_works=True)
        case 403 if problem.type == "authentication_error":
            return AccountRefused(problem, polling_works=False)
        case 422 if problem.type == "service_unavailable_error":
            return NotNow(problem, read_retry_after(headers, now=now, longest=longest_retry_after))
        case 429:
            return Throttled(problem, read_retry_after(headers, now=now, longest=longest_retry_after))
        case _ if status in MOVED or (400 <= status < 500 and status not in PERHAPS_DONE):  # noqa: PLR2004
            return Refused(problem)
        case _:
            return Ambiguous(problem)


def read_query(
    status: int, headers: Mapping[str, str], body: bytes, *, now: float, longest_retry_after: float
) -> QueryAnswer:
    """Return what a reply to a query for one generation means; arguments as for `read_submit`. Never raises."""
    document = loose.document(body)
    if 200 <= status < 300:  # noqa: PLR2004 - the HTTP classes are their own names
        return read_generation(status, document, body)
    problem = problem_of(status, document, headers, body)
    match status:
        case 401:
            return AccountRefused(problem, polling_works=False)
        case 403 if problem.type == "authentication_error":
            return AccountRefused(problem, polling_works=False)
        case 404:
            return Missing(problem)
        case 422 if problem.type == "service_unavailable_error":
            return Trouble(problem)
        case 400 | 422:
            return Failed(problem, retryable=False)
        case 429:
            return Throttled(problem, read_retry_after(headers, now=now, longest=longest_retry_after))
        case _:
            return Trouble(problem)


def read_retry_after(headers: Mapping[str, str], *, now: float, longest: float) -> float | None:
    """Return the seconds that `Retry-After` asks for, between 0 and `longest`, or None where it says nothing usable."""
    text = headers.get("retry-after")
    if text is None:
        return None
    seconds = _seconds(text.strip(), now)
    return None if seconds is None or seconds > _LONGEST_BELIEVABLE_S else min(max(seconds, 0.0), longest)


def _seconds(text: str, now: float) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return _seconds_until(text, now)
    return None if math.isnan(seconds) or seconds < 0 else seconds


def _seconds_until(date: str, now: float) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None


def _usable_id(text: str) -> bool:
    """Opaque, but it must survive as one segment of a path."""
    return 0 < len(text) <= _LONGEST_ID and text.isprintable() and text.strip(". ") != ""


def read_generation(http_status: int, document: object, body: bytes) -> Running | Completed | Failed | Trouble:
    """Return what a generation's task says of it."""
    status = document.get("status") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(status, str):
        return Trouble(bad_answer(http_status, document, body, "Not a generation"))
    match status:
        case "completed":
            return _read_completed(document)
        case "failed":
            return _read_failed(document)
        case "cancelled" | "canceled":
            told = error_of(document)
            message = loose.text(told.get("message")) or "The generation was cancelled at the API."
            return Failed(Problem("cancelled", message, loose.word(told.get("type")), 200), retryable=False)
        case _:
            return Running(status[: loose.LONGEST_WORD])


def _read_failed(document: dict[str, Any]) -> Failed:
    told = error_of(document)
    kind = loose.word(told.get("type"))
    code = loose.word(told.get("code")) or kind or "failed"
    message = loose.text(told.get("message")) or loose.text(document.get("error")) or "The API gave no reason."
    return Failed(Problem(code, message, kind, 200), retryable=code in RETRYABLE_FAILURES)


def _read_completed(document: dict[str, Any]) -> Completed | Trouble:
    results = document.get("results")
    answer = results[0] if isinstance(results, list) and results else None
    if not isinstance(answer, dict):
        return Trouble(Problem("no_results", "Completed, but the results are not there yet.", None, 200))
    task_usage = loose.mapping(document.get("usage"))
    credits_ = loose.amount(task_usage.get("credits"))
    return Completed(
        completion_of(answer, loose.amount(task_usage.get("credits_reserved")) if credits_ is None else credits_)
    )
