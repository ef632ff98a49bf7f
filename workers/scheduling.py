"""The duty of control workers to give schedules' commands: in the main process, as it may take hours."""

import logging

from pipeline.core.errors import LedgerUnavailable
from pipeline.core.firings import when
from pipeline.core.schedules import Firing, FiringState, Schedule
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
        clock = MachineClock()
        self._commanding = CommandingSchedules(schedules, ledger, launcher, clock, name, _tell_failed, tell_moved)

    async def tick(self) -> None:
        """Begin what is due."""
        await self._commanding.look()

    async def leave(self) -> None:
        """End what is under way: the next worker gives the same commands."""
        await self._commanding.leave()


_BAD = frozenset({FiringState.SKIPPED, FiringState.MISSED})


def tell_moved(schedule: Schedule, firing: Firing) -> None:
    """Say in the log how a firing stands from now on; as a warning where somebody may have to act."""
    level = logging.WARNING if firing.exit_code or firing.state in _BAD else logging.INFO
    words = [str(firing.state), *([] if firing.exit_code is None else [f"exit code {firing.exit_code}"])]
    words += [firing.said] if firing.said else []
    _log.log(
        level,
        "schedule %s, %s (%s): %s",
        schedule.name,
        when(schedule, firing.at_ms),
        firing.cause,
        "; ".join(words),
        extra={
            "event": "schedule_moved",
            "schedule": schedule.name,
            "firing": firing.firing_id,
            "state": str(firing.state),
            "run": firing.run_id or None,
        },
    )


def _tell_failed(schedule: str, error: Exception) -> None:
    if isinstance(error, LedgerUnavailable):
        _log.warning("schedule %s was put off: %s", schedule, error, extra={"event": "redis_away"})
    else:
        _log.error("schedule %s failed", schedule, exc_info=error, extra={"event": "schedule_failed"})
