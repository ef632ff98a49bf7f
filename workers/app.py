"""The Celery app: queues by role, settings from `workers.settings`, and what happens at a process's start and end."""

import logging
import signal
import sys
from typing import Any

from celery import Celery
from celery.signals import (
    setup_logging,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutting_down,
)
from kombu.entity import Queue

from pipeline.core.tickets import Role
from pipeline.edges.redis_place import redis_place
from workers import pulse, stopping
from workers.channels import subscribe_by_name
from workers.restart import survive_redis_restart
from workers.seats import Seats
from workers.settings import CELERY, broker_settings, from_environment

_log = logging.getLogger("vidbatch.worker")

survive_redis_restart()
subscribe_by_name()


def make_app() -> Celery:
    """The app of this process, by its environment."""
    settings = from_environment()
    app = Celery("vidbatch", include=["workers.tasks"])
    app.conf.update(CELERY)
    app.conf.update(broker_settings(redis_place(settings.redis_url, name="VIDBATCH_REDIS")))
    app.conf.vidbatch_seats = {role.value: most for role, most in settings.shifts.items()}
    app.steps["consumer"].add(Seats)
    app.conf.task_queues = [Queue(role.value) for role in Role]  # type: ignore[no-untyped-call]
    app.conf.task_routes = {f"vidbatch.{role}": {"queue": role.value} for role in Role}
    return app


@setup_logging.connect  # type: ignore[untyped-decorator]
def _keep_our_logging(**_: object) -> None:
    """Celery sets up no logging of its own where somebody answers this: `pipeline.edges.logs` did."""


@worker_ready.connect  # type: ignore[untyped-decorator]
def _start_heartbeat(sender: Any, **_: object) -> None:  # noqa: ANN401 - Celery's consumer
    stopping.leave_in_time()
    pulse.start(sender.app, str(sender.hostname), from_environment())


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _tell_children(**_: object) -> None:
    if not stopping.stopping():
        _log.info("told to stop: nothing more is claimed", extra={"event": "worker_stopping"})
    stopping.stop()


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _outlive_the_terminal(**_: object) -> None:
    """A terminal that closes tells all of its processes; what becomes of the children is the main process's word."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _close_clients(**_: object) -> None:
    # a child that held no shift has nothing to close, and importing the runtime only to leave takes seconds
    runtime = sys.modules.get("workers.runtime")
    if runtime is not None:
        runtime.close()


app = make_app()
