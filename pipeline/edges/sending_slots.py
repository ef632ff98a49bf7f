"""How many rows of a process have files open at a time: what is read, hashed and encoded takes memory and a thread."""

import asyncio

AT_ONCE = 12
"""Each holds about 2 MB on its way."""


class SendingSlots:
    """Taken before a row's files are opened, and given back once they went out; its answer may come much later."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = asyncio.Semaphore(at_once)

    async def taken(self) -> "Slot":
        """Wait for a free one."""
        await self._free.acquire()
        return Slot(self._free)


class Slot:
    """One that is taken; to give it back twice does nothing."""

    def __init__(self, free: asyncio.Semaphore) -> None:
        self._free: asyncio.Semaphore | None = free

    def give_back(self) -> None:
        """Let another row have it."""
        if self._free is not None:
            self._free.release()
            self._free = None
