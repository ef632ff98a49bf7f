"""Answers at the level of the socket: poured at the client's pace, broken off by a reset, and whether one was read.

For the framing alone; it must never know what an answer says.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable

from pipeline.simulator.messages import Flood, chunk, encode_chunked_head

_SPACES = b" " * 65_536
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_TCP_CLOSE = 7  # first byte of TCP_INFO: the state of a socket that its peer has reset


def _socket_of(transport: asyncio.Transport) -> socket.socket:
    found: socket.socket = transport.get_extra_info("socket")
    return found


def write_and_reset(transport: asyncio.Transport, data: bytes) -> None:
    """Send this much, then a reset instead of an orderly end."""
    _socket_of(transport).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.write(data)
    transport.close()


def was_reset(transport: asyncio.Transport) -> bool:
    """Tell, at the end of what a client sent, whether its system threw our last bytes away.

    It does when they come after the client has closed, or was killed. Where the system doesn't say (only Linux does),
    they count as read.
    """
    state = getattr(socket, "TCP_INFO", None)
    return state is not None and _socket_of(transport).getsockopt(socket.IPPROTO_TCP, state, 1)[0] == _TCP_CLOSE


class Tap:
    """The pace of one connection: `open` is whether its client reads what was written."""

    def __init__(self) -> None:
        self.open = True
        self._opened: asyncio.Future[None] | None = None

    def turn(self, *, is_open: bool) -> None:
        """Follow what asyncio's flow control says."""
        self.open = is_open
        if is_open and self._opened is not None and not self._opened.done():
            self._opened.set_result(None)

    async def pour(self, flood: Flood, transport: asyncio.Transport, *, keep_alive: bool) -> None:
        """Write the flood and its answer, never more than one chunk ahead of what the transport buffers."""
        transport.write(encode_chunked_head(flood.response, keep_alive=keep_alive))
        for start in range(0, flood.padding, len(_SPACES)):
            await self._turned_open()
            transport.write(chunk(_SPACES[: flood.padding - start]))
        transport.write(chunk(flood.response.body) + chunk(b""))

    async def _turned_open(self) -> None:
        await asyncio.sleep(0)  # others have their turn, however fast this client reads
        while not self.open:
            self._opened = asyncio.get_running_loop().create_future()
            await self._opened


class Outlet:
    """The sink of a streamed answer: its pieces become chunks of one connection, or just its bytes."""

    def __init__(self, transport: asyncio.Transport, tap: Tap, ended: Callable[[bool], None], *, chunked: bool) -> None:
        """`ended` learns that the body is whole, and whether the answer deserves its receipt."""
        self._chunked = chunked
        self._transport = transport
        self._tap = tap
        self._ended = ended

    @property
    def is_open(self) -> bool:
        """Whether the client reads what was written."""
        return self._tap.open

    def write(self, pieces: Iterable[bytes]) -> None:
        """Send these pieces, as one chunk each."""
        if not self._transport.is_closing():
            self._transport.write(b"".join(map(chunk, pieces) if self._chunked else pieces))

    def end(self, *, receipted: bool) -> None:
        """Send the last chunk."""
        if self._chunked and not self._transport.is_closing():
            self._transport.write(chunk(b""))
        self._ended(receipted)

    def reset(self) -> None:
        """Break off after what was written."""
        if not self._transport.is_closing():
            write_and_reset(self._transport, b"")
