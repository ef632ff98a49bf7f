"""Which rows bear which generations' ids, compared as a whole: by 64-bit hashes, so that a million ids are some MB.

Two different ids share a hash once in tens of millions of runs. What seems to be shared is read again and told by the
ids themselves; an id that is on disk and in no row could then pass for one that is.
"""

from array import array
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc

from pipeline.edges.annotations_file import batches
from pipeline.edges.arrow import numbers
from pipeline.edges.places import Place
from pipeline.edges.sent_ids import saved_pairs

COLUMNS = ("row_index", "attempt_log")
"""What tells a row's generations."""

_SHARDS = 64


class Hashes:
    """A bag of hashes, eight bytes each; compared a shard at a time."""

    def __init__(self) -> None:
        self.shards = [array("q") for _ in range(_SHARDS)]

    def add_all(self, keys: Iterable[Hashable]) -> None:
        """Add the hashes of these keys; they mean nothing beyond this process."""
        shards = self.shards
        for key in keys:
            mark = hash(key)
            shards[mark % _SHARDS].append(mark)

    def repeated(self) -> set[int]:
        """Those that are in it more than once."""
        found: set[int] = set()
        for shard in self.shards:
            once: set[int] = set()
            for mark in shard if len(set(shard)) < len(shard) else ():
                (found if mark in once else once).add(mark)
        return found

    def beside(self, others: "Hashes") -> set[int]:
        """Those of these that are not among the others."""
        pairs = zip(self.shards, others.shards, strict=True)
        return {mark for mine, theirs in pairs for mark in set(mine).difference(theirs)}


@dataclass(slots=True)
class Bearers:
    """All generations of the rows that were taken up."""

    ids: Hashes = field(default_factory=Hashes)
    pairs: Hashes = field(default_factory=Hashes)

    def take_up(self, batch: Any) -> None:  # noqa: ANN401 - pyarrow has no types
        """Take up the rows of a batch."""
        held = list(generations(batch))
        self.ids.add_all([generation_id for _, generation_id in held])
        self.pairs.add_all(held)

    def unplaced(self, files: Sequence[Place]) -> set[int]:
        """Hashes of (row index, generation id) in files of saved ids that no row bears."""
        saved = Hashes()
        for file in files:
            saved.add_all(saved_pairs(file))
        return saved.beside(self.pairs)


def generations(batch: Any) -> Iterator[tuple[int, str]]:  # noqa: ANN401
    """Row index and id of every generation in the attempt logs of a batch."""
    log = batch["attempt_log"]
    rows = pc.fill_null(batch["row_index"].take(pc.list_parent_indices(log)), -1)
    ids = pc.struct_field(log.flatten(), "generation_id").to_pylist()
    return (pair for pair in zip(numbers(rows), ids, strict=True) if pair[1] is not None)


def bearers_of(batch: Any, wanted: set[int]) -> Iterator[tuple[int, str, Any]]:  # noqa: ANN401
    """Row index, id and time of those generations whose id has one of these hashes."""
    log = batch["attempt_log"]
    entries = log.flatten()
    rows = batch["row_index"].take(pc.list_parent_indices(log))
    ids = pc.struct_field(entries, "generation_id").to_pylist()
    for place, generation_id in enumerate(ids):
        if generation_id is not None and hash(generation_id) in wanted:
            yield rows[place].as_py(), generation_id, entries[place]["submitted_at"].as_py()


def batches_of(paths: Iterable[Place]) -> Iterator[Any]:
    """The rows of these files, as far as they tell of generations."""
    for path in paths:
        yield from batches(path, COLUMNS)
