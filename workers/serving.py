"""A worker's life: load everything once, fork the children, serve until it is told to stop."""

import gc
import logging
import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from functools import partial

import celery
import kombu
from celery.apps import worker as celery_worker
from celery.apps.worker import Worker
from celery.concurrency.prefork import TaskPool
from celery.platforms import SecurityWarning
from celery.worker.consumer import Consumer

from pipeline.core.account import key_fingerprint
from pipeline.core.lead import place_of
from pipeline.edges.alive import AliveFile
from pipeline.edges.logs import name_process
from pipeline.edges.redis_keys import LEDGER_VERSION
from workers import pulse, runtime, seats
from workers.restart import survive_redis_restart
from workers.settings import WorkerSettings

LOADED = (Worker, TaskPool, Consumer, pulse, runtime, seats, survive_redis_restart)
"""What a worker needs and its children share: loaded before it is told whom to serve, and before they are forked."""

SHOWN_EVERY_S = 20.0
"""Flower takes a worker that said nothing for two minutes for offline. Events of tasks it switches on itself, and with
ten seconds of work in each they are few."""

_log = logging.getLogger("vidbatch.worker")


def serve(settings: WorkerSettings) -> None:
    """Run Celery's worker as its command would, without loading all of its other commands."""
    from workers.app import app  # noqa: PLC0415 - it is made by the environment

    if settings.health_file is not None:
        # one that can't be written is told here, and not by a heartbeat that dies of it
        AliveFile(settings.health_file)
    if os.getuid():
        # Celery takes a group without a name, as a container may well have, for root's
        warnings.filterwarnings("ignore", category=SecurityWarning)
    # it writes to stdout what the log says, as a line of another form
    vars(celery_worker)["safe_say"] = _unsaid
    # where no terminal is, it would begin anew at SIGHUP, in the midst of a stop; this one is called last of all
    vars(celery_worker)["install_worker_term_handler"] = partial(
        _install_stops, celery_worker.install_worker_term_handler, signal.getsignal(signal.SIGHUP)
    )
    name = f"vidbatch-{os.getpid()}@{socket.gethostname()}"
    name_process(worker=name)
    worker: Worker = app.Worker(
        hostname=name,
        pool_cls="prefork",
        concurrency=settings.children,
        queues=[role.value for role in settings.shifts],
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
    _log.info("serving %s", ", ".join(settings.shifts), extra={"event": "worker_started", **_told_of(settings)})
    worker.start()
    pulse.leave()
    if worker.exitcode:
        sys.exit(worker.exitcode)  # its consumer could not go on, and whoever supervises it must see that


def _install_stops(install: Callable[[Worker], None], at_first: object, worker: Worker) -> None:
    """Let a terminal that closes stop the worker as SIGTERM does; one that was begun by nohup stays deaf to it."""
    install(worker)
    ignored = at_first is signal.SIG_IGN
    signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.getsignal(signal.SIGTERM))


def _unsaid(*_: object) -> None:
    """Say nothing."""


def _told_of(settings: WorkerSettings) -> dict[str, object]:
    """What a worker says of itself: never a secret."""
    return {
        "roles": [role.value for role in settings.shifts],
        "shifts": {role.value: most for role, most in settings.shifts.items()},
        "children": settings.children,
        "redis": place_of(settings.redis_url),
        "key": key_fingerprint(settings.key.reveal()) if settings.key else None,
        "media_roots": list(settings.media_roots) or None,
        "ledger_version": LEDGER_VERSION,
        "versions": {"python": sys.version.split()[0], "celery": celery.__version__, "kombu": kombu.__version__},
    }
