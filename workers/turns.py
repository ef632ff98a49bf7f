"""How long a shift may keep its place: one that holds its rows for long leaves sooner where other runs wait for it."""

from collections.abc import Callable

from workers.settings import SHIFT_S


class Turn:
    """One shift's. `seconds` is how long it would take, `most` how many shifts of its kind there may be at a time."""

    def __init__(self, monotonic: Callable[[], float], seconds: float, most: int) -> None:
        self._monotonic = monotonic
        self._since = monotonic()
        self.is_long = seconds > SHIFT_S
        self._most = most
        self._crowded = False

    def seen(self, runs: int) -> None:
        """There are so many runs now."""
        self._crowded = runs > self._most

    def yields(self) -> bool:
        """Whether it has taken as long as any, and others wait."""
        return self.is_long and self._crowded and self._monotonic() - self._since >= SHIFT_S
