"""The Celery app: queues by role, settings from `workers.settings`, and what happens at a process's start and end."""

from typing import Any

from celery import Celery
from celery.signals import worker_process_shutdown, worker_ready, worker_shutting_down
from kombu.entity import Queue

from pipeline.core.tickets import Role
from workers import pulse, stopping
from workers.restart import survive_redis_restart
from workers.settings import CELERY, broker_url, from_environment

survive_redis_restart()


def make_app() -> Celery:
    """The app of this process, by its environment."""
    app = Celery("vidbatch", broker=broker_url(from_environment().redis_url), include=["workers.tasks"])
    app.conf.update(CELERY)
    app.conf.task_queues = [Queue(role.value) for role in Role]  # type: ignore[no-untyped-call]
    app.conf.task_routes = {f"vidbatch.{role}": {"queue": role.value} for role in Role}
    return app


@worker_ready.connect  # type: ignore[untyped-decorator]
def _start_heartbeat(sender: Any, **_: object) -> None:  # noqa: ANN401 - Celery's consumer
    pulse.start(sender.app, str(sender.hostname), from_environment())


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _tell_children(**_: object) -> None:
    stopping.stop()


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _close_clients(**_: object) -> None:
    from workers.runtime import close  # noqa: PLC0415 - the main process never needs what the runtime imports

    close()


app = make_app()
