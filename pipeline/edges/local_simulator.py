"""A simulator as a process of its own, for the demo: started, asked for its address, stopped."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pipeline.core.errors import SystemTrouble

LEAVE_S = 10.0


@contextmanager
def local_simulator(options: Sequence[str]) -> Iterator[str]:
    """The base URL of a simulator on a free port. SystemTrouble when it does not start."""
    command = [sys.executable, "-m", "pipeline.simulator", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own words
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line.startswith("simulator ready "):
            raise SystemTrouble("the simulator did not start; its own message stands above")
        yield line.split()[-1]
    finally:
        process.terminate()
        try:
            process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()
