"""Writing files so that a crash leaves either the old one or the whole new one."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from pipeline.core.errors import StorageError


@contextmanager
def replaced(path: Path, scratch: Path | None = None) -> Iterator[Path]:
    """A temporary path to write to; on leaving it is synced and takes the place of `path`.

    `scratch` is another folder of the same file system for the temporary file, where readers list `path`'s own.
    StorageError when the disk refuses; then `path` is as it was.
    """
    folder = scratch or path.parent
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path.parent} can't be made: {error.strerror or error}") from error
    temporary = folder / f".{path.name}.{uuid4().hex}.tmp"
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file's content durably."""
    with replaced(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file alone; on a file system without locks, nothing is held."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror or error}") from error
    try:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
