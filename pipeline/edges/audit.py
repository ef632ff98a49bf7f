"""What the files of a run say, read again from the first byte to the last: for its receipt, and to verify that.

Batch by batch: what stays in memory is a byte a row, and the ids while they are compared. A file that can't be read is
a fault that is told, and the others are read all the same.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.costs import Price
from pipeline.core.coverage import Coverage, Fault
from pipeline.core.errors import StorageError
from pipeline.core.receipt import FileFound, Found, PartFound, UsageKey, UsageSums, manifest_rows
from pipeline.core.standing import COLLECTS, RETRY_OF
from pipeline.edges.annotations_file import COPY_OF, batches, is_copy, read_usage
from pipeline.edges.bearers import Bearers
from pipeline.edges.places import Place, below, name_under
from pipeline.edges.sent_ids import by_files, content, id_files
from pipeline.edges.tally import COLUMNS, Tally

_INDEX, _FIRSTS = ("row_index",), ("row_index", "first_index")


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files of a run are; `out` is what their names are told under."""

    out: Place
    run: Place
    published: Place
    usage: Place
    sent: Path
    """The files of ids, to be read."""


def audit(places: Places, described: Mapping[str, Any]) -> Found:
    """Read all files of a run, `described` being run.json."""
    prices = {model: Price(**price) for model, price in described.get("prices", {}).items()}
    made = _Audit(places.out, places.run, Tally(prices))
    requests, rejects = places.run / "requests.parquet", places.run / "rejects.parquet"
    requested = made.planned(requests, _INDEX, made.coverage.asked)
    duplicates = made.beside(places.run, "duplicates", described, _FIRSTS, made.coverage.duplicated)
    reused = made.beside(places.run, "reused", described, _INDEX, made.coverage.reused)
    rejected = made.planned(rejects, _INDEX, made.coverage.rejected) if rejects.exists() else None
    parts = [part for path in _files(places.published) if (part := made.published(path)) is not None]
    usage_file, usage_table = made.usage(places.usage)
    ids = id_files(places.sent)  # listed once: a file that comes meanwhile is one that came after
    whole = RETRY_OF not in described and COLLECTS not in described  # else only some rows of a manifest
    gaps = made.coverage.faults(
        requests=made.name(requests),
        annotations=made.name(places.published),
        rows=manifest_rows(described) if whole else None,
    )
    return Found(
        described=described,
        parts=parts,
        requests=requested,
        duplicates=duplicates,
        reused=reused,
        rejects=rejected,
        usage_file=usage_file,
        usage_table=usage_table,
        usage=made.tally.usage,
        outcomes=dict(made.tally.outcomes),
        answer_statuses=dict(made.tally.statuses),
        flagged=made.tally.flagged,
        doubt=made.tally.doubt,
        sent=[_file_found(path, made.name_of_ids(path), len(content(path))) for path in ids],
        unplaced=made.unplaced(ids),
        finished_at=made.tally.last_end,
        faults=[*made.faults, *gaps],
    )


def _files(folder: Place) -> list[Place]:
    """All that a reader of the dataset would take for a part of the run."""
    return [path for path in below(folder, "[!.]*") if path.is_file()] if folder.is_dir() else []


@dataclass(slots=True)
class _Audit:
    """One reading of a run's files."""

    out: Place
    run: Place
    tally: Tally
    coverage: Coverage = field(default_factory=Coverage)
    bearers: Bearers = field(default_factory=Bearers)
    faults: list[Fault] = field(default_factory=list)

    def name(self, path: Place) -> str:
        return name_under(self.out, path)

    def name_of_ids(self, path: Place) -> str:
        return self.name(self.run / "sent" / path.name)

    def beside(
        self, run: Place, kind: str, described: Mapping[str, Any], columns: Sequence[str], mark: Callable[..., None]
    ) -> FileFound | None:
        """A file of the plan that is only where the run has such rows."""
        path = run / f"{kind}.parquet"
        return self.planned(path, columns, mark) if path.exists() or described.get(kind) else None

    def planned(self, path: Place, columns: Sequence[str], mark: Callable[..., None]) -> FileFound | None:
        """A file of the plan, its rows marked; nothing when it can't be read."""
        rows, name = 0, self.name(path)
        try:
            for batch in batches(path, columns):
                mark(name, *(batch[column].to_pylist() for column in columns))
                rows += batch.num_rows
            return _file_found(path, name, rows)
        except StorageError as error:
            self._tell_broken(path, error)
            return None

    def published(self, path: Place) -> PartFound | None:
        """A file of annotations, counted and its rows marked; nothing when it can't be read."""
        own, name = Tally(self.tally.prices), self.name(path)
        try:
            for batch in batches(path, (*COLUMNS, COPY_OF)):
                self.coverage.annotated(name, batch["row_index"].to_pylist(), is_copy(batch).to_pylist())
                self.bearers.take_up(batch)
                own.add(batch)
                self.tally.add(batch)
            return PartFound(_file_found(path, name, own.rows), own.kept, own.billed)
        except StorageError as error:
            self._tell_broken(path, error)
            return None

    def usage(self, path: Place) -> tuple[FileFound | None, Mapping[UsageKey, UsageSums]]:
        """The usage table, as it stands there; nothing when it can't be read."""
        try:
            table = read_usage(path)
            return _file_found(path, self.name(path), len(table)), table
        except StorageError as error:
            self._tell_broken(path, error)
            return None, {}

    def unplaced(self, files: Sequence[Place]) -> dict[frozenset[str], int]:
        """How many ids no annotation has, by the files that name them."""
        counts = by_files(files, self.bearers.unplaced(files))
        return {frozenset(map(self.name_of_ids, named)): count for named, count in counts.items()}

    def _tell_broken(self, path: Place, error: StorageError) -> None:
        self.faults.append(Fault(self.name(path), f"can't be read: {error.__cause__ or error}"))


def _file_found(path: Place, name: str, rows: int) -> FileFound:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileFound(name, rows, path.stat().st_size, digest)
    except OSError as error:
        raise StorageError(f"{path} can't be read: {error}") from error
