"""Seals of addresses in memory: the counterpart of `redis_seals`."""

from collections import defaultdict


class MemorySeals:
    """Implements `ports.Seals`."""

    def __init__(self) -> None:
        self._seals: defaultdict[str, dict[str, str]] = defaultdict(dict)

    async def keep(self, fingerprint: str, base_url: str, seal: str) -> None:
        """Keep the seal of an address under a key's fingerprint."""
        self._seals[fingerprint][base_url] = seal

    async def find(self, fingerprint: str, base_url: str) -> str | None:
        """The seal of an address, if there is one; whether it holds is another question."""
        return self._seals[fingerprint].get(base_url)

    async def every(self, fingerprint: str) -> dict[str, str]:
        """All seals under a fingerprint, by address."""
        return dict(self._seals[fingerprint])
