"""The plain structures of the ledger in memory: leases, and lists that are read in noted ranges."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.ports import Batch


def milliseconds(seconds: float) -> int:
    """Whole ms, as the scripts count."""
    return round(seconds * 1000)


def due_of(rows: Mapping[int, int], now: int, limit: int) -> list[int]:
    """Of rows with their "not before" those whose time has come, in order."""
    came = [(score, str(row), row) for row, score in rows.items() if score <= now]
    return [row for _, _, row in sorted(came)[:limit]]


def until_next_of(rows: Mapping[int, int], now: int) -> tuple[int, str]:
    """How long until a row's time comes, in ms, and why there was none."""
    return (max(1, min(rows.values()) - now), "not before") if rows else (250, "empty")


@dataclass(slots=True)
class Leases:
    """Names that count until their time, ms since 1970."""

    until: dict[str, int] = field(default_factory=dict)

    def live(self, now: int) -> int:
        """How many count now; those whose time is over are removed."""
        self.until = {name: end for name, end in self.until.items() if end > now}
        return len(self.until)

    def pop_oldest(self) -> None:
        """Remove the one whose time ends first."""
        if self.until:
            del self.until[min(self.until, key=lambda name: (self.until[name], name))]


@dataclass(slots=True)
class NotedList:
    """A list that is read in noted ranges: the same range is given again until it is acknowledged."""

    items: list[bytes] = field(default_factory=list)
    start: int = 0
    noted: int = 0
    batches: int = 0

    def note(self, limit: int) -> Batch:
        """Note and return the oldest items."""
        self.noted = self.noted or min(len(self.items), limit)
        return Batch(self.start, tuple(self.items[: self.noted]))

    def acknowledge(self, batch: Batch) -> bool:
        """Forget the noted range, once."""
        length = len(batch.items)
        if batch.start != self.start or not length or length != self.noted:
            return False
        del self.items[:length]
        self.start, self.noted, self.batches = batch.end, 0, self.batches + 1
        return True
