"""A worker's life: load everything once, fork the children, serve until it is told to stop."""

import gc
import os
import socket
import sys
import warnings

from celery.apps.worker import Worker
from celery.concurrency.prefork import TaskPool
from celery.platforms import SecurityWarning
from celery.worker.consumer import Consumer

from pipeline.edges.alive import AliveFile
from workers import pulse, runtime
from workers.restart import survive_redis_restart
from workers.settings import WorkerSettings

LOADED = (Worker, TaskPool, Consumer, pulse, runtime, survive_redis_restart)
"""What a worker needs and its children share: loaded before it is told whom to serve, and before they are forked."""

SHOWN_EVERY_S = 20.0
"""Flower takes a worker that said nothing for two minutes for offline. Events of tasks it switches on by itself; with
ten seconds of work in each, they are few."""


def serve(settings: WorkerSettings) -> None:
    """Run Celery's worker as its command would, without loading all of its other commands."""
    from workers.app import app  # noqa: PLC0415 - it is made by the environment

    if settings.health_file is not None:
        AliveFile(
            settings.health_file
        )  # one that can't be written is told here, and not by a heartbeat that dies of it
    if os.getuid():
        # Celery takes a group without a name, as a container may well have, for root's
        warnings.filterwarnings("ignore", category=SecurityWarning)
    worker: Worker = app.Worker(
        hostname=f"vidbatch-{os.getpid()}@{socket.gethostname()}",
        pool_cls="prefork",
        concurrency=settings.children,
        queues=[role.value for role in settings.roles],
        loglevel="WARNING",
        without_mingle=True,
        without_gossip=True,
        # Celery's own heartbeats are for Flower alone, which a private worker's nobody looks at.
        without_heartbeat=settings.coordinator_pid is not None,
        heartbeat_interval=SHOWN_EVERY_S,
        quiet=True,
    )
    # What is loaded by now lives as long as the process: no collection looks at it again, here or in a child, whose
    # memory then stays shared. Celery collects before each fork.
    gc.freeze()
    gc.enable()
    worker.start()
    if worker.exitcode:
        sys.exit(worker.exitcode)  # its consumer could not go on, and whoever supervises it must see that
