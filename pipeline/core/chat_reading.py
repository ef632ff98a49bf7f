"""What a reply of an OpenAI-compatible API means; by the same rules as FoxAPI's (`reading`), in other words.

Servers of this kind agree on answers, not on errors: each form that one of them is known for is read here. Nothing may
raise on any body.
"""

from collections.abc import Mapping
from typing import Any, Final

from pipeline.core import loose
from pipeline.core.answers import (
    AccountRefused,
    Ambiguous,
    Answered,
    Failed,
    Problem,
    Refused,
    SubmitAnswer,
    Throttled,
)
from pipeline.core.completions import completion_of
from pipeline.core.problems import bad_answer, problem_of
from pipeline.core.reading import MOVED, PERHAPS_DONE, RETRYABLE_FAILURES, read_retry_after

NO_QUOTA: Final = frozenset(("insufficient_quota", "insufficient_credits", "billing_hard_limit_reached"))
"""Codes or types of a 429 that no waiting helps: the balance is used up (OpenAI)."""

BAD_KEY: Final = frozenset(
    ("authentication_error", "invalid_api_key", "invalid_authentication", "unauthenticated", "permission_denied")
)
"""Codes, types or statuses by which a 403 means the key (Google), and not what was asked (OpenRouter's moderation)."""

RETRYABLE_CODES: Final = frozenset(("408", "429", "500", "502", "503", "504", "overloaded", "overloaded_error"))
"""Where an answer came with status 200 and an error inside (OpenRouter): what its supplier said, as a number mostly."""


def read_chat(
    status: int, headers: Mapping[str, str], body: bytes, *, now: float, longest_retry_after: float
) -> SubmitAnswer:
    """Return what a whole reply to `POST /chat/completions` means; arguments as for `reading.read_submit`."""
    document = loose.document(body)
    error = error_in(document)
    if 200 <= status < 300:  # noqa: PLR2004 - the HTTP classes are their own names
        return failed(error) if error else read_completion(status, document, body)
    problem = problem_of(status, {"error": error} if error else document, headers, body)
    match status:
        case 401:
            return AccountRefused(problem, polling_works=False)
        case 402:
            return AccountRefused(problem, polling_works=True)
        case 400 | 403 if _blames_the_key(status, error):
            return AccountRefused(problem, polling_works=False)
        case 429 if NO_QUOTA & {problem.code, problem.type}:
            return AccountRefused(problem, polling_works=True)
        case 429:
            return Throttled(problem, read_retry_after(headers, now=now, longest=longest_retry_after))
        case _ if status in MOVED or (400 <= status < 500 and status not in PERHAPS_DONE):  # noqa: PLR2004
            return Refused(problem)
        case _:
            return Ambiguous(problem)


def read_completion(status: int, document: object, body: bytes) -> SubmitAnswer:
    """Return what a reply means that is well by its status, and tells no error."""
    if not isinstance(document, dict) or not isinstance(document.get("choices"), list):
        return Ambiguous(bad_answer(status, document, body, "Not a chat completion"))
    if not document["choices"]:
        # carried out to its end, and nothing came of it: how Gemini answers what its filters stop
        return Failed(Problem("no_choices", "The answer has no choices.", None, status), retryable=False)
    if error := loose.mapping(loose.mapping(document["choices"][0]).get("error")):
        return failed(error)
    return Answered(completion_of(document), loose.word(document.get("id")))


def failed(told: Mapping[str, Any]) -> Failed:
    """The end of an answer that told its error after it was begun with status 200."""
    kind = loose.word(told.get("type"))
    code = loose.word(told.get("code")) or kind or "failed"
    message = loose.text(told.get("message")) or "The API gave no reason."
    return Failed(Problem(code, message, kind, 200), retryable=code in RETRYABLE_CODES or code in RETRYABLE_FAILURES)


def as_chat(answer: SubmitAnswer) -> SubmitAnswer:
    """What came of a stream, with this API's own view of which errors may pass."""
    if isinstance(answer, Failed) and answer.problem.code in RETRYABLE_CODES:
        return Failed(answer.problem, retryable=True)
    return answer


def error_in(document: object) -> dict[str, Any]:
    """The error of a body, in OpenAI's words; empty where it tells none.

    Read are `{"error": {…}}`, the same in a list (Google), `{"error": "text"}`, `{"detail": …}` (FastAPI) and
    `{"object": "error", "message": …}` (vLLM, earlier).
    """
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return {}
    error = document.get("error")
    if isinstance(error, dict) and error:
        return {**error, "code": _code(error)}
    if isinstance(error, str) and error:
        return {"message": error, "code": document.get("code")}
    if document.get("object") == "error":
        return document
    return _detailed(document.get("detail"))


def _detailed(detail: object) -> dict[str, Any]:
    """What a FastAPI server says: words, a list of what does not fit, or an error of its own."""
    if isinstance(detail, dict) and detail:
        error = loose.mapping(detail.get("error")) or detail
        return {**error, "message": loose.text(error.get("message")) or loose.encoded(detail)}
    if isinstance(detail, str | list) and detail:
        return {"message": detail if isinstance(detail, str) else loose.encoded(detail)}
    return {}


def _code(error: Mapping[str, Any]) -> object:
    """An error's code; where that is only the HTTP status again, a word of Google's says more."""
    code, word = error.get("code"), error.get("status")
    return word.lower() if isinstance(code, int | None) and isinstance(word, str) and word else code


def _blames_the_key(status: int, told: Mapping[str, Any]) -> bool:
    """Whether a 400 or 403 is about the key. Google answers a wrong one with 400, and its reason in the details."""
    details = told.get("details")
    reasons = [loose.mapping(one).get("reason") for one in details] if isinstance(details, list) else []
    words = {loose.word(told.get(name)) for name in ("code", "type")}
    return "API_KEY_INVALID" in reasons or "invalid_api_key" in words or (status != 400 and bool(BAD_KEY & words))  # noqa: PLR2004
