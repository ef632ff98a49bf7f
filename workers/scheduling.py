"""The duty of control workers to give schedules' commands: in the main process, as it may take hours."""

import logging

from pipeline.core.errors import LedgerUnavailable
from pipeline.edges.clock import MachineClock
from pipeline.edges.environment import process_environment
from pipeline.edges.launching import CommandLauncher
from pipeline.flows.scheduling import CommandingSchedules
from pipeline.ports import Ledger, Schedules

_log = logging.getLogger("vidbatch.schedules")


class CommandingDuty:
    """Looks once a second; each command is a task."""

    def __init__(self, schedules: Schedules, ledger: Ledger, name: str) -> None:
        launcher = CommandLauncher(process_environment())
        self._commanding = CommandingSchedules(schedules, ledger, launcher, MachineClock(), name, _tell)

    async def tick(self) -> None:
        """Begin what is due."""
        await self._commanding.look()

    async def leave(self) -> None:
        """End what is under way: the next worker gives the same commands."""
        await self._commanding.leave()


def _tell(schedule: str, error: Exception) -> None:
    if isinstance(error, LedgerUnavailable):
        _log.warning("schedule %s was put off: %s", schedule, error, extra={"event": "redis_away"})
    else:
        _log.error("schedule %s failed", schedule, exc_info=error, extra={"event": "schedule_failed"})
