"""How far a run's rows were fed, on disk before they are in the ledger; it never goes back, whoever raises it."""

from uuid import uuid4

from pipeline.edges.files import locked, write_bytes
from pipeline.edges.places import ObjectPlace, Place


class FeedMark:
    """The mark of one run: a file. In an object store each feeder has its own, the highest counts, and none locks."""

    def __init__(self, folder: Place) -> None:
        self._folder = folder
        self._own = folder / "fed" / uuid4().hex if isinstance(folder, ObjectPlace) else folder / "fed"
        self._mine = 0

    def lift(self, until: int) -> None:
        """Raise the mark, durably."""
        if isinstance(self._own, ObjectPlace):
            if until > self._mine:
                write_bytes(self._own, str(until).encode())
                self._mine = until
            return
        with locked(self._folder / ".fed-lock"):
            if until > self.read():
                write_bytes(self._own, str(until).encode())

    def read(self) -> int:
        """The mark; 0 before the first."""
        if isinstance(self._own, ObjectPlace):
            return max((int(place.read_bytes()) for place in self._own.parent.iterdir()), default=0)
        try:
            return int(self._own.read_text())
        except FileNotFoundError:
            return 0
