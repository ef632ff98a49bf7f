"""What a worker's main process does beside the heartbeat, in the heartbeat's own event loop."""

from collections.abc import Sequence
from typing import Protocol

from workers.settings import WorkerSettings


class Beside(Protocol):
    """One such duty. A tick that raises is logged, and followed by the next."""

    async def tick(self) -> None:
        """Look once a second at what is to be done; what takes longer goes on as a task of its own."""

    async def leave(self) -> None:
        """Let go before the worker ends."""


def duties(name: str, settings: WorkerSettings) -> Sequence[Beside]:
    """The duties of this worker, by its settings; `name` is what it is called in leases."""
    del name, settings
    return ()
