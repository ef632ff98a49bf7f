"""Where an export goes: a new file or folder that appears whole or not at all, and only where nothing stands."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from pipeline.core.errors import StorageError, UsageError
from pipeline.edges.files import replaced
from pipeline.edges.places import Place

MARK = ".vidbatch-export"
"""A file in each folder that an export made, with its format: only such a folder is ever replaced."""

_PARTS = ("annotations", "usage", "runs")
"""Folders of a dataset, each of which may be a link to another disk."""


def target_of(to: Path) -> Path:
    """Where `--to` really leads, past all links. UsageError where it leads nowhere."""
    try:
        return to.resolve()
    except (OSError, RuntimeError) as error:  # a link to itself is a RuntimeError
        raise UsageError(f"--to {to}: found a link that leads nowhere; allowed is a file or a folder") from error


def check_outside(path: Path, out: Place) -> None:
    """UsageError where `path` is in the dataset `out` or another one, or would take the place of one.

    What stands in a dataset is what readers take for it, and what was paid for.
    """
    real, places = path.resolve(), dict[Path, Path]()
    if isinstance(out, Path):
        dataset = out.resolve()
        places = {place.resolve(): dataset for place in (dataset, *(dataset / name for name in _PARTS))}
    for folder in (real, *real.parents):
        if folder in places or _is_dataset(folder):
            raise _misplaced(path, f"it is in the dataset {places.get(folder, folder)}")
    held = next((dataset for place, dataset in places.items() if real in place.parents), None)
    if held is None and (real / MARK).is_file():  # only such a folder is ever replaced
        held = next((file.parent for file in real.rglob("dataset.json") if _is_dataset(file.parent)), None)
    if held is not None:
        raise _misplaced(path, f"it holds the dataset {held}")


def _misplaced(path: Path, where: str) -> UsageError:
    return UsageError(f"--to {path}: {where}; allowed is a name outside of it: only runs write there")


def _is_dataset(folder: Path) -> bool:
    return (folder / "dataset.json").is_file() and (folder / "runs").is_dir()


def check_free(path: Path, *, folder: bool, force: bool) -> None:
    """UsageError where something stands at `path` that is not to be replaced, or that is of the other kind."""
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_dir() and not path.is_file():
        raise UsageError(f"--to {path}: found neither a file nor a folder; allowed is a name that is free, or a file")
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


def free_file(to: Path, out: Place, *, force: bool) -> Path:
    """Where a file that `--to` names may be written. UsageError where it may not, as for exports."""
    path = target_of(to)
    check_outside(path, out)
    check_free(path, folder=False, force=force)
    return path


@contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[Path]:
    """A temporary path to write to, which takes the place of `path` in the end."""
    check_free(path, folder=False, force=force)
    with replaced(path) as temporary:
        yield temporary


@contextmanager
def new_folder(path: Path, told: str, *, force: bool) -> Iterator[Path]:
    """A temporary folder to write to, which takes the place of `path` in the end, with all that is in it.

    `told` is what its mark says: the format.
    """
    check_free(path, folder=True, force=force)
    temporary = path.parent / f".{path.name}.{uuid4().hex}.tmp"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        (temporary / MARK).write_text(f"{told}\n", encoding="utf-8")
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
        if path.is_symlink():  # what it leads to is not ours, and need not be there
            continue
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
