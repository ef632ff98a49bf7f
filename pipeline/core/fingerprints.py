"""Exact-enough membership for millions of keys in a few bytes each.

A set of 64-bit fingerprints takes 8 to 16 bytes a key, where a Python set of strings takes more than 100. Two
different keys share a fingerprint once in about 37 million manifests of a million rows; such a row would be
called a duplicate and be rejected in the open, never lost.
"""

from array import array
from hashlib import blake2b

_SHARDS = 64  # each grows alone, so that growing never holds two copies of the whole
_FIRST_SLOTS = 32
# Growing by 3/2 at 3/4 full leaves the table half full: 8 bytes a slot are then 16 bytes a key, never more.
_FULL_NUMERATOR, _FULL_DENOMINATOR = 3, 4
_GROWTH_NUMERATOR, _GROWTH_DENOMINATOR = 3, 2


class Fingerprints:
    """An open-addressing set of 64-bit fingerprints; keys can be added, never removed."""

    __slots__ = ("_counts", "_tables")

    def __init__(self) -> None:
        self._tables = [_empty(_FIRST_SLOTS) for _ in range(_SHARDS)]
        self._counts = [0] * _SHARDS

    def __len__(self) -> int:
        return sum(self._counts)

    @property
    def memory_bytes(self) -> int:
        """What the tables hold, in bytes."""
        return sum(8 * len(table) for table in self._tables)

    def add(self, key: bytes) -> bool:
        """Add a key; return False when it was already there."""
        # blake2b and not hash(): the same manifest must make the same plan in every process.
        return self.add_mark(int.from_bytes(blake2b(key, digest_size=8).digest(), "little"))

    def add_mark(self, mark: int) -> bool:
        """Add a key by its fingerprint, 64 bits of a hash of it; return False when it was already there."""
        mark = mark or 1  # 0 marks a free slot
        shard = mark % _SHARDS
        table = self._tables[shard]
        slot = _slot_of(table, mark)
        if table[slot]:
            return False
        table[slot] = mark
        self._counts[shard] += 1
        if self._counts[shard] * _FULL_DENOMINATOR >= len(table) * _FULL_NUMERATOR:
            self._tables[shard] = _grown(table)
        return True


class RowIds:
    """The ids of a manifest's rows: says whether a row's id is still free.

    While every row bears its own index as id, a counter holds them all; fingerprints are kept from the first other
    id on.
    """

    __slots__ = ("_indexes", "_last", "_others", "_was_free")

    def __init__(self) -> None:
        self._indexes = 0
        self._others = Fingerprints()
        self._last = -1
        self._was_free = True

    def claim(self, row_id: str, row_index: int) -> bool:
        """Take an id for a row; return False when an earlier row has it. Rows come in order, one perhaps repeatedly."""
        if row_index != self._last:
            self._last, self._was_free = row_index, self._claim(row_id, row_index)
        return self._was_free

    def _claim(self, row_id: str, row_index: int) -> bool:
        if self._indexes == row_index and row_id == str(row_index):
            self._indexes += 1
            return True
        if row_id.isdecimal() and len(row_id) <= len(str(self._indexes)):
            index = int(row_id)
            if index < self._indexes and str(index) == row_id:
                return False
        return self._others.add(row_id.encode("utf-8", "surrogatepass"))


def _empty(slots: int) -> "array[int]":
    return array("Q", bytes(8 * slots))


def _slot_of(table: "array[int]", mark: int) -> int:
    """Return the slot that holds the mark, or the free one where it belongs."""
    slots = len(table)
    slot = (mark // _SHARDS) % slots
    while (there := table[slot]) and there != mark:
        slot += 1
        if slot == slots:
            slot = 0
    return slot


def _grown(table: "array[int]") -> "array[int]":
    larger = _empty(len(table) * _GROWTH_NUMERATOR // _GROWTH_DENOMINATOR)
    for mark in table:
        if mark:
            larger[_slot_of(larger, mark)] = mark
    return larger
