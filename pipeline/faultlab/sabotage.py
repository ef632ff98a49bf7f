"""A worker, or the command, with a fault inside: `python -m pipeline.faultlab.sabotage`.

What can be broken from outside is broken from outside. What can't is patched here, before anything else is imported,
and does nothing until an order comes: a small JSON file in the stage's state folder, which the lab writes in mid-run.

    {"clock_s": 3600}                          the wall clock is off by so much
    {"no_space": "/parts/"}                    a file whose path holds this can't take its place: the disk is full
    {"kill": "before", "path": "/parts/"}      killed right before, or after, such a file takes its place; only once
    {"tickets": 2}                             every ticket is sent so many times
"""

import errno
import os
import pkgutil
import runpy
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from pipeline.edges.environment import process_environment

ORDERS = "sabotage.json"
READ_AGAIN_S = 0.1
"""The clock is asked thousands of times a second, and the file need not be."""

CAN_WRITE_ANYWHERE = 1
"""CAP_DAC_OVERRIDE of Linux: with it root writes where nobody may."""

_COMMAND = "command"


class Orders:
    """What the lab wants broken now."""

    def __init__(self, path: Path, monotonic: Callable[[], float]) -> None:
        self._path = path
        self._monotonic = monotonic
        self._read_at = -READ_AGAIN_S
        self._orders: dict[str, Any] = {}

    def now(self) -> dict[str, Any]:
        """The orders, at most a tenth of a second old."""
        if self._monotonic() - self._read_at >= READ_AGAIN_S:
            self._read_at = self._monotonic()
            self._orders = self._read()
        return self._orders

    def take(self) -> bool:
        """Carry an order out only once, whoever else has it too: True for the one process that took the file away."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True

    def _read(self) -> dict[str, Any]:
        try:
            return dict(orjson.loads(self._path.read_bytes()))
        except (OSError, ValueError):
            return {}


def shift_clock(orders: Orders) -> None:
    """Let the wall clock be off by `clock_s`; clocks that only measure durations stay right, as on a real machine."""
    tell, tell_ns = time.time, time.time_ns
    time.time = lambda: tell() + orders.now().get("clock_s", 0)
    time.time_ns = lambda: tell_ns() + round(orders.now().get("clock_s", 0) * 1_000_000_000)


def break_renames(orders: Orders) -> None:
    """Let files not take their place, or let this process die right before or after one does."""
    replace = os.replace

    def breaking(source: Any, target: Any, **rest: Any) -> None:  # noqa: ANN401 - as wide as the original
        told, path = orders.now(), os.fspath(target)
        if "no_space" in told and told["no_space"] in path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        meant = "kill" in told and told["path"] in path and orders.take()
        if meant and told["kill"] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target, **rest)
        if meant:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(os, replace.__name__, breaking)  # mypy knows too well what the original takes


def repeat_tickets(orders: Orders) -> None:
    """Send every ticket several times, as a broker does that delivers again."""
    app: Any = pkgutil.resolve_name("workers.app:app")
    send = app.send_task

    def sending(*words: Any, **options: Any) -> Any:  # noqa: ANN401 - as wide as the original
        for _ in range(orders.now().get("tickets", 1) - 1):
            send(*words, **options)
        return send(*words, **options)

    app.send_task = sending


def obey_permissions() -> None:
    """Let root be bound by the permissions of files, so that a read-only folder is read-only as for others."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    import ctypes  # noqa: PLC0415 - only where root plays the lab

    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) != 0:
        return
    for low in (0, 1):  # effective and permitted
        sets[low] &= ~(1 << CAN_WRITE_ANYWHERE)
    libc.capset(header, sets)


def main() -> None:
    """Be a worker, or with the word `command` the command, that breaks as it is told.

    Both are the outermost rooms, so they are called by name, once everything is patched.
    """
    orders = Orders(Path(process_environment()["VIDBATCH_STATE"]) / ORDERS, time.monotonic)
    shift_clock(orders)
    break_renames(orders)
    if sys.argv[1:2] == [_COMMAND]:
        del sys.argv[1]
        obey_permissions()
        pkgutil.resolve_name("pipeline.cli.main:run")()
        return
    repeat_tickets(orders)
    runpy.run_module("workers", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
