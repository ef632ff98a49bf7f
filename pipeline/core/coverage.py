"""Which rows of a manifest stand where: each in exactly one place, or it is told.

One byte a row, so that a million rows are counted in a megabyte. Nothing here reads a file.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

MOST_ROWS = 1 << 28
"""An index beyond is a broken file, not a row; no memory is given for it."""

_ASKED, _REJECTED, _ANNOTATED = 1, 2, 4


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a file, whatever a receipt says of it."""

    file: str
    what: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows: how many, and the first."""

    count: int
    first: int

    def __str__(self) -> str:
        if self.first < 0:
            return f"{self.count:,} rows"
        return f"row {self.first}" + (f" and {self.count - 1:,} more" if self.count > 1 else "")


@dataclass(slots=True)
class Marks:
    """What was marked of each row."""

    _bytes: bytearray = field(default_factory=bytearray)

    def mark(self, index: int, flag: int) -> int:
        """Set a flag of a row; what it had before."""
        if index >= len(self._bytes):
            self._bytes.extend(bytes(max(index + 1 - len(self._bytes), len(self._bytes))))
        held = self._bytes[index]
        self._bytes[index] = held | flag
        return held

    def having(self, flags: int, among: int | None = None) -> Rows:
        """The rows that have exactly these flags, among so many from the first on."""
        if among:
            self.mark(among - 1, 0)
        return Rows(self._bytes.count(flags, 0, among), self._bytes.find(flags, 0, among))


@dataclass(slots=True)
class Coverage:
    """Takes the row indexes of a run's files, annotations last, and tells what does not fit."""

    _marks: Marks = field(default_factory=Marks)
    _found: dict[tuple[str, str], Rows] = field(default_factory=dict)

    def asked(self, file: str, indexes: Iterable[int | None]) -> None:
        """Rows of requests.parquet."""
        for index in self._valid(file, indexes):
            if self._marks.mark(index, _ASKED) & _ASKED:
                self._tell(file, "twice", index)

    def rejected(self, file: str, indexes: Iterable[int | None]) -> None:
        """Rows of rejects.parquet."""
        for index in self._valid(file, indexes):
            held = self._marks.mark(index, _REJECTED)
            if held & _REJECTED:
                self._tell(file, "twice", index)
            elif held & _ASKED:
                self._tell(file, "a request, too", index)

    def annotated(self, file: str, indexes: Iterable[int | None]) -> None:
        """Rows of one file of annotations."""
        for index in self._valid(file, indexes):
            held = self._marks.mark(index, _ANNOTATED)
            if held & _ANNOTATED:
                self._tell(file, "twice in the run's annotations", index)
            elif held & _REJECTED:
                self._tell(file, "rejected before", index)
            elif not held & _ASKED:
                self._tell(file, "never asked", index)

    def faults(self, *, requests: str, annotations: str, rows: int | None) -> list[Fault]:
        """All that does not fit; `rows` are those of the manifest, where the run has all of them."""
        found = [Fault(file, f"{what}: {which}") for (file, what), which in self._found.items()]
        lacking = self._marks.having(_ASKED)
        if lacking.count:
            found.append(Fault(annotations, f"no annotation: {lacking}"))
        nowhere = self._marks.having(0, min(rows, MOST_ROWS)) if rows else Rows(0, -1)
        if nowhere.count:
            found.append(Fault(requests, f"neither a request nor a rejection: {nowhere}"))
        return found

    def _valid(self, file: str, indexes: Iterable[int | None]) -> Iterator[int]:
        for index in indexes:
            if index is None or not 0 <= index < MOST_ROWS:
                self._tell(file, "no valid index", -1)
            else:
                yield index

    def _tell(self, file: str, what: str, index: int) -> None:
        held = self._found.get((file, what))
        self._found[file, what] = Rows(1, index) if held is None else Rows(held.count + 1, held.first)
