"""Connections to Redis over TCP: a command that was given up does not reach the server later."""

import asyncio

import pytest

from pipeline.core.errors import LedgerUnavailable
from pipeline.edges import redis_client
from pipeline.edges.redis_door import RedisDoor

pytestmark = pytest.mark.anyio

WITHIN_S = 10.0


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Way:
    """A way to the real server that can be blocked; `ends` is how the client's end of it came."""

    def __init__(self, path):
        self._path = path
        self.blocked = False
        self.ends = asyncio.get_running_loop().create_future()

    async def serve(self, client, to_client):
        server, to_server = await asyncio.open_unix_connection(self._path)
        back = asyncio.create_task(self._pass(server, to_client))
        try:
            await self._pass(client, to_server)
            self.ends.set_result("in good order")
        except ConnectionResetError:
            self.ends.set_result("all forgotten")
        finally:
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)
            to_server.close()
            to_client.close()

    async def _pass(self, one, other):
        while piece := await one.read(65536):
            if not self.blocked:
                other.write(piece)


async def test_a_command_that_nobody_answered_is_forgotten_with_its_connection(redis_url, redis_server, monkeypatch):
    monkeypatch.setattr(redis_client, "SOCKET_TIMEOUT_S", 0.2)
    way = Way(redis_server.socket)
    async with asyncio.timeout(WITHIN_S), await asyncio.start_server(way.serve, "127.0.0.1", 0) as listening:
        door = RedisDoor(f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}/0")
        assert await door.call("PING")
        way.blocked = True
        with pytest.raises(LedgerUnavailable):
            await door.call("SET", "claimed", "1")
        assert await way.ends == "all forgotten"
        await door.close()


async def test_connections_that_were_closed_while_they_lay_idle_cost_no_command(redis_url, redis_server):
    ways, ends = [], []

    async def serve(client, to_client):
        ways.append(Way(redis_server.socket))
        ends.append(to_client)
        await ways[-1].serve(client, to_client)

    async with asyncio.timeout(WITHIN_S), await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        door = RedisDoor(f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}/0")
        await asyncio.gather(*(door.call("BLPOP", f"nothing:{number}", 0.1) for number in range(3)))
        for end in ends:
            end.close()
        idle = door._client.connection_pool._available_connections
        for connection in idle:
            assert not await connection._reader.read()
        assert len(idle) == 3
        assert await door.call("PING")
        await door.close()
        await asyncio.gather(*(way.ends for way in ways))
