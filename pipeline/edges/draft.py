"""Where the files of a plan are made: in the run's own folder, or on this machine for a run in an object store."""

from pathlib import Path

from pipeline.core.errors import StorageError
from pipeline.edges.files import passing_folder, remove_folder, replaced
from pipeline.edges.places import ObjectPlace, Place


class Draft:
    """The folder to make them in; a store gets them when they are whole."""

    def __init__(self, run: Place) -> None:
        self._run = run
        self._here: Path | None = None

    def folder(self) -> Path:
        """The folder. StorageError when the disk refuses."""
        if isinstance(self._run, ObjectPlace):
            self._here = self._here or passing_folder(self)
            return self._here
        try:
            self._run.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self._run} can't be made: {error.strerror or error}") from error
        return self._run

    def deliver(self) -> None:
        """Bring what is not in the run's folder yet there. StorageError when the store refuses."""
        if self._here is not None:
            for file in sorted(self._here.iterdir()):
                with replaced(self._run / file.name) as temporary:
                    file.replace(temporary)
            self.drop()

    def drop(self) -> None:
        """Forget what was not delivered."""
        if self._here is not None:
            remove_folder(self._here)
            self._here = None
