"""Writing files so that a crash leaves either the old one or the whole new one.

In an object store a file is made on this machine and then put under its name by one request, which either is through
or did nothing. A folder can't be renamed there: its files appear one by one.
"""

import fcntl
import glob
import os
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir, mkdtemp
from uuid import uuid4

from pipeline.core.errors import ManifestError, StorageError
from pipeline.edges import object_store
from pipeline.edges.object_lock import alone
from pipeline.edges.places import ObjectPlace, Place

_UNFINISHED = ".unfinished-"


def matching(written: str) -> list[Path]:
    """The file of this name, else all that match it as a pattern, by name. ManifestError where there is none."""
    path = Path(written)
    if not glob.has_magic(written) or path.exists():
        return [path]
    found = sorted(Path(name) for name in glob.glob(written, recursive=True))  # noqa: PTH207 - also of absolute ones
    if not found:
        raise ManifestError(f"no file matches {written}; allowed are the names of manifests, or a pattern of them")
    return found


@contextmanager
def replaced(path: Place) -> Iterator[Path]:
    """A temporary path to write to; on leaving it is synced and takes the place of `path`.

    StorageError when the disk refuses; then `path` is as it was.
    """
    if isinstance(path, ObjectPlace):
        with _here() as here:
            yield here / path.name
            object_store.upload(path.key, here / path.name)
        return
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} can't be made: {error.strerror or error}") from error
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


@contextmanager
def unfinished(scratch: Place) -> Iterator[Path]:
    """A temporary folder in `scratch` for what is not whole yet; it goes on leaving, with all that is still in it.

    What was left there by processes that died is removed, too. StorageError when the disk refuses.
    """
    if isinstance(scratch, ObjectPlace):
        with _here() as here:
            yield here
        return
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        sweep(scratch)
        temporary, lock = _begun(scratch)
    except OSError as error:
        raise StorageError(f"{scratch} can't be written: {error.strerror or error}") from error
    try:
        yield temporary
    except OSError as error:
        raise StorageError(f"{scratch} can't be written: {error.strerror or error}") from error
    finally:
        os.close(lock)
        shutil.rmtree(temporary, ignore_errors=True)


def passing_folder(owner: object) -> Path:
    """A folder of this machine that goes when `owner` does. StorageError when the disk refuses."""
    try:
        path = mkdtemp(prefix="vidbatch-")
    except OSError as error:
        raise StorageError(f"{gettempdir()} can't be written: {error.strerror or error}") from error
    weakref.finalize(owner, shutil.rmtree, path, ignore_errors=True)
    return Path(path)


@contextmanager
def _here() -> Iterator[Path]:
    """A folder of this machine for what is on its way to or from a store. StorageError when the disk refuses."""
    try:
        folder = TemporaryDirectory(prefix="vidbatch-")
    except OSError as error:
        raise StorageError(f"{gettempdir()} can't be written: {error.strerror or error}") from error
    with folder as name:
        yield Path(name)


def appear(folder: Path, path: Place) -> bool:
    """Let `folder` be `path`, durably, and its files be seen all at once; False where `path` has such files already.

    Where `path` has files of others, ours join them one by one, in order; so they do in a store. StorageError when the
    disk refuses.
    """
    try:
        names = sorted(file.name for file in folder.iterdir())
        if isinstance(path, ObjectPlace):
            return all(joins(folder / name, path) for name in names)
        for name in names:
            _sync(folder / name)
        _sync(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(path)
        except OSError:
            if not path.is_dir():
                raise
            return all(joins(folder / name, path) for name in names)
        _sync(path.parent)
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror or error}") from error
    return True


def joins(file: Path, folder: Place) -> bool:
    """Let `file` appear in another folder under its name, durably; False where there is one, which stays as it is.

    StorageError when the disk refuses.
    """
    path = folder / file.name
    try:
        if isinstance(path, ObjectPlace):  # who publishes there holds a lock
            return not path.exists() and object_store.upload(path.key, file)
        _sync(file)
        _make(path.parent)
        try:
            os.link(file, path)  # as a rename would, but that it refuses to replace what another process put there
        except FileExistsError:
            return False
        except OSError:  # a file system without such names: who takes turns there is told by the ledger alone
            if path.exists():
                return False
            file.rename(path)
        _sync(path.parent)
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror or error}") from error
    return True


def _make(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _sync(folder.parent)


def _begun(scratch: Path) -> tuple[Path, int]:
    """A new folder with a lock on it. Another's sweep may take it between the two: then there is one more."""
    while True:
        temporary = scratch / f"{_UNFINISHED}{uuid4().hex}"
        temporary.mkdir()
        with suppress(FileNotFoundError):
            lock = os.open(temporary, os.O_RDONLY)
            with suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            if temporary.exists():
                return temporary, lock
            os.close(lock)


def sweep(scratch: Place) -> None:
    """Remove what processes that died left behind; a living one holds a lock on its folder, once it got so far."""
    for left in scratch.glob(f"{_UNFINISHED}*") if isinstance(scratch, Path) else ():
        with suppress(OSError):  # in use, or gone meanwhile
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)


def write_bytes(path: Place, content: bytes) -> None:
    """Replace a file's content durably."""
    if isinstance(path, ObjectPlace):
        object_store.put(path.key, content)
        return
    with replaced(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def locked(path: Place) -> Iterator[None]:
    """Hold a lock file alone; on a file system without locks, nothing is held."""
    if isinstance(path, ObjectPlace):
        with alone(path):
            yield
        return
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


@contextmanager
def alone_in_store(path: Place) -> Iterator[None]:
    """Hold a lock where a name can't be taken so that nobody else gets it; on a disk nothing is held."""
    if isinstance(path, ObjectPlace):
        with alone(path):
            yield
        return
    yield


def remove_folder(path: Place) -> None:
    """Remove a folder with all that is in it; one that is not there is fine."""
    if isinstance(path, ObjectPlace):
        object_store.remove_below(path.key)
    else:
        shutil.rmtree(path, ignore_errors=True)


def remove_files(folder: Place, pattern: str) -> None:
    """Remove the files of a folder under such names; of a store, all that is in it, a thousand at a time."""
    if isinstance(folder, ObjectPlace):
        remove_folder(folder)
        return
    for file in folder.glob(pattern):
        file.unlink(missing_ok=True)


@contextmanager
def copied(folder: Place, pattern: str) -> Iterator[list[Path]]:
    """The files of a folder under such names, in order, to be read again and again: those of a store are copied here.

    StorageError when the store or the disk refuses.
    """
    if isinstance(folder, Path):
        yield sorted(folder.glob(pattern))
        return
    with _here() as here:
        object_store.at_once(lambda place: object_store.download(place.key, here / place.name), folder.glob(pattern))
        yield sorted(here.glob(pattern))
