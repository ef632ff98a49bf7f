"""What a reply to an upload means: where the file lies, or why the row can't be sent now, or ever.

An upload creates no generation and is not billed, so what would be ambiguous for a submission is nothing sent here.
"""

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urljoin, urlsplit

from pipeline.core import loose
from pipeline.core.answers import Ambiguous, NothingSent, Problem, Refused, SubmitAnswer
from pipeline.core.reading import read_submit

_LONGEST_URL = 4_000


def read_upload(
    status: int, headers: Mapping[str, str], body: bytes, base_url: str, *, now: float, longest_retry_after: float
) -> str | SubmitAnswer:
    """The file's URL, or what becomes of the row instead. Never raises."""
    if 200 <= status < 300:  # noqa: PLR2004 - the HTTP classes are their own names
        url = _url_in(loose.mapping(loose.document(body)), base_url)
        return url or NothingSent(Problem("upload_bad_answer", "The upload's answer has no usable url.", None, status))
    answer = read_submit(status, headers, body, now=now, longest_retry_after=longest_retry_after)
    match answer:
        case Ambiguous(problem=problem):
            return NothingSent(_of_upload(problem))
        case Refused(problem=problem):
            return Refused(_of_upload(problem))
    return answer


def _of_upload(problem: Problem) -> Problem:
    return replace(problem, message=f"The upload of a video: {problem.message}"[: loose.LONGEST_MESSAGE])


def _url_in(told: Mapping[str, object], base_url: str) -> str | None:
    """The URL that is told, as an absolute one; some wrap the file's description in `data`."""
    url = told.get("url") or loose.mapping(told.get("data")).get("url")
    if not isinstance(url, str) or not 0 < len(url) <= _LONGEST_URL or not url.isprintable() or " " in url:
        return None
    try:
        whole = urljoin(f"{base_url}/", url)
        parts = urlsplit(whole)
    except ValueError:
        return None
    return whole if parts.scheme in {"http", "https"} and parts.hostname and parts.username is None else None
