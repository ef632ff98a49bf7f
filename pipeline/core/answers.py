"""What the API answered, as values.

The edge that sends turns every way in which a call can end into one of these; the flows decide by type, never by
status code. The tables are those of the FoxAPI contract (docs/foxapi.md).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, as the API or the door that sends told it.

    `code` is a machine word: the API's `error.code`, else its `error.type`, else `http_<status>`, or one of the
    door's own (`connect_failed`, `no_answer`, `bad_answer`, `body_too_large`).
    """

    code: str
    message: str
    type: str | None = None
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The generation exists and is paid for. `stream` is the path of its stream, where that is not the usual one."""

    generation_id: str
    stream: str = ""


@dataclass(frozen=True, slots=True)
class Throttled:
    """429: back off for everyone; `retry_after` in seconds where the API said so, already under the ceiling."""

    problem: Problem
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class NotNow:
    """The API said plainly that it created nothing and that later may work (422 `service_unavailable_error`)."""

    problem: Problem
    retry_after: float | None = None


UNREACHABLE = "connect_failed"
"""The code of a connection that could not be made: it tells of the way to the API, and not of the account."""


@dataclass(frozen=True, slots=True)
class NothingSent:
    """Proven by the door: the name look-up, the connection or the TLS handshake failed before a byte of the request."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class AccountRefused:
    """The key or the balance: no row is to blame; the account pauses. `polling_works` is true for an empty balance."""

    problem: Problem
    polling_works: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """This request will never be accepted as it is."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """The generation may or may not exist, and may have been billed."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Completion:
    """One ChatCompletion, in the dataset's words; tokens are counts, `cost` is in the API's own currency."""

    content: str | None = None
    reasoning: str | None = None
    finish_reason: str | None = None
    model_answered: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    audio_tokens: int | None = None
    video_tokens: int | None = None
    usage: str | None = None
    credits: float | None = None
    cost: float | None = None
    response: str | None = None
    refusal: str | None = None
    """What the model said instead of an answer; no column of its own, since the response holds it."""


@dataclass(frozen=True, slots=True)
class Running:
    """Not ready yet; `status` is the API's own word, known or not."""

    status: str


@dataclass(frozen=True, slots=True)
class Completed:
    """The generation ended well."""

    completion: Completion


@dataclass(frozen=True, slots=True)
class Failed:
    """The generation ended badly; `retryable` when asking again may work (and is billed again)."""

    problem: Problem
    retryable: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """The POST itself brought the answer; `answer_id` is the API's word for it, if it has one."""

    completion: Completion
    answer_id: str | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """404 for an id that was once accepted: not believed at once."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Trouble:
    """The answer tells nothing about the generation; ask again later."""

    problem: Problem


SubmitAnswer = Accepted | Answered | Failed | Throttled | NotNow | NothingSent | AccountRefused | Refused | Ambiguous
QueryAnswer = Running | Completed | Failed | Missing | Throttled | AccountRefused | Trouble
