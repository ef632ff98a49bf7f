"""What a Redis server says of itself, for whoever wants to know whether it is fit to keep a ledger."""

import asyncio
from typing import Any

from pipeline.edges.redis_door import RedisDoor


async def facts(url: str) -> dict[str, Any]:
    """The server's INFO, by name. LedgerUnavailable when it is away or refuses."""
    door = RedisDoor(url)
    try:
        told = await door.call("INFO")
    finally:
        await door.close()
    return read_info(told)


def facts_of(url: str) -> dict[str, Any]:
    """The same for a command that has no event loop."""
    return asyncio.run(facts(url))


def read_info(told: Any) -> dict[str, Any]:  # noqa: ANN401 - the client has it as a dict, or as the server wrote it
    """A reply to INFO, by name."""
    return told if isinstance(told, dict) else _read(bytes(told))


def _read(text: bytes) -> dict[str, Any]:
    lines = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in lines if colon}
