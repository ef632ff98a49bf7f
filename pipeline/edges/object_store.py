"""What is done with objects of an S3-compatible store: each of it one request or a few, tried again while it passes."""

import io
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar
from uuid import uuid4

from pipeline.core.errors import StorageError
from pipeline.edges.object_client import NO_BUCKET, asked, the_store

AT_ONCE = 16
PIECE_BYTES = 8 * 1024 * 1024


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

    asked(key, once)


def upload(key: str, file: Path) -> Literal[True]:
    """The same with a file's content, which is never in memory as a whole; it is through."""
    import pyarrow as pa  # noqa: PLC0415 - commands that need no OUT load none of it

    with pa.memory_map(str(file)) as mapped:
        put(key, mapped.read_buffer())
    return True


def get(key: str) -> bytes:
    """An object's content. FileNotFoundError where there is none."""

    def once(client: Any) -> bytes:  # noqa: ANN401
        with client.open_input_stream(key) as stream:
            return bytes(stream.read())

    return asked(key, once)


def download(key: str, file: Path) -> None:
    """Write an object's content to a file. FileNotFoundError where there is none."""

    def once(client: Any) -> None:  # noqa: ANN401
        with client.open_input_stream(key) as source, file.open("wb") as target:
            shutil.copyfileobj(source, target, PIECE_BYTES)

    asked(key, once)


class ObjectReader(io.RawIOBase):
    """An object to read from, here and there; each read is a request, and is tried again as all are."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._file = asked(key, lambda client: client.open_input_file(key))
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
        found = bytes(asked(self._key, lambda _: self._file.read_at(count, self._at))) if count else b""
        self._at += len(found)
        return found

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - anything that can be written to
        """The same into a buffer."""
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)


def filesystem() -> Any:  # noqa: ANN401
    """This process's client, for Arrow's own readers."""
    return the_store().client


def looked_up(key: str) -> Listed | None:
    """What is there under this name, be it an object or a folder of some."""
    info = asked(key, lambda client: client.get_file_info(key))
    return _listed(info) if info.type else None


def listing(key: str, *, recursive: bool = False) -> list[Listed]:
    """What is in a folder, or anywhere below it; nothing where there is none. StorageError for an absent bucket."""
    from pyarrow import fs  # noqa: PLC0415

    selector = fs.FileSelector(key, recursive=recursive, allow_not_found=True)
    found = [_listed(info) for info in asked(key, lambda client: client.get_file_info(selector))]
    if not found:
        _make_sure(key)
    return found


def _make_sure(key: str) -> None:
    """StorageError where the bucket is not there, in which nothing was found; looked at once."""
    bucket, known = key.partition("/")[0], the_store().buckets
    if bucket not in known and not asked(key, lambda client: client.get_file_info(bucket)).type:
        raise StorageError(f"s3://{key}: {NO_BUCKET.format(bucket)}")
    known.add(bucket)


def try_writing(key: str) -> None:
    """Make an object in a folder and remove it. StorageError names the folder."""
    tried = f"{key}/runs/.writable-{uuid4().hex}"

    def once(client: Any) -> None:  # noqa: ANN401
        client.open_output_stream(tried).close()
        client.delete_file(tried)

    asked(key, once)


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

    asked(key, once)


def remove_below(key: str) -> None:
    """Remove a folder with all that is in it, a thousand objects a request; one that is not there is fine."""

    def once(client: Any) -> None:  # noqa: ANN401
        try:
            client.delete_dir(key)
        except FileNotFoundError:
            return

    asked(key, once)


def _listed(info: Any) -> Listed:  # noqa: ANN401
    return Listed(info.path, info.size if info.is_file else None)
