"""Where an export goes: a new file or folder that appears whole or not at all, and only where nothing stands."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from pipeline.core.errors import StorageError, UsageError
from pipeline.edges.files import replaced

MARK = ".vidbatch-export"
"""A file in each folder that an export made: only such a folder is ever replaced."""


def check_outside(path: Path, out: Path) -> None:
    """UsageError where `path` is in the dataset `out` or another one, or would take the place of one.

    What stands in a dataset is what readers take for it, and what was paid for.
    """
    real, dataset = path.resolve(), out.resolve()
    within = next((folder for folder in (real, *real.parents) if folder == dataset or _is_dataset(folder)), None)
    if within is None and real not in dataset.parents:
        return
    where = f"it holds the dataset {dataset}" if within is None else f"it is in the dataset {within}"
    raise UsageError(f"--to {path}: {where}; allowed is a name outside of it: only runs write there")


def _is_dataset(folder: Path) -> bool:
    return (folder / "dataset.json").is_file() and (folder / "runs").is_dir()


def check_free(path: Path, *, folder: bool, force: bool) -> None:
    """UsageError where something stands at `path` that is not to be replaced, or that is of the other kind."""
    if not path.exists() and not path.is_symlink():
        return
    if path.is_dir() != folder:
        kinds = ("a folder", "a file") if path.is_dir() else ("a file", "a folder")
        raise UsageError(f"--to {path}: found {kinds[0]}; allowed is the name of {kinds[1]}, which this format makes")
    if not force:
        raise UsageError(f"--to {path}: it is there already; allowed is another name, or --force to replace it")
    if folder and any(path.iterdir()) and not (path / MARK).is_file():
        raise UsageError(
            f"--to {path}: found a folder that no export made; allowed is another name: --force replaces only a folder "
            f"with the file {MARK} in it, or an empty one"
        )


@contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[Path]:
    """A temporary path to write to, which takes the place of `path` in the end."""
    check_free(path, folder=False, force=force)
    with replaced(path) as temporary:
        yield temporary


@contextmanager
def new_folder(path: Path, *, force: bool) -> Iterator[Path]:
    """A temporary folder to write to, which takes the place of `path` in the end, with all that is in it."""
    check_free(path, folder=True, force=force)
    temporary = path.parent / f".{path.name}.{uuid4().hex}.tmp"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        (temporary / MARK).touch()
        _sync_all(temporary)
        old = path.parent / f".{path.name}.{uuid4().hex}.old"
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync_all(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def json_items(path: Path, *, head: bytes = b"[", tail: bytes = b"]") -> Iterator[Callable[[bytes], None]]:
    """Writes a JSON array or object item by item, each given as its JSON."""
    with path.open("wb") as file:
        before = head + b"\n"

        def add(item: bytes) -> None:
            nonlocal before
            file.write(before + item)
            before = b",\n"

        yield add
        file.write((b"\n" if before == b",\n" else before) + tail + b"\n")
