"""The door to S3-compatible stores: one client a process, made at its first use, and what a store's refusals mean.

The client is pyarrow's. It is told of the store by the environment's usual AWS variables and by nothing else; no key
and no secret ever reaches a file, a card or a log. A client that was made before a fork is not used after it.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pipeline.core.errors import SettingsError, StorageError

PATIENCE_S = 30.0
"""A store that answered before, and now fails or does not answer, is asked again for so long."""

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 4.0
ATTEMPTS = 3
"""How often the client itself tries, within a second or two, before we hear of a failure."""

CONNECT_S, SILENCE_S = 5.0, 30.0

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
_PASSING = re.compile(
    r"NETWORK_CONNECTION|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|INTERNAL_ERROR|SLOW_DOWN|THROTTL|REQUEST_TIMEOUT"
    r"|REQUEST_LIMIT|HTTP status (429|5\d\d)|curlCode|[Tt]imed? ?out"
)
_DENIED = re.compile(r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|TOKEN|CREDENTIAL|[Cc]redentials|HTTP status 40[13]")
_REGION = re.compile(r"AuthorizationHeaderMalformed|PERMANENT_REDIRECT|region|HTTP status 30[17]")

Result = TypeVar("Result")


@contextmanager
def told(key: str) -> Iterator[None]:
    """Translate what the client raises, in the one place: StorageError, or FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"s3://{key}: {_meaning(str(error), key.partition('/')[0])}") from None


NO_BUCKET = "there is no bucket {}: make it, or name another one"


def _meaning(message: str, bucket: str) -> str:
    message = _without_secrets(message)
    if "NO_SUCH_BUCKET" in message:
        return NO_BUCKET.format(bucket)
    if _PASSING.search(message):
        where = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), "the store")
        return f"{where} does not answer as it should; nothing is lost, give the command again later ({message})"
    if _DENIED.search(message):
        return (
            "the store refuses access: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN) of "
            f"somebody who may list, read, write and delete there ({message})"
        )
    if _REGION.search(message):
        return f"the bucket is in another region: set AWS_REGION ({message})"
    return message


def _without_secrets(message: str) -> str:
    for name in _SECRETS:
        if value := os.environ.get(name):
            message = message.replace(value, f"${name}")
    return message


def asked(key: str, ask: Callable[[Any], Result]) -> Result:
    """Ask the store, again while its trouble passes. StorageError when it does not; FileNotFoundError as it comes."""
    with told(key):
        store = the_store()
        ends, wait = time.monotonic() + PATIENCE_S, FIRST_WAIT_S
        while True:
            try:
                answer = ask(store.client)
            except FileNotFoundError:
                store.answered = True
                raise
            except OSError as error:
                # one that never answered is more likely mistyped than in trouble
                if not (store.answered and _PASSING.search(str(error)) and time.monotonic() + wait < ends):
                    raise
                time.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT_S)
            else:
                store.answered = True
                return answer


@dataclass(slots=True)
class _Store:
    """This process's client."""

    client: Any
    answered: bool = False
    buckets: set[str] = field(default_factory=set)
    """Buckets that are there."""


_stores: dict[int, _Store] = {}


def the_store() -> _Store:
    """This process's store."""
    pid = os.getpid()
    if pid not in _stores:
        _stores.clear()
        _stores[pid] = _Store(_client(os.environ))
    return _stores[pid]


def forget() -> None:
    """Let the next request make a client anew, as the environment says then."""
    _stores.clear()


def _client(environment: Mapping[str, str]) -> Any:  # noqa: ANN401
    """A client as the environment says. SettingsError for an address that can't be used."""
    from pyarrow import fs  # noqa: PLC0415

    region = next((environment[name] for name in _REGIONS if environment.get(name)), None)
    settings: dict[str, Any] = {}
    for name in _ENDPOINTS:
        if url := environment.get(name):
            parts = urlsplit(url)
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
                raise SettingsError(f"{name}: allowed is an address such as https://host:9000, without a key in it")
            settings = {"scheme": parts.scheme, "endpoint_override": parts.netloc + parts.path.rstrip("/")}
            region = region or "us-east-1"  # stores of one's own have one region, and expect this name
            break
    return fs.S3FileSystem(
        region=region,
        connect_timeout=CONNECT_S,
        request_timeout=SILENCE_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        allow_delayed_open=True,  # one request for a file that fits into one
        background_writes=False,  # an upload is one file at a time, and no copies of it in memory
        **settings,
    )
