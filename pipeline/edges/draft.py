"""Where the files of a plan are made: in the run's own folder, or on this machine for a run in an object store."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.core.errors import StorageError
from pipeline.edges.files import replaced
from pipeline.edges.places import Place


class Draft:
    """The folder to make them in; a store gets them when they are whole."""

    def __init__(self, run: Place) -> None:
        self._run = run
        self._here: TemporaryDirectory[str] | None = None

    def folder(self) -> Path:
        """The folder. StorageError when the disk refuses."""
        try:
            if isinstance(self._run, Path):
                self._run.mkdir(parents=True, exist_ok=True)
                return self._run
            self._here = self._here or TemporaryDirectory(prefix="vidbatch-plan-")
            return Path(self._here.name)
        except OSError as error:
            raise StorageError(f"{self._run} can't be made: {error.strerror or error}") from error

    def deliver(self) -> None:
        """Bring what is not in the run's folder yet there. StorageError when the store refuses."""
        if self._here is not None:
            for file in sorted(Path(self._here.name).iterdir()):
                with replaced(self._run / file.name) as temporary:
                    file.replace(temporary)
            self.drop()

    def drop(self) -> None:
        """Forget what was not delivered."""
        if self._here is not None:
            self._here.cleanup()
            self._here = None
