"""A worker's life: load everything once, fork the children, serve until it is told to stop."""

import gc
import os
import socket

from celery.apps.worker import Worker
from celery.concurrency.prefork import TaskPool
from celery.worker.consumer import Consumer

from workers import pulse, runtime, seats
from workers.restart import survive_redis_restart
from workers.settings import WorkerSettings

LOADED = (Worker, TaskPool, Consumer, pulse, runtime, seats, survive_redis_restart)
"""What a worker needs and its children share: loaded before it is told whom to serve, and before they are forked."""


def serve(settings: WorkerSettings) -> None:
    """Run Celery's worker as its command would, without loading all of its other commands."""
    from workers.app import app  # noqa: PLC0415 - it is made by the environment

    worker: Worker = app.Worker(
        hostname=f"vidbatch-{os.getpid()}@{socket.gethostname()}",
        pool_cls="prefork",
        concurrency=settings.children,
        queues=[role.value for role in settings.shifts],
        loglevel="WARNING",
        without_mingle=True,
        without_gossip=True,
        without_heartbeat=True,
        quiet=True,
    )
    # What is loaded by now lives as long as the process: no collection looks at it again, here or in a child, whose
    # memory then stays shared. Celery collects before each fork.
    gc.freeze()
    gc.enable()
    worker.start()
