"""The Celery app: queues by role, settings from `workers.settings`, and what happens at a process's start and end."""

import sys
from typing import Any

from celery import Celery
from celery.signals import worker_process_shutdown, worker_ready, worker_shutting_down
from kombu.entity import Queue

from pipeline.core.tickets import Role
from pipeline.edges.redis_place import redis_place
from workers import pulse, stopping
from workers.channels import subscribe_by_name
from workers.restart import survive_redis_restart
from workers.settings import CELERY, broker_settings, from_environment

survive_redis_restart()
subscribe_by_name()


def make_app() -> Celery:
    """The app of this process, by its environment."""
    app = Celery("vidbatch", include=["workers.tasks"])
    app.conf.update(CELERY)
    app.conf.update(broker_settings(redis_place(from_environment().redis_url, name="VIDBATCH_REDIS")))
    app.conf.task_queues = [Queue(role.value) for role in Role]  # type: ignore[no-untyped-call]
    app.conf.task_routes = {f"vidbatch.{role}": {"queue": role.value} for role in Role}
    return app


@worker_ready.connect  # type: ignore[untyped-decorator]
def _start_heartbeat(sender: Any, **_: object) -> None:  # noqa: ANN401 - Celery's consumer
    stopping.leave_in_time()
    pulse.start(sender.app, str(sender.hostname), from_environment())


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _tell_children(**_: object) -> None:
    stopping.stop()


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _close_clients(**_: object) -> None:
    # a child that held no shift has nothing to close, and importing the runtime only to leave takes seconds
    runtime = sys.modules.get("workers.runtime")
    if runtime is not None:
        runtime.close()


app = make_app()
