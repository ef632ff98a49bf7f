"""A worker's life: load everything once, fork the children, serve until it is told to stop."""

import gc
import os
import socket

from celery.apps.worker import Worker

import workers.tasks  # noqa: F401 - all that a shift needs is loaded before the children are forked
from workers.app import app
from workers.settings import WorkerSettings


def serve(settings: WorkerSettings) -> None:
    """Run Celery's worker as its command would, without loading all of its other commands."""
    worker: Worker = app.Worker(
        hostname=f"vidbatch-{os.getpid()}@{socket.gethostname()}",
        pool_cls="prefork",
        concurrency=settings.children,
        queues=[role.value for role in settings.roles],
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
