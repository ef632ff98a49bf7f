"""The heartbeat's thread in a worker's main process: registers the worker, ticks, leaves with its coordinator."""

import asyncio
import logging
import os
import signal
import threading
import time
from uuid import uuid4

from celery import Celery
from kombu.exceptions import OperationalError

from pipeline.core.account import key_fingerprint
from pipeline.core.errors import LedgerRefused, LedgerUnavailable
from pipeline.core.lead import place_of
from pipeline.core.tickets import Role, Ticket
from pipeline.edges.clock import MachineClock
from pipeline.edges.redis_keys import LEDGER_VERSION, QUEUES
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.edges.spill import SpillFolder
from pipeline.flows.heartbeat import TICK_S, Heartbeat
from pipeline.flows.replay import Fate, Replay
from pipeline.ports import WorkerCard
from workers.beside import duties
from workers.holders import unique_name
from workers.settings import WorkerSettings
from workers.stopping import stopping

REGISTER_TICKS = 5
"""Ticks between two registrations: one second, a fifth of their life."""

REFUSED_EVERY_S = 60.0
"""Between two complaints that Redis does not let this worker in."""

_log = logging.getLogger("vidbatch.heartbeat")


def start(app: Celery, name: str, settings: WorkerSettings) -> None:
    """Start the heartbeat of this process."""
    threading.Thread(target=_run, args=(app, name, settings), name="heartbeat", daemon=True).start()


def _run(app: Celery, name: str, settings: WorkerSettings) -> None:
    asyncio.run(_Pulse(app, name, settings).beat())


class _Pulse:
    def __init__(self, app: Celery, name: str, settings: WorkerSettings) -> None:
        self._app = app
        self._settings = settings
        self._ledger = RedisLedger(settings.redis_url)
        self._name = unique_name(name)
        self._heartbeat = Heartbeat(self._ledger, MachineClock(), self._name, self._issue, self._queued)
        spill, place = SpillFolder(settings.state), place_of(settings.redis_url)
        self._replay = Replay(spill, self._ledger, f"{self._name}-replay", place)
        self._beside = duties(self._name, settings)
        self._refused_at = float("-inf")

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
            await duty.leave()

    async def _look_beside(self) -> None:
        for duty in self._beside:
            try:
                await duty.tick()
            except LedgerUnavailable as error:
                _log.warning("%s was put off: %s", type(duty).__name__, error, extra={"event": "redis_away"})
            except Exception:  # noqa: BLE001 - as above: one duty that fails must not end the others
                _log.exception("%s failed", type(duty).__name__, extra={"event": "duty_failed"})

    async def _tick(self, *, register: bool) -> None:
        try:
            if register:
                await self._register()
                await self._replay_spilled()
            await self._heartbeat.tick()
        except LedgerRefused as error:
            self._say_refused(error)
        except (OperationalError, LedgerUnavailable) as error:
            _log.warning("a tick was lost: %s", error, extra={"event": "redis_away"})
        except Exception:  # noqa: BLE001 - a dead heartbeat would stop every run in silence
            _log.exception("a tick failed", extra={"event": "tick_failed"})

    def _say_refused(self, error: LedgerRefused) -> None:
        """Once a minute: it stays so until a person has changed something."""
        now = time.monotonic()
        if now - self._refused_at >= REFUSED_EVERY_S:
            self._refused_at = now
            _log.error("%s", error, extra={"event": "redis_refuses"})

    async def _replay_spilled(self) -> None:
        """Before the tick, which gives up rows of the dead: what their worker left behind goes first."""
        for told in await self._replay():
            level = logging.INFO if told.fate in {Fate.RECORDED, Fate.SAVED} else logging.WARNING
            fate = f"{told.fate} ({told.why})" if told.why else told.fate
            _log.log(level, "%s, %d rows: %s", told.name, told.steps, fate, extra={"event": "replayed"})

    async def _register(self) -> None:
        key = self._settings.key
        card = WorkerCard(
            name=self._name,
            roles=tuple(self._settings.roles),
            shifts=self._settings.shifts,
            key_fingerprints=(key_fingerprint(key.reveal()),) if key else (),
            ledger_version=LEDGER_VERSION,
            media_roots=self._settings.media_roots,
        )
        await self._ledger.register_worker(card)

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
