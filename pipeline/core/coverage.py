"""Which rows of a manifest stand where: each in exactly one place, or it is told.

One byte a row, so that a million rows are counted in a megabyte. Nothing here reads a file.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

MOST_ROWS = 1 << 28
"""An index beyond is a broken file, not a row; no memory is given for it."""

_ASKED, _REJECTED, _ANNOTATED, _DUPLICATE, _REUSED = 1, 2, 4, 8, 16
_PLACES = {
    _ASKED: "a request, too",
    _REJECTED: "a rejection, too",
    _DUPLICATE: "a duplicate, too",
    _REUSED: "reused, too",
}
"""The files of a plan, of which just one has a row, and what is said of a row that stands in a second one."""

_INVALID = "no valid index"


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

    def has(self, index: int, flag: int) -> bool:
        """Whether a row has this flag."""
        return index < len(self._bytes) and bool(self._bytes[index] & flag)

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
        self._place(file, indexes, _ASKED)

    def rejected(self, file: str, indexes: Iterable[int | None]) -> None:
        """Rows of rejects.parquet."""
        self._place(file, indexes, _REJECTED)

    def reused(self, file: str, indexes: Iterable[int | None]) -> None:
        """Rows of reused.parquet."""
        self._place(file, indexes, _REUSED)

    def duplicated(self, file: str, indexes: Sequence[int | None], firsts: Iterable[int | None]) -> None:
        """Rows of duplicates.parquet, and the requests that are sent instead of them, which were taken before."""
        self._place(file, indexes, _DUPLICATE)
        for index, first in zip(indexes, firsts, strict=True):
            before = first is not None and index is not None and 0 <= first < index
            if not before or not self._marks.has(first or 0, _ASKED):
                self._tell(file, "duplicates of no request before them", -1 if index is None else index)

    def _place(self, file: str, indexes: Iterable[int | None], flag: int) -> None:
        for index in self._valid(file, indexes):
            held = self._marks.mark(index, flag)
            if held & flag:
                self._tell(file, "twice", index)
            else:
                for other in [one for one in _PLACES if held & one]:
                    self._tell(file, _PLACES[other], index)

    def annotated(self, file: str, indexes: Iterable[int | None], copies: Iterable[bool]) -> None:
        """Rows of one file of annotations, and which of them say that they are a duplicate's."""
        for index, is_copy in zip(indexes, copies, strict=True):
            if index is None or not 0 <= index < MOST_ROWS:
                self._tell(file, _INVALID, -1)
                continue
            held = self._marks.mark(index, _ANNOTATED)
            if held != (_DUPLICATE if is_copy else _ASKED):
                self._tell(file, _wrong(held), index)

    def faults(self, *, requests: str, annotations: str, rows: int | None) -> list[Fault]:
        """All that does not fit; `rows` are those of the manifest, where the run has all of them."""
        found = [Fault(file, f"{what}: {which}") for (file, what), which in self._found.items()]
        for flag, whose in ((_ASKED, ""), (_DUPLICATE, " of a duplicate")):
            lacking = self._marks.having(flag)
            if lacking.count:
                found.append(Fault(annotations, f"no annotation{whose}: {lacking}"))
        nowhere = self._marks.having(0, min(rows, MOST_ROWS)) if rows else Rows(0, -1)
        if nowhere.count:
            found.append(Fault(requests, f"in no file of the plan: {nowhere}"))
        return found

    def _valid(self, file: str, indexes: Iterable[int | None]) -> Iterator[int]:
        for index in indexes:
            if index is None or not 0 <= index < MOST_ROWS:
                self._tell(file, _INVALID, -1)
            else:
                yield index

    def _tell(self, file: str, what: str, index: int) -> None:
        held = self._found.get((file, what))
        self._found[file, what] = Rows(1, index) if held is None else Rows(held.count + 1, held.first)


def _wrong(held: int) -> str:
    """What is wrong with an annotation of a row that has these flags."""
    if held & _ANNOTATED:
        return "twice in the run's annotations"
    if held & _REJECTED:
        return "rejected before"
    if held & _REUSED:
        return "answered by another run"
    if held & _DUPLICATE:
        return "a duplicate's, and does not say of which row"
    return "a request's own, and says that it is a duplicate's" if held & _ASKED else "never asked"
