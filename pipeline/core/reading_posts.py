"""What a POST is answered with where that is more than a generation's id: the answer itself, or where its stream is.

As in `reading`, nothing here may raise on any body, and what is not plainly an end may have been billed.
"""

from functools import partial
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from pipeline.core import loose
from pipeline.core.answers import (
    Accepted,
    Ambiguous,
    Answered,
    Completion,
    Failed,
    Problem,
    Running,
    SubmitAnswer,
    Trouble,
)
from pipeline.core.completions import completion_of
from pipeline.core.policy import STREAM, SYNC, SYNC_STREAM
from pipeline.core.problems import bad_answer, told_failure
from pipeline.core.reading import RETRYABLE_FAILURES, Success, read_acceptance, read_generation

_LONGEST_PATH = 1_000


def success_in(mode: str, base_url: str) -> Success:
    """How a 2xx answer to a POST is read in a mode, at an API with this base URL."""
    if mode == STREAM:
        return partial(_read_opened, base_url)
    return read_answer if mode in (SYNC, SYNC_STREAM) else read_acceptance


def usual_stream(generation_id: str) -> str:
    """The path of a generation's stream below the base URL."""
    return f"/v1/llm/generations/{quote(generation_id, safe='', errors='replace')}/stream"


def stream_path(told: object, base_url: str, generation_id: str) -> str:
    """The path of a generation's stream on the API's own host, where the API tells one that is not the usual one.

    Nothing where it names another host, or what a path need not have: a query may be somebody's secret.
    """
    if not isinstance(told, str) or not 0 < len(told) <= _LONGEST_PATH or not told.isprintable() or "\\" in told:
        return ""
    try:
        url, base = urlsplit(told), urlsplit(base_url)
        elsewhere = bool(url.netloc) and _origin(url) != _origin(base)
        strange = elsewhere or (url.scheme and not url.netloc) or url.username or url.query or url.fragment
    except ValueError:
        return ""
    steps = unquote(url.path).split("/")
    if strange or not url.path.startswith("/") or url.path.startswith("//") or {".", ".."} & set(steps):
        return ""
    usual = unquote(usual_stream(generation_id))
    return "" if unquote(url.path) in (usual, base.path.rstrip("/") + usual) else url.path


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or {"http": 80, "https": 443}.get(url.scheme)


def read_answer(status: int, document: object, body: bytes) -> SubmitAnswer:
    """What a POST means that is to be answered with a ChatCompletion, or as a task that ended, or goes on."""
    known = loose.mapping(document)
    if known.get("error") and "status" not in known:
        problem = told_failure(known["error"])
        return Failed(problem, retryable=problem.code in RETRYABLE_FAILURES)
    if known.get("choices") == []:
        # carried out to its end, and nothing came of it: how Gemini answers what its filters stop
        return Failed(Problem("no_choices", "The answer has no choices.", None, status), retryable=False)
    if _is_answer(known):
        return Answered(completion_of(known), loose.word(known.get("id")))
    if isinstance(known.get("status"), str):
        return _read_task(status, known, body)
    return Ambiguous(bad_answer(status, document, body, "Neither an answer nor a generation"))


def read_whole(body: bytes) -> tuple[Completion, str | None]:
    """A ChatCompletion that is known to be one, and the API's word for it."""
    answer = loose.mapping(loose.document(body))
    return completion_of(answer), loose.word(answer.get("id"))


def _is_answer(known: dict[str, Any]) -> bool:
    choices = known.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return isinstance(first, dict) and isinstance(first.get("message"), dict)


def _read_task(status: int, task: dict[str, Any], body: bytes) -> SubmitAnswer:
    match read_generation(status, task, body):
        case Failed() as failed:
            return failed
        case Running() | Trouble():
            return read_acceptance(status, task, body)
        case completed:
            return Answered(completed.completion, loose.word(task.get("id")))


def _read_opened(base_url: str, status: int, document: object, body: bytes) -> SubmitAnswer:
    accepted = read_acceptance(status, document, body)
    if not isinstance(accepted, Accepted):
        return accepted
    told = loose.mapping(loose.mapping(document).get("stream")).get("url")
    return Accepted(accepted.generation_id, stream_path(told, base_url, accepted.generation_id))
