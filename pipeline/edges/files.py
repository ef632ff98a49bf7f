"""Writing files so that a crash leaves either the old one or the whole new one.

In an object store a file is made on this machine and then put under its name by one request, which either is through
or did nothing. A folder can't be renamed there: its files appear one by one.
"""

import fcntl
import glob
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
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
def replaced(path: Place, scratch: Place | None = None) -> Iterator[Path]:
    """A temporary path to write to; on leaving it is synced and takes the place of `path`.

    `scratch` is another folder of the same file system for the temporary file, where readers list `path`'s own.
    StorageError when the disk refuses; then `path` is as it was.
    """
    if isinstance(path, ObjectPlace):
        with _here() as here:
            yield here / path.name
            object_store.upload(path.key, here / path.name)
        return
    folder = scratch if isinstance(scratch, Path) else path.parent
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


@contextmanager
def replaced_folder(path: Place, scratch: Place) -> Iterator[Path]:
    """A temporary folder to write files to; on leaving it is synced and becomes `path`, all files at once.

    `scratch` is a folder of the same file system. Where `path` has files of these names already, they stay, and nothing
    of the temporary folder is used. What was left there by a process that died is removed. StorageError as ever.

    In an object store they appear one by one, in order: a crash between leaves the last ones out.
    """
    if isinstance(path, ObjectPlace) or isinstance(scratch, ObjectPlace):
        with _here() as here:
            yield here
            _put_all(here, path, scratch)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(scratch)
        temporary, lock = _begun(scratch)
    except OSError as error:
        raise StorageError(f"{scratch} can't be written: {error.strerror or error}") from error
    try:
        yield temporary
        names = sorted(file.name for file in temporary.iterdir())
        for name in names:
            _sync(temporary / name)
        _sync(temporary)
        _take_place(temporary, path, names)
        _sync(path.parent)
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror or error}") from error
    finally:
        os.close(lock)
        shutil.rmtree(temporary, ignore_errors=True)


def _put_all(here: Path, path: Place, scratch: Place) -> None:
    """Put the files of a folder into the store, unless one of their names is taken there."""
    names = sorted(file.name for file in here.iterdir())
    with locked(scratch / ".publishing"):  # nobody else looks and puts meanwhile
        if {place.name for place in path.glob("*")}.isdisjoint(names):
            for name in names:
                with replaced(path / name) as temporary:
                    (here / name).replace(temporary)


@contextmanager
def _here() -> Iterator[Path]:
    """A folder of this machine for what is on its way to or from a store. StorageError when the disk refuses."""
    try:
        folder = TemporaryDirectory(prefix="vidbatch-")
    except OSError as error:
        raise StorageError(f"{gettempdir()} can't be written: {error.strerror or error}") from error
    with folder as name:
        yield Path(name)


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


def _take_place(temporary: Path, path: Path, names: Sequence[str]) -> None:
    try:
        temporary.rename(path)
    except OSError:
        if not path.is_dir():
            raise
        if any((path / name).exists() for name in names):
            return
        for name in names:  # a folder with files of others in it: ours join them, in order
            (temporary / name).rename(path / name)


def _sweep(scratch: Path) -> None:
    """Remove what processes that died left behind; a living one holds a lock on its folder, once it got so far."""
    for left in scratch.glob(f"{_UNFINISHED}*"):
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
    """The same as the files of that folder, in order."""
    with copied_folder(folder, pattern) as here:
        yield sorted(here.glob(pattern))


@contextmanager
def copied_folder(folder: Place, pattern: str) -> Iterator[Path]:
    """A folder with its files of such names: those of a store are copied here, to be read again and again.

    StorageError when the store or the disk refuses.
    """
    if isinstance(folder, Path):
        yield folder
        return
    with _here() as here:
        object_store.at_once(lambda place: object_store.download(place.key, here / place.name), folder.glob(pattern))
        yield here
