"""Steps that the ledger could not be told, in files of this machine: `$VIDBATCH_STATE/spill/`.

A file appears whole or not at all, and is removed only when all of it is recorded. Several processes of a machine may
look at once; the one that holds a file's lock replays it.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import orjson

from pipeline.core.errors import StorageError
from pipeline.core.spilling import SpillHead, head_line, read_head, read_step, step_line
from pipeline.edges.files import write_bytes
from pipeline.edges.places import out_place
from pipeline.ports import Commit, Spilled

ENDING = ".jsonl"


class SpillFolder:
    """Implements `ports.Spill`. The folder is made when something has to be kept."""

    def __init__(self, state: Path) -> None:
        self.path = state / "spill"

    def keep(self, head: SpillHead, holder: str, commits: Sequence[Commit]) -> None:
        """Keep steps durably. StorageError says what is lost by it."""
        lines = [step_line(commit.row_index, commit.token, commit.step) for commit in commits]
        try:
            # one by one: of parents that mkdir makes by the way, the mode is left to the umask
            for folder in (self.path.parent, self.path):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self.path / f"{head.run_id}-{holder}-{uuid4().hex}{ENDING}"
            write_bytes(path, b"\n".join([head_line(head), *lines, b""]))
        except (OSError, StorageError) as error:
            raise StorageError(f"{error}; what could not be kept: {b' '.join(lines).decode()}") from error

    def names(self) -> list[str]:
        """Files that wait, oldest first."""
        try:
            found = [entry for entry in os.scandir(self.path) if entry.name.endswith(ENDING)]
            return [entry.name for entry in sorted(found, key=lambda entry: entry.stat().st_mtime_ns)]
        except OSError:
            return []

    @contextmanager
    def held(self, name: str) -> Iterator[Spilled | None]:
        """A file's steps, nobody else's meanwhile; nothing when another process has it, or had it.

        StorageError for a file that can't be read: it stays where it is.
        """
        try:
            descriptor = os.open(self.path / name, os.O_RDONLY)
        except FileNotFoundError:
            yield None
            return
        except OSError as error:
            raise _unreadable(self.path / name, error) from error
        try:
            yield self._read(name) if self._locked(descriptor) else None
        finally:
            os.close(descriptor)

    def _locked(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return os.fstat(descriptor).st_nlink > 0

    def _read(self, name: str) -> Spilled:
        path = self.path / name
        try:
            head, *lines = path.read_bytes().splitlines()
            commits = tuple(Commit(*read_step(line)) for line in lines)
            return Spilled(name, read_head(head), commits)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise _unreadable(path, error) from error

    def remove(self, name: str) -> None:
        """Forget a file whose steps are recorded. StorageError when the disk refuses."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{self.path / name} can't be removed: {error.strerror or error}") from error

    def save_beside(self, spilled: Spilled, out: str, lines: Sequence[bytes]) -> bool:
        """Put ids into the run's `sent/`; False where `out` does not hold the run. StorageError when the disk refuses.

        The same file again replaces itself.
        """
        folder = out_place(out) / "runs" / spilled.head.run_id
        try:
            token = orjson.loads((folder / "run.json").read_bytes()).get("token")
        except (OSError, ValueError, AttributeError):
            return False
        if token != spilled.head.token:
            return False
        if lines:
            write_bytes(folder / "sent" / f"spilled-{spilled.name}", b"\n".join([*lines, b""]))
        return True


def _unreadable(path: Path, error: Exception) -> StorageError:
    return StorageError(f"{path} can't be read, and is left where it is: {error!r}")
