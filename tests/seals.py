"""A seal by hand: what `vidbatch run` and `schedule add` do for the address that a person gives them."""

import asyncio

from pipeline.cli.sealing import seal_address
from pipeline.core.account import Secret


def seal(redis_url: str, key: str, base_url: str) -> None:
    """Say that this key may be sent to this address."""
    asyncio.run(seal_address(redis_url, Secret(key), base_url))
