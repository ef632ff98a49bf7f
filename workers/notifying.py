"""The duty of control workers to tell schedules' URLs how firings ended."""

import asyncio
import logging

from pipeline.core.errors import LedgerUnavailable
from pipeline.core.notices import Due
from pipeline.edges.environment import process_environment
from pipeline.edges.webhook import Webhook, secrets_from
from pipeline.flows.notifying import AT_ONCE, Notifying
from pipeline.ports import Schedules

_log = logging.getLogger("vidbatch.schedules")


class NotifyingDuty:
    """Looks once a second; each message is a task, so that an address that is silent holds up nothing else."""

    def __init__(self, schedules: Schedules) -> None:
        self._webhook = Webhook(lambda: secrets_from(process_environment()))
        self._notifying = Notifying(schedules, self._webhook)
        self._under_way: dict[tuple[str, str, int], asyncio.Task[None]] = {}

    async def tick(self) -> None:
        """Begin what is due."""
        self._under_way = {which: task for which, task in self._under_way.items() if not task.done()}
        for name, due in await self._notifying.due():
            which = (name, due.firing.firing_id, due.place)
            if which not in self._under_way and len(self._under_way) < AT_ONCE:
                self._under_way[which] = asyncio.create_task(self._tell(name, due))

    async def leave(self) -> None:
        """Leave what is under way to another worker, which sends it again under the same id."""
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        await self._webhook.close()

    async def _tell(self, name: str, due: Due) -> None:
        try:
            trouble = await self._notifying.tell(name, due)
        except LedgerUnavailable as error:
            _log.warning("a notice of schedule %s was put off: %s", name, error, extra={"event": "redis_away"})
            return
        except Exception:  # noqa: BLE001 - one that fails must not end the others
            _log.exception("a notice of schedule %s failed", name, extra={"event": "notice_failed"})
            return
        if trouble:
            _log.warning("schedule %s: %s", name, trouble, extra={"event": "notice_undelivered"})
