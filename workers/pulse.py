"""The heartbeat's thread in a worker's main process: registers the worker, ticks, leaves with its coordinator."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Sequence
from uuid import uuid4

from celery import Celery
from kombu.exceptions import OperationalError

from pipeline.core.errors import LedgerUnavailable
from pipeline.core.happenings import Chronicle
from pipeline.core.lead import place_of
from pipeline.core.snapshot import RunSnapshot
from pipeline.core.tickets import Capacity, Role, Ticket
from pipeline.edges.alive import AliveFile
from pipeline.edges.clock import MachineClock
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_keys import LEDGER_VERSION, QUEUES
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.edges.redis_schedules import RedisSchedules
from pipeline.edges.spill import SpillFolder
from pipeline.flows.firing import FiringSchedules
from pipeline.flows.heartbeat import TICK_S, Heartbeat
from pipeline.flows.replay import Fate, Replay
from pipeline.ports import WorkerCard
from workers.beside import duties
from workers.holders import unique_name
from workers.keys import MainKeys
from workers.row_log import RowLog
from workers.scheduling import tell_moved
from workers.settings import WorkerSettings
from workers.stopping import stop, stopping

REGISTER_TICKS = 5
"""Ticks between two registrations: one second, a fifth of their life."""

AWAY_EVERY_S = 30.0
"""Redis being away is told at once, and then this often."""

LEAVE_S = 8.0
"""A lock that can't be given back in this time lapses by itself; a stop has taken up to 20 s before."""

_BEATING: list[threading.Thread] = []
_log = logging.getLogger("vidbatch.heartbeat")


def start(app: Celery, name: str, settings: WorkerSettings) -> None:
    """Start the heartbeat of this process."""
    _BEATING.append(threading.Thread(target=_run, args=(app, name, settings), name="heartbeat", daemon=True))
    _BEATING[-1].start()


def leave() -> None:
    """Wait until the heartbeat has let go of what it holds, and its duties of what they began; not for ever."""
    stop()
    for thread in _BEATING:
        thread.join(LEAVE_S)


def _run(app: Celery, name: str, settings: WorkerSettings) -> None:
    asyncio.run(_Pulse(app, name, settings).beat())


class _Pulse:
    def __init__(self, app: Celery, name: str, settings: WorkerSettings) -> None:
        self._app = app
        self._settings = settings
        self._ledger = RedisLedger(settings.redis_url)
        self._name = unique_name(name)
        clock = MachineClock()
        rows = RowLog(_log, clock.monotonic)
        self._schedules = RedisSchedules(RedisDoor(settings.redis_url))
        # a command's own worker leaves with it, and is no fleet
        of_fleet = settings.coordinator_pid is None
        fire = FiringSchedules(self._schedules, self._ledger, clock, tell_moved) if of_fleet else None
        self._heartbeat = Heartbeat(
            self._ledger, clock, self._name, self._issue, self._queued, fire, seen=self._tell, recorded=rows
        )
        self._keys = MainKeys(settings.redis_url, self._ledger)
        self._acts = False
        self._away_told = float("-inf")
        self._away = False
        self._monotonic = clock.monotonic
        self._chronicle = Chronicle()
        spill, place = SpillFolder(settings.state), place_of(settings.redis_url)
        self._replay = Replay(spill, self._ledger, f"{self._name}-replay", place)
        self._beside = duties(self._name, settings, self._schedules, self._ledger)
        self._alive = AliveFile(settings.health_file) if settings.health_file else None

    async def beat(self) -> None:
        """Tick until the worker is told to stop; a tick that fails is logged and followed by the next."""
        ticks = 0
        while not stopping():
            if ticks % REGISTER_TICKS == 0:
                self._leave_with_coordinator()
            await self._tick(register=ticks % REGISTER_TICKS == 0)
            if ticks % REGISTER_TICKS == 0:
                await self._look_beside()
            ticks += 1
            await asyncio.sleep(TICK_S)
        await self._heartbeat.leave()
        for duty in self._beside:
            try:
                await duty.leave()
            except Exception:  # noqa: BLE001 - as above
                _log.exception("%s did not let go", type(duty).__name__, extra={"event": "duty_failed"})

    async def _look_beside(self) -> None:
        for duty in self._beside:
            try:
                await duty.tick()
            except LedgerUnavailable as error:
                if not self._away:  # else the ticks have told it, and tell it again
                    _log.warning("schedules' duties were put off: %s", error, extra={"event": "redis_away"})
            except Exception:  # noqa: BLE001 - as above: one duty that fails must not end the others
                _log.exception("%s failed", type(duty).__name__, extra={"event": "duty_failed"})

    async def _tick(self, *, register: bool) -> None:
        try:
            if register:
                await self._register()
                await self._replay_spilled()
            self._take_turn(acts=await self._heartbeat.tick())
            if register and self._away:
                self._away, self._away_told = False, float("-inf")
                _log.info("Redis answers again", extra={"event": "redis_back"})
        except (OperationalError, LedgerUnavailable) as error:
            self._tell_away(error)
        except Exception:  # noqa: BLE001 - a dead heartbeat would stop every run in silence
            _log.exception("a tick failed", extra={"event": "tick_failed"})

    def _tell_away(self, error: Exception) -> None:
        self._away, now = True, self._monotonic()
        if now - self._away_told >= AWAY_EVERY_S:
            self._away_told = now
            _log.warning("a look at the ledger was lost: %s", error, extra={"event": "redis_away"})

    def _take_turn(self, *, acts: bool) -> None:
        """Say when it becomes, or ceases to be, this worker's heartbeat that acts; who begins has seen nothing yet."""
        if acts and not self._acts:
            _log.info("this worker's heartbeat acts from now on", extra={"event": "heartbeat_taken"})
        elif self._acts and not acts:
            self._chronicle = Chronicle()
            _log.info("this worker's heartbeat does not act any more", extra={"event": "heartbeat_left"})
        self._acts = acts

    def _tell(self, runs: Sequence[RunSnapshot], capacity: Capacity) -> None:
        self._take_turn(acts=True)
        for news in self._chronicle(runs, capacity):
            level = logging.getLevelNamesMapping()[news.level.upper()]
            _log.log(level, "%s", news.message, extra={**news.fields, "event": news.event})

    async def _replay_spilled(self) -> None:
        """Before the tick, which gives up rows of the dead: what their worker left behind goes first."""
        for told in await self._replay():
            level = logging.INFO if told.fate in {Fate.RECORDED, Fate.SAVED} else logging.WARNING
            fate = f"{told.fate} ({told.why})" if told.why else told.fate
            _log.log(level, "%s, %d rows: %s", told.name, told.steps, fate, extra={"event": "replayed"})

    async def _register(self) -> None:
        card = WorkerCard(
            name=self._name,
            roles=tuple(self._settings.shifts),
            shifts=max(self._settings.shifts.values()),
            key_fingerprints=await self._keys.served(self._monotonic()),
            ledger_version=LEDGER_VERSION,
            media_roots=self._settings.media_roots,
            by_role={role.value: most for role, most in self._settings.shifts.items()},
        )
        await self._ledger.register_worker(card)
        if self._alive:
            self._alive.registered()

    def _leave_with_coordinator(self) -> None:
        pid = self._settings.coordinator_pid
        if pid is not None and os.getppid() != pid:
            _log.warning("the coordinator is gone; leaving", extra={"event": "coordinator_lost"})
            os.kill(os.getpid(), signal.SIGTERM)

    async def _issue(self, ticket: Ticket) -> None:
        await self._ledger.note_ticket(ticket.run_id, ticket.role, uuid4().hex)
        self._app.send_task(f"vidbatch.{ticket.role}", args=[ticket.run_id], queue=ticket.role.value, retry=False)

    async def _queued(self) -> dict[Role, int]:
        return {role: await self._ledger.queued(f"{QUEUES}{role}") for role in Role}
