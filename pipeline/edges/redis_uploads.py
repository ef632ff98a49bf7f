"""Where uploaded files lie, in Redis: one key for each, which goes before the API's copy does, and a lock meanwhile."""

from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_keys import LOCKS, UPLOADS


class RedisUploads:
    """Implements `ports.Uploads`."""

    def __init__(self, door: RedisDoor) -> None:
        self._door = door

    async def find(self, account: str, digest: str) -> str | None:
        """Where a file lies; nothing where it was not uploaded, or long ago."""
        url = await self._door.call("GET", f"{UPLOADS}{account}:{digest}")
        return None if url is None else str(url.decode())

    async def keep(self, account: str, digest: str, url: str, seconds: float) -> None:
        """Remember for so long where a file lies."""
        await self._door.call("SET", f"{UPLOADS}{account}:{digest}", url, "PX", round(seconds * 1000))

    async def take(self, account: str, digest: str, holder: str, seconds: float) -> bool:
        """Be the one who uploads a file, or go on being it; False while another is."""
        return bool(await self._lock(account, digest, holder, round(seconds * 1000)))

    async def release(self, account: str, digest: str, holder: str) -> None:
        """Be it no longer."""
        await self._lock(account, digest, holder, 0)

    async def _lock(self, account: str, digest: str, holder: str, lease_ms: int) -> int:
        return int(await self._door.script("lock", [f"{LOCKS}upload:{account}:{digest}"], [holder, lease_ms]) or 0)

    async def close(self) -> None:
        """Close the connections."""
        await self._door.close()
