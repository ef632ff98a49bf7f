"""Sets of a manifest's rows, in one byte a row: what a million rows allow where a set of numbers would not."""

from collections.abc import Iterable, Iterator, Sequence

_BITS = bytes.maketrans(b"\0\1", b"01")


class Rows:
    """A set of row indexes. Indexes count from 0, so the largest says what the set takes."""

    __slots__ = ("_count", "_held")

    def __init__(self, indexes: Iterable[int] = ()) -> None:
        self._held = bytearray()
        self._count = 0
        for index in indexes:
            self.add(index)

    def add(self, index: int) -> bool:
        """Add an index; False when it was there."""
        return not self.add_all((index,))

    def add_all(self, indexes: Sequence[int]) -> list[int]:
        """Add indexes; the places, among them, of those that were there before."""
        if not len(indexes):
            return []
        self._reach(max(indexes))
        held, again = self._held, []
        for place, index in enumerate(indexes):
            if held[index]:
                again.append(place)
            held[index] = 1
        self._count += len(indexes) - len(again)
        return again

    def _reach(self, index: int) -> None:
        if index >= len(self._held):
            self._held.extend(bytes(max(index + 1, 5 * len(self._held) // 4) - len(self._held)))

    def places_outside(self, indexes: Sequence[int]) -> list[int]:
        """The places of those of these indexes that are not in the set."""
        held = self._held
        if len(indexes) and max(indexes) < len(held):
            return [place for place, index in enumerate(indexes) if not held[index]]
        return [place for place, index in enumerate(indexes) if index not in self]

    def bitmap(self) -> bytes:
        """The set as bits, the first row's the highest of the first byte."""
        held = self._held.rstrip(b"\0")
        if not held:
            return b""
        held.extend(bytes(-len(held) % 8))
        return int(held.translate(_BITS), 2).to_bytes(len(held) // 8, "big")

    def __contains__(self, index: int) -> bool:
        return 0 <= index < len(self._held) and self._held[index] == 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        return (index for index, held in enumerate(self._held) if held)
