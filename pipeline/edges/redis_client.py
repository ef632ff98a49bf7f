"""The client library of Redis, for `redis_door`: loading it costs more than most commands do."""

import socket
import struct
from typing import Any

import hiredis
import redis.asyncio as aioredis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from pipeline.edges.redis_place import RedisPlace

SOCKET_TIMEOUT_S = 15.0
"""Longer than any script takes, shorter than a person's patience with a frozen server."""

CONNECT_TIMEOUT_S = 5.0

NO_SCRIPT: type[Exception] = NoScriptError
"""The server does not know the script yet."""

REFUSED: tuple[type[Exception], ...] = (RedisError, OSError)
"""The server is away, or does not do what it is asked."""


_FORGET_AT_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: what was not delivered by then never is."""


class _Ours(AbstractConnection):
    """A connection whose commands hiredis writes, and whose undelivered commands end with it.

    The asyncio client writes them in Python, 2 µs an argument. And a command that was given up, since nobody answered,
    must not reach Redis when the network is back, minutes later: it would claim rows for nobody.
    """

    async def _connect(self) -> None:
        await super()._connect()  # type: ignore[safe-super,no-untyped-call]
        made = self._writer.get_extra_info("socket") if self._writer else None
        if made is not None and made.family != socket.AF_UNIX:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _FORGET_AT_CLOSE)

    async def disconnect(self, *args: Any, **told: Any) -> None:  # noqa: ANN401 - as the library has it
        """Close the connection. A farewell over TLS would wait for its answer, for longer than a command lives."""
        writer = self._writer
        await super().disconnect(*args, **told)
        if writer is not None:
            writer.transport.abort()

    def pack_command(self, *args: Any) -> list[bytes]:  # noqa: ANN401 - as the library has it
        """The bytes of one command."""
        if isinstance(args[0], str) and " " in args[0]:
            return super().pack_command(*args)
        return [hiredis.pack_command(args)]


class _OverTcp(_Ours, aioredis.Connection):
    pass


class _OverTls(_Ours, aioredis.SSLConnection):
    pass


class _OverSocket(_Ours, aioredis.UnixDomainSocketConnection):
    pass


_CONNECTIONS: dict[str, type[AbstractConnection]] = {"redis": _OverTcp, "rediss": _OverTls, "unix": _OverSocket}


def connect(place: RedisPlace) -> aioredis.Redis:
    """A client that tries nothing twice; its connections open with the first command.

    Of a connection that lay idle it sees whether the server has closed it: not so while it listens for maintenance.
    """
    pool = aioredis.ConnectionPool(
        connection_class=_CONNECTIONS[place.address.scheme],
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        client_name="vidbatch",
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        **place.client_settings(),
    )
    return aioredis.Redis.from_pool(pool)
