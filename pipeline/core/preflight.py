"""What a look at a video's URL means before money is spent on it: worth its POST, or not, and why.

What can't be told is worth it: an API may get where this machine does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from pipeline.core.answers import Problem
from pipeline.core.containers import kind_of, told_of
from pipeline.core.other_sources import LARGEST_FILE

DEAD, EXPIRED, NO_VIDEO, TOO_LARGE, TOO_LONG = CODES = (
    "preflight_dead",
    "preflight_expired_url",
    "preflight_not_a_video",
    "preflight_too_large",
    "preflight_too_long",
)
"""Codes of rows that were refused before they were sent; `vidbatch retry --outcome refused` asks them again."""

NO_SUCH_NAME = "no_such_name"
LOOKED_AT = 64 * 1024
"""Bytes that are fetched where the first answer does not tell enough."""

_GONE = frozenset((404, 410))
_DENIED = frozenset((400, 401, 403))
_STORE_SAYS = (
    "request has expired",
    "expiredtoken",
    "signature not valid in the specified time frame",
    "token expired",
)
_PAGES = ("text/", "application/json", "application/xml", "image/")


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look brought: a status, what the headers say, and the first bytes where they were fetched.

    `trouble` says why there was no answer; only `NO_SUCH_NAME` tells something.
    """

    status: int = 0
    trouble: str = ""
    content_type: str = ""
    length: int | None = None
    head: bytes = b""


def is_enough(seen: Looked) -> bool:
    """Whether the headers alone tell that this is a video, or that there is none."""
    return seen.status in _GONE or (seen.status == 200 and seen.content_type.startswith("video/") and bool(seen.length))  # noqa: PLR2004


def trouble_in(url: str, seen: Looked, now: float) -> Problem | None:
    """Why a URL is not worth its POST; nothing where it is, or nobody can tell. `now` is in unix seconds."""
    host = urlsplit(url).hostname or ""
    if seen.trouble == NO_SUCH_NAME:
        return Problem(DEAD, f"There is no host {host}.")
    if seen.status in _GONE:
        return Problem(DEAD, f"{host} has no such video.", None, seen.status)
    if seen.status in _DENIED:
        return _denied(url, seen, now, host)
    if not 200 <= seen.status < 300:  # noqa: PLR2004 - the HTTP classes
        return None
    if seen.length is not None and seen.length > LARGEST_FILE:
        found = f"The video has {seen.length:,} bytes; allowed are {LARGEST_FILE:,}."
        return Problem(TOO_LARGE, found, None, seen.status)
    if seen.head and kind_of(seen.head) is None:
        found = f"{host} gives no video: {seen.content_type or 'no type'}, beginning with {told_of(seen.head)}"
        return Problem(NO_VIDEO, found, None, seen.status)
    if not seen.head and seen.content_type.startswith(_PAGES):
        return Problem(NO_VIDEO, f"{host} gives no video: {seen.content_type}", None, seen.status)
    return None


def _denied(url: str, seen: Looked, now: float, host: str) -> Problem | None:
    """Access is denied: since a signature expired, or for a reason that need not hold for the API."""
    until = expires_at(url)
    said = seen.head.decode("utf-8", "replace").lower()
    if until is not None and until <= now:
        then = datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds")
        return Problem(EXPIRED, f"The URL's signature for {host} expired at {then}: sign it anew.", None, seen.status)
    if any(words in said for words in _STORE_SAYS):
        return Problem(EXPIRED, f"{host} says that the URL's signature has expired: sign it anew.", None, seen.status)
    return None


def expires_at(url: str) -> float | None:
    """When a signed URL stops working, in unix seconds, as the usual stores write it; nothing where it does not say."""
    try:
        query = {name.lower(): values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        for store in ("x-amz-", "x-goog-"):
            if f"{store}expires" in query and f"{store}date" in query:
                signed = datetime.strptime(query[f"{store}date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
                return signed.timestamp() + float(query[f"{store}expires"])
        return _plain_expiry(query)
    except (ValueError, OverflowError):
        return None


def _plain_expiry(query: Mapping[str, str]) -> float | None:
    if "expires" in query:  # seconds since 1970: S3 and Google of old, CloudFront
        return float(query["expires"])
    if "se" in query and "sig" in query:  # Azure
        until = datetime.fromisoformat(query["se"])
        return (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp()
    return None
