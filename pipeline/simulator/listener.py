"""The listening socket: opened, closed, and for a while gone, so that connections are refused.

While it is gone the port stays bound, so that nobody else can take it.
"""

import asyncio
import socket
from collections.abc import Callable

from pipeline.core.errors import SystemTrouble

# Submissions come in bursts from whole fleets.
_BACKLOG = 4096


class Listener:
    """One port of this machine; every connection that it takes is handed to a protocol of its own."""

    def __init__(self, protocol: Callable[[], asyncio.Protocol], host: str, port: int) -> None:
        """Port 0 becomes the one that was found free, at the first `open`."""
        self._protocol = protocol
        self.host = host
        self.port = port
        self._server: asyncio.Server | None = None
        self._refusing: asyncio.Task[None] | None = None
        self._held: list[socket.socket] = []

    async def open(self) -> None:
        """Take connections from now on; raises SystemTrouble when the port can't be had."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._protocol, self.host, self.port, backlog=_BACKLOG)
        except OSError as error:
            raise SystemTrouble(f"The simulator can't listen on {self.host}:{self.port}: {error}.") from error
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self, seconds: float) -> None:
        """Refuse connections for so long, counted from now; those that exist are none of its business."""
        if self._refusing is not None:
            self._refusing.cancel()
        if not self._held:
            self._hold()
        self._refusing = asyncio.get_running_loop().create_task(self._reopen_after(seconds))

    def _hold(self) -> None:
        """Put sockets that are bound and don't listen in the place of those that do."""
        assert self._server is not None  # noqa: S101 - it was opened before anybody could ask
        addresses = [(known.family, known.getsockname()) for known in self._server.sockets]
        self._server.close()
        for family, address in addresses:
            held = socket.socket(family, socket.SOCK_STREAM)
            self._held.append(held)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            held.bind(address)

    def _let_go(self) -> None:
        while self._held:
            self._held.pop().close()

    async def _reopen_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.open()
        self._let_go()

    async def close(self) -> None:
        """Stop listening; the connections are the caller's to close first."""
        if self._refusing is not None:
            self._refusing.cancel()
            await asyncio.gather(self._refusing, return_exceptions=True)
        self._let_go()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
