"""What a worker's main process does beside the heartbeat, in the heartbeat's own event loop."""

from collections.abc import Sequence
from typing import Protocol

from pipeline.core.tickets import Role
from pipeline.ports import Ledger, Schedules
from workers.notifying import NotifyingDuty
from workers.scheduling import CommandingDuty
from workers.settings import WorkerSettings


class Beside(Protocol):
    """One such duty. A tick that raises is logged, and followed by the next."""

    async def tick(self) -> None:
        """Look once a second at what is to be done; what takes longer goes on as a task of its own."""

    async def leave(self) -> None:
        """Let go before the worker ends."""


def duties(name: str, settings: WorkerSettings, schedules: Schedules, ledger: Ledger) -> Sequence[Beside]:
    """The duties of this worker, by its settings; `name` is what it is called in leases.

    The private worker of a command has none: it leaves with the command.
    """
    if Role.CONTROL not in settings.shifts or settings.coordinator_pid is not None:
        return ()
    return (CommandingDuty(schedules, ledger, name), NotifyingDuty(schedules))
