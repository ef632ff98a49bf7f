"""Which addresses the holders of a key sealed, in Redis: what stands there is believed only by whoever can check it."""

from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_keys import SEALS


class RedisSeals:
    """Implements `ports.Seals`."""

    def __init__(self, door: RedisDoor) -> None:
        self._door = door

    async def keep(self, fingerprint: str, base_url: str, seal: str) -> None:
        """Keep the seal of an address under a key's fingerprint."""
        await self._door.call("HSET", f"{SEALS}{fingerprint}", base_url, seal)

    async def find(self, fingerprint: str, base_url: str) -> str | None:
        """The seal of an address, if there is one; whether it holds is another question."""
        found = await self._door.call("HGET", f"{SEALS}{fingerprint}", base_url)
        return None if found is None else found.decode(errors="replace")

    async def every(self, fingerprint: str) -> dict[str, str]:
        """All seals under a fingerprint, by address."""
        reply = await self._door.call("HGETALL", f"{SEALS}{fingerprint}")
        pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
        return {base_url.decode(errors="replace"): seal.decode(errors="replace") for base_url, seal in pairs}

    async def close(self) -> None:
        """Close the connections."""
        await self._door.close()
