"""Whether this worker was told to stop: one byte that children share with their main process; and the end of patience.

A worker that was told to stop is gone within 30 s, whatever hangs. What it holds by then is recorded or kept: a shift
cuts what is on the wire after 20 s, and gives Redis 3 s more.
"""

import logging
import mmap
import os
import threading

LEAVE_S = 27.0
"""After so long the process ends as it is; its children are told by the kernel and end with it."""

_STOPPING = mmap.mmap(-1, 1)
_LOOK_S = 0.5

_log = logging.getLogger("vidbatch.worker")


def stop() -> None:
    """Tell the children, so that their shifts claim no more."""
    _STOPPING[0] = 1


def stopping() -> bool:
    """Whether this worker was told to stop."""
    return _STOPPING[0] == 1


def leave_in_time() -> None:
    """Watch, beside everything else, that a stop does not take longer than a deployment waits."""
    threading.Thread(target=_watch, name="leaving", daemon=True).start()


def _watch() -> None:
    passing = threading.Event()
    while not stopping():
        passing.wait(_LOOK_S)
    passing.wait(LEAVE_S)
    _log.warning("a shift did not end in time; leaving without it", extra={"event": "left_in_haste"})
    os._exit(1)
