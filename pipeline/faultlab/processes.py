"""Processes of the lab: started, found again, frozen, killed. The only module here that knows of processes.

Every process of a stage bears the stage's state folder in its environment, and inherits it to what it starts itself;
by that it is found, and nobody else's is ever touched.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from psutil import Process as Process  # noqa: PLC0414 - the one name that others take from here

from pipeline.core.errors import SystemTrouble

COMMAND = ("-c", "from pipeline.cli.main import run; run()")
"""The installed command, whatever its script is called."""

WORKER = ("-m", "workers")
SABOTAGE = ("-m", "pipeline.faultlab.sabotage")
LOOK_S = 0.05


class Launched:
    """One process that the lab started, and what it says."""

    def __init__(self, words: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with log.open("ab") as output:
            # a session of its own: Ctrl-C at the terminal is the lab's alone, which ends everything in good order
            self._process = subprocess.Popen(  # noqa: S603 - our own words
                [sys.executable, *words],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code; nothing while it lives."""
        return self._process.poll()

    async def ended(self) -> int:
        """Wait for its end; its exit code, negative for a signal."""
        while True:
            if self.code is not None:
                return self.code
            await asyncio.sleep(LOOK_S)

    @property
    def said(self) -> str:
        """What it wrote so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it still lives."""
        self._process.send_signal(number)

    def end(self) -> None:
        """Kill it, unless it is gone, and take its exit code."""
        self._process.kill()
        self._process.wait()


def server_of(binary: str, options: Sequence[str]) -> None:
    """Start a Redis server that makes itself a daemon, and return when its first process is through."""
    subprocess.run([binary, *options, "--daemonize", "yes"], check=False, capture_output=True, timeout=10)  # noqa: S603 - our own words


def of_stage(state: Path) -> list[Process]:
    """Everything that lives and was started with this state folder, but for this process."""
    return [one for one in psutil.process_iter() if one.pid != os.getpid() and _belongs(one, state)]


def _belongs(process: Process, state: Path) -> bool:
    with suppress(psutil.Error, OSError):
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # a server writes its title over its environment; there its socket is named
        return process.environ().get("VIDBATCH_STATE") == str(state) or str(state / "s") in " ".join(process.cmdline())
    return False


def workers_of(state: Path) -> list[Process]:
    """Main processes of living workers, oldest first."""
    found = [one for one in of_stage(state) if _is_worker(one) and not _is_worker(one.parent())]
    return sorted(found, key=lambda one: float(one.create_time()))


def by_pid_file(path: Path) -> Process:
    """The process whose id stands in a file. SystemTrouble when it does not live."""
    try:
        return Process(int(path.read_text()))
    except (OSError, ValueError, psutil.Error) as error:
        raise SystemTrouble(f"the process of {path.name} does not live") from error


def children_of(process: Process) -> list[Process]:
    """A worker's child processes: each holds one shift at a time."""
    with suppress(psutil.Error):
        return list(process.children())
    return []


def _is_worker(process: Process | None) -> bool:
    with suppress(psutil.Error):
        return process is not None and tuple(process.cmdline()[1:3]) in {WORKER, SABOTAGE}
    return False


def freeze(processes: Sequence[Process]) -> None:
    """Stop them where they stand."""
    for process in processes:
        with suppress(psutil.Error):
            process.suspend()


def thaw(processes: Sequence[Process]) -> None:
    """Let them go on."""
    for process in processes:
        with suppress(psutil.Error):
            process.resume()


def kill(processes: Sequence[Process]) -> None:
    """End them as a crash would."""
    for process in processes:
        with suppress(psutil.Error):
            process.kill()


def tell(process: Process, number: signal.Signals) -> None:
    """Send a signal to one process."""
    with suppress(psutil.Error):
        process.send_signal(number)


def alive(process: Process) -> bool:
    """Whether it still runs."""
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def memory_of(processes: Sequence[Process]) -> Mapping[int, int]:
    """Resident bytes of those that live, by process id."""
    sizes: dict[int, int] = {}
    for process in processes:
        with suppress(psutil.Error):
            sizes[process.pid] = process.memory_info().rss
    return sizes


@contextmanager
def memory_squeezed(squeezed: Sequence[Process]) -> Iterator[None]:
    """Give no process a page more than it has; afterwards, if it survived, as much as before."""
    before = {process: process.rlimit(psutil.RLIMIT_AS) for process in squeezed}
    for process, (_, most) in before.items():
        process.rlimit(psutil.RLIMIT_AS, (process.memory_info().rss, most))
    try:
        yield
    finally:
        for process, limits in before.items():
            with suppress(psutil.Error, OSError):
                process.rlimit(psutil.RLIMIT_AS, limits)


def end_stage(state: Path) -> None:
    """Kill whatever of a stage still lives; it may be starting more, so look until there is nothing."""
    while left := of_stage(state):
        kill(left)
        psutil.wait_procs(left, timeout=1.0)
