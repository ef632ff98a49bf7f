"""Which submissions are accepted: the nine fields, their limits and the refusals of docs/foxapi.md §1 and §4.

Pure: a body in, a `Submission` or a `Refusal` out. It is written from the contract and not from the client's own
checks, so that the two can disagree.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from pipeline.simulator.settings import SimulatorSettings

LONGEST_PROMPT = 100_000
LONGEST_SYSTEM_PROMPT = 10_000
MOST_VIDEOS = 10
# Base64 grows a file by a third; 20 MB of files is what the vendor names (docs/foxapi.md §5).
_LONGEST_DATA_URIS = 20_000_000 * 4 // 3

_HTTP_URL = re.compile(r"https?://[^\s/?#]+[^\s]*", re.ASCII | re.IGNORECASE)
_VIDEO_FILE = re.compile(r"[^?#]*\.(?:mp4|mpeg|mpg|mov|webm)(?:[?#].*)?", re.IGNORECASE)
_YOUTUBE = re.compile(
    r"https?://(?:(?:www\.|m\.)?youtube\.com/watch\?(?:.*&)?v=[\w-]+|youtu\.be/[\w-]+).*", re.IGNORECASE
)
_YOUTUBE_SHORTS = re.compile(r"https?://(?:www\.|m\.)?youtube\.com/shorts/.*", re.IGNORECASE)
_DATA_URI = re.compile(r"data:video/[\w.+-]+;base64,")
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_LOOKED_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error body to be: `code` goes only with 422."""

    status: int
    type: str
    message: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """A body that the API accepts; fields as in the contract."""

    model: str
    prompt: str
    video_urls: tuple[str, ...]
    sync: bool = False
    stream: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    system_prompt: str | None = None
    reasoning: bool = False


def _model(value: object) -> str | None:
    return None if isinstance(value, str) and value else "model must be a non-empty string"


def _prompt(value: object) -> str | None:
    if not isinstance(value, str) or not value:
        return "prompt must be a non-empty string"
    return None if len(value) <= LONGEST_PROMPT else f"prompt is longer than {LONGEST_PROMPT} characters"


def _system_prompt(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        return "system_prompt must be a string or null"
    if value and len(value) > LONGEST_SYSTEM_PROMPT:
        return f"system_prompt is longer than {LONGEST_SYSTEM_PROMPT} characters"
    return None


def _video_urls(value: object) -> str | None:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_VIDEOS:
        return f"video_urls must be a list of 1 to {MOST_VIDEOS} items"
    return None if all(isinstance(url, str) for url in value) else "video_urls must hold strings"


def _boolean(name: str) -> Callable[[object], str | None]:
    return lambda value: None if isinstance(value, bool) else f"{name} must be a boolean"


def _max_tokens(value: object) -> str | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return None
    return "max_tokens must be an integer of at least 1, or null"


def _temperature(value: object) -> str | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 2):  # noqa: PLR2004 - the contract's bound
        return None
    return "temperature must be a number between 0 and 2, or null"


FIELDS: Mapping[str, Callable[[object], str | None]] = {
    "model": _model,
    "prompt": _prompt,
    "video_urls": _video_urls,
    "sync": _boolean("sync"),
    "stream": _boolean("stream"),
    "max_tokens": _max_tokens,
    "temperature": _temperature,
    "system_prompt": _system_prompt,
    "reasoning": _boolean("reasoning"),
}
_REQUIRED = ("model", "prompt", "video_urls")


@lru_cache(maxsize=16)
def most_videos(models: tuple[str, ...]) -> dict[str, int]:
    """Read `name=most` settings into a table; a model without a number takes as many as the contract allows."""
    pairs = [entry.partition("=") for entry in models]
    return {name: int(most) if most.isdecimal() else MOST_VIDEOS for name, _, most in pairs}


def check(body: bytes | bytearray, settings: SimulatorSettings) -> Submission | Refusal:
    """Judge one POST body."""
    try:
        fields: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Refusal(400, "invalid_request_error", "The body is not valid JSON.")
    if not isinstance(fields, dict):
        return Refusal(400, "invalid_request_error", "The body must be a JSON object.")
    return _wrong_field(fields, settings) or _wrong_request(fields, settings) or _submission(fields)


def _submission(fields: dict[str, Any]) -> Submission:
    get = fields.get
    return Submission(
        model=fields["model"],
        prompt=fields["prompt"],
        video_urls=tuple(fields["video_urls"]),
        sync=get("sync", False),
        stream=get("stream", False),
        max_tokens=get("max_tokens"),
        temperature=get("temperature"),
        system_prompt=get("system_prompt"),
        reasoning=get("reasoning", False),
    )


def _invalid(message: str, code: str = "invalid_param") -> Refusal:
    return Refusal(422, "invalid_request_error", message, code)


def _wrong_field(fields: dict[str, Any], settings: SimulatorSettings) -> Refusal | None:
    for name in _REQUIRED:
        if name not in fields:
            return _invalid(f"{name} is required")
    for name, value in fields.items():
        rule = FIELDS.get(name)
        if rule is not None:
            problem = rule(value)
            if problem is not None:
                return _invalid(problem)
        elif settings.unknown_fields_refused:
            return _invalid(f"unknown field {name}")
    return None


def _wrong_request(fields: dict[str, Any], settings: SimulatorSettings) -> Refusal | None:
    models = most_videos(settings.models)
    model, urls = fields["model"], fields["video_urls"]
    if model not in models:
        return _invalid(f"The model {model} is not supported.", "model_not_supported")
    if len(urls) > models[model]:
        return _invalid(f"The model {model} takes at most {models[model]} video(s).", "model_rule_violation")
    if model in settings.reasoning_required and not fields.get("reasoning"):
        return _invalid(f"The model {model} needs reasoning to be true.", "model_rule_violation")
    for url in urls:
        problem = _wrong_url(url, model, strict=settings.strict_urls)
        if problem is not None:
            return problem
    if sum(len(url) for url in urls if url.startswith("data:")) > _LONGEST_DATA_URIS:
        return _invalid("The inline videos are larger than 20 MB.", "gemini_video_size_exceeded")
    return None


def _is_data_uri(url: str) -> bool:
    """Tell whether a URI holds base64, looking at a large one piece by piece."""
    head = _DATA_URI.match(url)
    if head is None:
        return False
    ends = next((len(url) - padding for padding in (2, 1) if url.endswith("=" * padding)), len(url))
    pieces = (url[at : min(at + _LOOKED_AT_ONCE, ends)] for at in range(head.end(), ends, _LOOKED_AT_ONCE))
    return ends > head.end() and all(
        piece.isascii() and not piece.encode().translate(None, _BASE64) for piece in pieces
    )


def _wrong_url(url: str, model: str, *, strict: bool) -> Refusal | None:
    if url.startswith("data:"):
        return None if _is_data_uri(url) else _invalid("A data URI must be data:video/<type>;base64,<payload>.")
    if not _HTTP_URL.fullmatch(url):
        return _invalid("Each of video_urls must be an http(s) URL or a data URI.")
    if not strict or _VIDEO_FILE.fullmatch(url):
        return None
    if _YOUTUBE_SHORTS.fullmatch(url):
        return _invalid("youtube.com/shorts is not supported; use watch?v=.")
    if _YOUTUBE.fullmatch(url):
        gemini = model.startswith("gemini")
        return None if gemini else _invalid(f"{model} can't read YouTube.", "model_not_support_capability")
    return _invalid("A video's path must end in .mp4, .mpeg, .mpg, .mov or .webm.")
