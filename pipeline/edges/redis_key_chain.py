"""Which key took which one's place, in Redis: fingerprints, which are no secrets; never a key."""

from pipeline.core.key_chain import serves
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_keys import PREFIX, account_key

REPLACED = f"{PREFIX}keys:replaced"


class KeyChain:
    """What all workers know of replaced keys."""

    def __init__(self, door: RedisDoor) -> None:
        self._door = door

    async def replaced(self, before: str, after: str) -> None:
        """The key of one fingerprint gave way to that of another."""
        await self._door.call("HSET", REPLACED, before, after)
        await self._door.call("HDEL", REPLACED, after)  # it may have given way before, and is back

    async def gave_way(self, fingerprint: str) -> bool:
        """Whether another key took this one's place."""
        return bool(await self._door.call("HEXISTS", REPLACED, fingerprint))

    async def served_by(self, fingerprint: str) -> frozenset[str]:
        """Fingerprints of all keys whose runs the key of this one serves."""
        reply = await self._door.call("HGETALL", REPLACED)
        pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
        return serves(fingerprint, {before.decode(): after.decode() for before, after in pairs})

    async def refuses_the_key(self, account: str) -> bool:
        """Whether the account is blocked because its key was refused; without a balance it can still be polled."""
        blocked, polls = await self._door.call("HMGET", account_key(account), "blocked", "polls")
        return bool(blocked) and polls == b"0"

    async def try_again(self, account: str) -> None:
        """Lift the account's block: another key has come."""
        await self._door.call("HDEL", account_key(account), "blocked", "polls")

    async def close(self) -> None:
        """Close the connections."""
        await self._door.close()
