"""The client library of Redis, for `redis_door`: loading it costs more than most commands do."""

from typing import Any

import hiredis
import redis.asyncio as aioredis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from pipeline.edges.redis_place import RedisPlace

SOCKET_TIMEOUT_S = 15.0
"""Longer than any script takes, shorter than a person's patience with a frozen server."""

CONNECT_TIMEOUT_S = 5.0

NO_SCRIPT: type[Exception] = NoScriptError
"""The server does not know the script yet."""

REFUSED: tuple[type[Exception], ...] = (RedisError, OSError)
"""The server is away, or does not do what it is asked."""


class _Packing(AbstractConnection):
    """A connection whose commands hiredis writes: the asyncio client does so in Python, 2 µs an argument."""

    def pack_command(self, *args: Any) -> list[bytes]:  # noqa: ANN401 - as the library has it
        """The bytes of one command."""
        if isinstance(args[0], str) and " " in args[0]:
            return super().pack_command(*args)
        return [hiredis.pack_command(args)]


class _OverTcp(_Packing, aioredis.Connection):
    pass


class _OverTls(_Packing, aioredis.SSLConnection):
    pass


class _OverSocket(_Packing, aioredis.UnixDomainSocketConnection):
    pass


_CONNECTIONS: dict[str, type[AbstractConnection]] = {"redis": _OverTcp, "rediss": _OverTls, "unix": _OverSocket}


def connect(place: RedisPlace) -> aioredis.Redis:
    """A client that tries nothing twice; its connections open with the first command."""
    pool = aioredis.ConnectionPool(
        connection_class=_CONNECTIONS[place.address.scheme],
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        client_name="vidbatch",
        **place.client_settings(),
    )
    return aioredis.Redis.from_pool(pool)
