"""A simulator in the test's own event loop, asked over real HTTP."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from pipeline.simulator.server import serve
from pipeline.simulator.settings import SimulatorSettings, changed

KEY = {"Authorization": "Bearer sk-test"}
DEADLINE_S = 20


class Client:
    """Short words for what tests ask of any simulator."""

    def __init__(self, server: Any, session: aiohttp.ClientSession) -> None:
        self.server, self.session = server, session

    async def call(self, method: str, path: str, **more: Any) -> tuple[int, bytes, Any]:
        """Status, body and headers of an answer."""
        async with self.session.request(method, path, **more) as answer:
            return answer.status, await answer.read(), answer.headers

    async def json(self, path: str) -> Any:
        """What stands under a path."""
        return orjson.loads((await self.call("GET", path))[1])

    async def set(self, **switches: object) -> None:
        """Change switches while it runs."""
        status, body, _ = await self.call("POST", "/admin/settings", json=switches)
        assert status == 200, body


@asynccontextmanager
async def simulator(client: type[Client], **switches: object) -> AsyncIterator[Any]:
    """One that downloads nothing unless told otherwise."""
    server = await serve(changed(SimulatorSettings(), {"fast": True, "latency": "0s", "seed": 1, **switches}))
    try:
        async with aiohttp.ClientSession(server.base_url, headers=KEY) as session:
            yield client(server, session)
    finally:
        await server.close()


def play(
    client: type[Client],
    scene: Callable[[Any], Awaitable[None]],
    within_s: float = DEADLINE_S,
    **switches: object,
) -> None:
    """Run a scene with a client of a fresh simulator, within a deadline."""

    async def act() -> None:
        async with asyncio.timeout(within_s), simulator(client, **switches) as made:
            await scene(made)

    asyncio.run(act())
