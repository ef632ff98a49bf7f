"""Small files of a store that are read again and again, kept on this machine as long as somebody reads them."""

from pathlib import Path
from threading import Lock

from pipeline.edges import object_store
from pipeline.edges.files import passing_folder
from pipeline.edges.places import ObjectPlace, Place


class Mirror:
    """A folder whose files never change once they are there; a local one is its own mirror."""

    def __init__(self, folder: Place, pattern: str) -> None:
        self._folder = folder
        self._pattern = pattern
        self._here: Path | None = None
        self._held: dict[str, int | None] = {}
        self._lock = Lock()

    def here(self) -> Path:
        """The folder with all files that are there by now. StorageError when the store or the disk refuses."""
        if isinstance(self._folder, Path):
            return self._folder
        with self._lock:
            self._here = self._here or passing_folder(self)
            found = {place.name: place for place in self._folder.glob(self._pattern)}
            object_store.at_once(self._fetch, [one for name, one in found.items() if not self._has(name, one)])
            return self._here

    def _has(self, name: str, place: ObjectPlace) -> bool:
        return self._held.get(name) == place.stat().st_size

    def _fetch(self, place: ObjectPlace) -> None:
        if self._here is not None:
            object_store.download(place.key, self._here / place.name)
            self._held[place.name] = place.stat().st_size
