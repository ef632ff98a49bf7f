"""Ctrl-C, counted instead of died of."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupts:
    """What Ctrl-C asked for so far: once to stop sending, twice to leave at once."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, *_: object) -> None:
        """Count one; a signal handler."""
        self.count += 1


@contextmanager
def counted(interrupts: Interrupts) -> Iterator[None]:
    """Count the signals of this process meanwhile.

    Only its main thread is told of them: where the run is followed in another one, whoever waits for that counts.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupts)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
