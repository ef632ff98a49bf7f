"""A run in OUT together with the runs that were derived from it: where each of its rows stands by now."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.cli.asking import identity_in
from pipeline.core.answering import AnswerStatus
from pipeline.core.errors import UsageError
from pipeline.core.lifecycle import Outcome
from pipeline.core.rows import Rows
from pipeline.core.standing import COLLECTS, End, Remains, family_of, is_left, newest, parent_of, remains
from pipeline.edges.annotations_file import published_files
from pipeline.edges.ends_file import read_ends
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.run_folder import LocalRunFolder


@dataclass(frozen=True, slots=True)
class Family:
    """A run, and all runs that come from the same manifest's run, newest first."""

    run: LocalRunFolder
    described: Mapping[str, Any]
    members: tuple[LocalRunFolder, ...]
    turn: int
    """The place of the next derived run in their order."""
    later: tuple[LocalRunFolder, ...] = ()
    """Finished runs of other manifests that came after, and may have answered the same questions."""

    def ends(self) -> Iterator[End]:
        """The newest end of each row of the run, in no order; one that a later run has answered completed."""
        since = self._answered_since()
        for end in self._own_ends():
            status = since.get(end.row_index)
            if status is not None and (end.outcome is not Outcome.COMPLETED or status == AnswerStatus.OK):
                yield replace(end, outcome=Outcome.COMPLETED, answer_status=status, generation_id=None, doubtful=False)
            else:
                yield end

    def _answered_since(self) -> dict[int, str]:
        own = published_files(self.run.published)
        later = [file for folder in self.later for file in published_files(folder.published)]
        if not own or not later:
            return {}
        from pipeline.edges.sifting import answered_since  # noqa: PLC0415 - DuckDB is loaded only where it is needed

        with TemporaryDirectory(prefix="vidbatch-") as scratch:
            return answered_since(Path(scratch), own, later)

    def _own_ends(self) -> Iterator[End]:
        within = Rows(end.row_index for end in read_ends(self.run.published)) if parent_of(self.described) else None
        collections = {place for place, folder in enumerate(self.members) if COLLECTS in folder.described()}
        return newest([read_ends(folder.published) for folder in self.members], within, collections)

    def remains(self) -> Remains:
        """What did not complete, or has no answer that fits, by now; duplicates included."""
        left = [end for end in self.ends() if is_left(end)]
        return remains(left, self.run.duplicates().counts({end.row_index for end in left}))

    def unfinished(self) -> LocalRunFolder | None:
        """A derived run that is not through, or nothing."""
        return next((folder for folder in self.members if folder.begun and folder.summary() is None), None)


def the_run(out: OutFolder, run_id: str) -> LocalRunFolder:
    """A run of OUT. UsageError names those that there are."""
    runs = {folder.run_id: folder for folder in out.runs()}
    if run_id in runs:
        return runs[run_id]
    held = f"it holds {', '.join(runs)}" if runs else "it holds none"
    raise UsageError(f"{out.path} holds no run {run_id}; {held}")


def family(out: OutFolder, run: LocalRunFolder) -> Family:
    """The run with its relatives; those of which nothing was sent do not count."""
    folders = {folder.run_id: folder for folder in out.runs() if folder.run_id == run.run_id or folder.begun}
    described = {run_id: folder.described() for run_id, folder in folders.items()}
    names = family_of(run.run_id, described)
    like = _asked_of(described[run.run_id])
    later = tuple(
        folder
        for run_id, folder in folders.items()
        if run_id > run.run_id and run_id not in names and _asked_of(described[run_id]) == like and folder.summary()
    )
    turn = 1 + max(int(described[name].get("turn", 0)) for name in names)
    return Family(run, described[run.run_id], tuple(folders[name] for name in names), turn, later)


def _asked_of(described: Mapping[str, Any]) -> tuple[str, object]:
    """Whose answers count for each other: those of one API, held against one schema."""
    return identity_in(described), described.get("schema_digest")
