"""Where uploaded files lie, in memory: the same promises as in Redis. `clock` tells seconds that only grow."""

from collections.abc import Callable


class MemoryUploads:
    """Implements `ports.Uploads`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, str], tuple[str, float]] = {}
        self._held: dict[tuple[str, str], tuple[str, float]] = {}

    async def find(self, account: str, digest: str) -> str | None:
        """Where a file lies; nothing where it was not uploaded, or long ago."""
        url, until = self._kept.get((account, digest), ("", 0.0))
        return url if until > self._clock() else None

    async def keep(self, account: str, digest: str, url: str, seconds: float) -> None:
        """Remember for so long where a file lies."""
        self._kept[account, digest] = url, self._clock() + seconds

    async def take(self, account: str, digest: str, holder: str, seconds: float) -> bool:
        """Be the one who uploads a file, or go on being it; False while another is."""
        other, until = self._held.get((account, digest), (holder, 0.0))
        if other != holder and until > self._clock():
            return False
        self._held[account, digest] = holder, self._clock() + seconds
        return True

    async def release(self, account: str, digest: str, holder: str) -> None:
        """Be it no longer."""
        if self._held.get((account, digest), ("", 0.0))[0] == holder:
            del self._held[account, digest]
