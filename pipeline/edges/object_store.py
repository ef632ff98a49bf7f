"""The door to S3-compatible stores: one client a process, made at its first use, and what a store's refusals mean.

The client is pyarrow's. It is told of the store by the environment's usual AWS variables and by nothing else; no key
and no secret ever reaches a file, a card or a log. A client that was made before a fork is not used after it.
"""

import io
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from pipeline.core.errors import SettingsError, StorageError

PATIENCE_S = 30.0
"""A store that answered before, and now fails or does not answer, is asked again for so long."""

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 4.0
ATTEMPTS = 3
"""How often the client itself tries, within a second or two, before we hear of a failure."""

CONNECT_S, SILENCE_S = 5.0, 30.0
AT_ONCE = 16
PIECE_BYTES = 8 * 1024 * 1024

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
_PASSING = re.compile(
    r"NETWORK_CONNECTION|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|INTERNAL_ERROR|SLOW_DOWN|THROTTL|REQUEST_TIMEOUT"
    r"|REQUEST_LIMIT|HTTP status (429|5\d\d)|curlCode|[Tt]imed? ?out"
)
_DENIED = re.compile(r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|TOKEN|CREDENTIAL|[Cc]redentials|HTTP status 40[13]")
_REGION = re.compile(r"AuthorizationHeaderMalformed|PERMANENT_REDIRECT|region|HTTP status 30[17]")

Asked = TypeVar("Asked")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a listing; a folder has no size."""

    key: str
    size: int | None


def put(key: str, content: Any) -> None:  # noqa: ANN401 - bytes, or a buffer of Arrow's
    """Make an object, or replace it: it is there whole, or as it was before."""

    def once(client: Any) -> None:  # noqa: ANN401 - pyarrow has no types
        stream = client.open_output_stream(key)
        stream.write(content)  # in one call: an upload that is left in the middle never becomes an object
        stream.close()

    _asked(key, once)


def upload(key: str, file: Path) -> None:
    """The same with a file's content, which is never in memory as a whole."""
    import pyarrow as pa  # noqa: PLC0415 - commands that need no OUT load none of it

    with pa.memory_map(str(file)) as mapped:
        put(key, mapped.read_buffer())


def get(key: str) -> bytes:
    """An object's content. FileNotFoundError where there is none."""

    def once(client: Any) -> bytes:  # noqa: ANN401
        with client.open_input_stream(key) as stream:
            return bytes(stream.read())

    return _asked(key, once)


def download(key: str, file: Path) -> None:
    """Write an object's content to a file. FileNotFoundError where there is none."""

    def once(client: Any) -> None:  # noqa: ANN401
        with client.open_input_stream(key) as source, file.open("wb") as target:
            shutil.copyfileobj(source, target, PIECE_BYTES)

    _asked(key, once)


class ObjectReader(io.RawIOBase):
    """An object to read from, here and there; each read is a request, and is tried again as all are."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._file = _asked(key, lambda client: client.open_input_file(key))
        self._size: int = self._file.size()
        self._at = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Begin the next read there."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        """So many bytes, fewer at the end."""
        count = max(0, self._size - self._at if size < 0 else min(size, self._size - self._at))
        found = bytes(_asked(self._key, lambda _: self._file.read_at(count, self._at))) if count else b""
        self._at += len(found)
        return found

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - anything that can be written to
        """The same into a buffer."""
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)


def filesystem() -> Any:  # noqa: ANN401
    """This process's client, for Arrow's own readers."""
    return _store().client


def looked_up(key: str) -> Listed | None:
    """What is there under this name, be it an object or a folder of some."""
    info = _asked(key, lambda client: client.get_file_info(key))
    return _listed(info) if info.type else None


def listing(key: str, *, recursive: bool = False) -> list[Listed]:
    """What is in a folder, or anywhere below it; nothing where there is none. StorageError for an absent bucket."""
    from pyarrow import fs  # noqa: PLC0415

    selector = fs.FileSelector(key, recursive=recursive, allow_not_found=True)
    found = [_listed(info) for info in _asked(key, lambda client: client.get_file_info(selector))]
    bucket = key.partition("/")[0]
    if not found and not _asked(key, lambda client: client.get_file_info(bucket)).type:
        raise StorageError(f"s3://{key}: {_NO_BUCKET.format(bucket)}")
    return found


def try_writing(key: str) -> None:
    """Make an object in a folder and remove it. StorageError names the folder."""
    tried = f"{key}/runs/.writable-{uuid4().hex}"

    def once(client: Any) -> None:  # noqa: ANN401
        client.open_output_stream(tried).close()
        client.delete_file(tried)

    _asked(key, once)


def at_once(ask: Callable[[Asked], Result], of: Iterable[Asked]) -> list[Result]:
    """The answers for all of these, in order, some asked for at the same time: what costs is the way, not the store."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(ask, of))


def remove(key: str) -> None:
    """Remove an object; one that is not there is fine."""

    def once(client: Any) -> None:  # noqa: ANN401
        try:
            client.delete_file(key)
        except FileNotFoundError:
            return

    _asked(key, once)


def remove_below(key: str) -> None:
    """Remove a folder with all that is in it, a thousand objects a request; one that is not there is fine."""

    def once(client: Any) -> None:  # noqa: ANN401
        try:
            client.delete_dir(key)
        except FileNotFoundError:
            return

    _asked(key, once)


def _listed(info: Any) -> Listed:  # noqa: ANN401
    return Listed(info.path, info.size if info.is_file else None)


@contextmanager
def told(key: str) -> Iterator[None]:
    """Translate what the client raises, in the one place: StorageError, or FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"s3://{key}: {_meaning(str(error), key.partition('/')[0])}") from None


_NO_BUCKET = "there is no bucket {}: make it, or give another --out"


def _meaning(message: str, bucket: str) -> str:
    message = _without_secrets(message)
    if "NO_SUCH_BUCKET" in message:
        return _NO_BUCKET.format(bucket)
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


def _asked(key: str, ask: Callable[[Any], Result]) -> Result:
    """Ask the store, again while its trouble passes. StorageError when it does not; FileNotFoundError as it comes."""
    with told(key):
        store = _store()
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


_stores: dict[int, _Store] = {}


def _store() -> _Store:
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
