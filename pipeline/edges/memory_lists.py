"""The plain structures of the ledger in memory: leases, and lists that are read in noted ranges."""

from dataclasses import dataclass, field

from pipeline.ports import Batch


def milliseconds(seconds: float) -> int:
    """Whole ms, as the scripts count."""
    return round(seconds * 1000)


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
        self.start, self.noted = batch.end, 0
        return True
