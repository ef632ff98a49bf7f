"""OUT: the runs that it holds and the columns of its dataset."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson

from pipeline.core.columns import SCHEMA_VERSION, carried_names
from pipeline.core.errors import RunConflict, StorageError
from pipeline.core.shapes import Shape, same_columns
from pipeline.edges import object_store
from pipeline.edges.annotations_file import published_files
from pipeline.edges.files import locked, write_bytes
from pipeline.edges.places import ObjectPlace, Place, below, listed
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.edges.run_marks import read_json


class OutFolder:
    """OUT, on a disk or in an object store."""

    def __init__(self, path: Place) -> None:
        self.path: Place = path.absolute()
        self._seen: dict[str, LocalRunFolder] = {}

    def make(self) -> None:
        """Make the folder. StorageError when it can't be written, RunConflict for a dataset of another version."""
        if isinstance(self.path, ObjectPlace):
            object_store.try_writing(self.path.key)
        else:
            self._make_folder(self.path)
        self._held()

    def _make_folder(self, path: Path) -> None:
        try:
            (path / "runs").mkdir(parents=True, exist_ok=True)
            probe = path / "runs" / f".writable-{uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StorageError(f"--out {path} can't be written: {error.strerror or error}") from error

    @contextmanager
    def planning(self) -> Iterator[None]:
        """One command at a time plans here, so that the same command given twice at once becomes one run."""
        with locked(self.path / "runs" / ".planning"):
            yield

    def run(self, run_id: str) -> LocalRunFolder:
        """The files of one run."""
        return LocalRunFolder(self.path, run_id)

    def runs(self) -> Iterator[LocalRunFolder]:
        """Runs that were planned to the end, newest first."""
        folder = self.path / "runs"
        if isinstance(folder, ObjectPlace):
            yield from self._runs_in_store(folder)
            return
        names = sorted((path.name for path in folder.iterdir()), reverse=True) if folder.is_dir() else []
        for name in names:
            if (folder / name / "run.json").is_file():
                yield self.run(name)

    def _runs_in_store(self, folder: ObjectPlace) -> list[LocalRunFolder]:
        """The same by one listing; what a run says of itself is asked for once, of all of them at the same time."""
        names = sorted((place.name for place in folder.iterdir() if not place.name.startswith(".")), reverse=True)
        new = [self.run(name) for name in names if name not in self._seen]
        found = object_store.at_once(LocalRunFolder.look, new)
        self._seen |= {run.run_id: run for run, is_planned in zip(new, found, strict=True) if is_planned}
        return [self._seen[name] for name in names if name in self._seen]

    def answers(self) -> dict[str, list[Place]]:
        """The published files of all runs, by run."""
        folder, files = self.path / "annotations", dict[str, list[Place]]()
        if not isinstance(folder, ObjectPlace):
            return {one.run_id: published_files(one.published) for one in self.runs()}
        for file in below(folder, "part-*.parquet"):
            files.setdefault(file.parent.name.removeprefix("run="), []).append(file)
        return files

    def homeless(self) -> list[str]:
        """What stands among the annotations or usage tables, named under OUT, and is of no run: readers take it, too.

        What is in a run's own folder is its receipt's to tell.
        """
        runs = [f"run={folder.run_id}" for folder in self.runs()]
        known = {"annotations": {*runs}, "usage": {f"{name}.parquet" for name in runs}}
        held = [(kind, path.name) for kind in known for path in listed(self.path / kind, "*")]
        return [f"{kind}/{name}" for kind, name in held if name not in known[kind] and not name.startswith(".")]

    def columns_of(self, carried: Sequence[str], answer: Shape | None = None) -> tuple[Mapping[str, str], Shape | None]:
        """The dataset's names for a manifest's other columns, and the shape of its answers.

        RunConflict when the dataset has others already.
        """
        names = carried_names(carried)
        held = self._held()
        if held is None:
            return names, answer
        if set(held["carried"]) != set(names):
            raise RunConflict(
                f"{self.path} is a dataset with the carried columns {_listed(held['carried'])}, and this manifest has "
                f"{_listed(names)}: one dataset has one set of columns. Give the manifest the same columns "
                "(empty cells are fine), or another --out."
            )
        if not same_columns(held["answer"], answer):
            raise RunConflict(
                f"{self.path} is a dataset whose answers {_typed(held['answer'])}, and the answers of this command "
                f"{_typed(answer)}: one dataset has one type of answer. Give a --schema with the same properties and "
                f"types (other constraints are fine){', or none' if held['answer'] is None else ''}, or another --out."
            )
        return dict(held["carried"]), held["answer"]

    def fix_columns(self, names: Mapping[str, str], answer: Shape | None = None) -> None:
        """Fix the dataset's columns and the shape of its answers, once."""
        if self._held() is None:
            content: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "carried": dict(names), "answer": answer}
            write_bytes(self.path / "dataset.json", orjson.dumps(content, option=orjson.OPT_INDENT_2))

    def _held(self) -> dict[str, Any] | None:
        """`dataset.json`; nothing before the first run. RunConflict for one of another version of vidbatch."""
        path = self.path / "dataset.json"
        if not path.exists():
            return None
        held = read_json(path)
        if (found := held.get("schema_version")) != SCHEMA_VERSION:
            raise RunConflict(
                f"{path}: schema_version: found {found}; allowed is {SCHEMA_VERSION}: another version of vidbatch made "
                "this dataset, and its columns are others. It can be read as ever; give another --out for new rows."
            )
        return held


def _listed(names: Mapping[str, str]) -> str:
    return ", ".join(names) if names else "none"


def _typed(shape: Shape | None) -> str:
    """What answers are, in words."""
    if shape is None:
        return "have no schema"
    if isinstance(shape, str):
        return "are JSON text" if shape == "json" else f"are of type {shape}"
    return "are lists" if "list" in shape else f"have the fields {', '.join(shape['struct'])}"
