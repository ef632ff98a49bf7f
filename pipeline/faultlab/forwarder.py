"""A door in front of the simulated API that the lab can close: connections are refused, and later accepted again.

The API behind it lives on with its books. Nothing is changed on the way, and nothing is understood but this: a
connection whose client wrote last waits for an answer.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_CHUNK = 65_536
_HOST = "127.0.0.1"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Forwarder:
    """One listening port, and what came in by it. Enter it to open the door, leave it to close everything."""

    def __init__(self, base_url: str) -> None:
        """`base_url` is the API's, on this machine."""
        self._target = urlsplit(base_url).port
        self._port = 0
        self._server: asyncio.Server | None = None
        self._passages: set[_Passage] = set()
        self._entered: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The base URL that leads through this door; it stays the same."""
        return f"http://{_HOST}:{self._port}"

    async def __aenter__(self) -> Self:
        """Open the door, on a free port."""
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the door, and whatever still passes it."""
        self.close(abruptly=True)
        await asyncio.gather(*self._entered, return_exceptions=True)

    async def open(self) -> None:
        """Accept connections, on the same port as before."""
        self._server = await asyncio.start_server(self._accept, _HOST, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def close(self, *, abruptly: bool) -> None:
        """Refuse connections. Those that wait for an answer get it first, unless it is done abruptly: all are reset."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for passage in list(self._passages):
            passage.end(abruptly=abruptly)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._enter(reader, writer))
        self._entered.add(task)
        task.add_done_callback(self._entered.discard)

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, on = await asyncio.open_connection(_HOST, self._target)
        except OSError:
            writer.transport.abort()
            return
        passage = _Passage(writer, on)
        self._passages.add(passage)
        try:
            await asyncio.gather(passage.ask(reader), passage.answer(back))
        finally:
            self._passages.discard(passage)


class _Passage:
    """One connection through the door."""

    def __init__(self, client: asyncio.StreamWriter, api: asyncio.StreamWriter) -> None:
        self._client = client
        self._api = api
        self._waits = False
        self._last = False

    async def ask(self, reader: asyncio.StreamReader) -> None:
        """Carry requests."""
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                self._waits = True
                self._api.write(data)
                await self._api.drain()
        self._api.close()

    async def answer(self, reader: asyncio.StreamReader) -> None:
        """Carry answers."""
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                self._client.write(data)
                await self._client.drain()
                self._waits = False
                if self._last:
                    break
        self._client.close()
        self._api.close()

    def end(self, *, abruptly: bool) -> None:
        """Take no further request; reset the connection, or close it with the answer that it waits for."""
        self._last = True
        if abruptly:
            self._client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._client.transport.abort()
            self._api.transport.abort()
        elif not self._waits:
            self._client.close()
            self._api.close()
