"""Run a command and tell what it and everything that it started cost: CPU, memory, time.

python -m benchmarks.throughput.measured --report FILE [--folder FOLDER] [--within SECONDS] -- COMMAND ...

Linux only: this process becomes the reaper of all its descendants, daemons included, so the kernel adds the CPU of each
to its own children's. Its own CPU is never counted. SIGUSR1 kills all of them at once, as when the power fails.
"""

import argparse
import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

EVERY_S = 0.25
"""Between two looks, each of about 2 ms. What a process grows in its last quarter of a second is missed."""
LINGER_S = 60.0
"""How long after the command's end its descendants may take to end; then they are killed, and counted as late."""
LEAVE_S = 10.0
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_SET_PDEATHSIG = 1
_SET_CHILD_SUBREAPER = 36


@dataclass(slots=True)
class Seen:
    """One process, as it was when it was last seen."""

    pid: int
    parent: int
    program: str
    words: list[str]
    peak_kb: int = 0
    cpu_s: float = 0.0


def reap_all_descendants() -> None:
    """Become the one to whom orphaned descendants are given. OSError where the system has no such thing."""
    if not sys.platform.startswith("linux"):
        raise OSError("measuring a tree of processes needs Linux")
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_SET_CHILD_SUBREAPER, 1), (_SET_PDEATHSIG, signal.SIGTERM)):
        if libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), f"prctl({option}) was refused")


def children_of(pid: int) -> Iterator[int]:
    """The living children of a process, whichever of its threads started them."""
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                yield from map(int, (thread / "children").read_text().split())


def descendants() -> Iterator[tuple[int, int]]:
    """Every process below this one, with its parent."""
    waiting = [os.getpid()]
    while waiting:
        parent = waiting.pop()
        for child in children_of(parent):
            waiting.append(child)
            yield child, parent


def cpu_of(stat: str) -> float:
    """Seconds of user and system time of a process by its `stat`, without its children's."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def peak_of(status: str) -> int:
    """The most memory that a process ever held, in kilobytes, by its `status`; 0 when it holds none any more."""
    _, found, rest = status.partition("VmHWM:")
    return int(rest.split(maxsplit=1)[0]) if found else 0


def look(seen: dict[int, Seen]) -> None:
    """Note every descendant as it is now."""
    for pid, parent in descendants():
        with suppress(OSError):
            place = Path("/proc") / str(pid)
            program = (place / "exe").readlink().name
            words = (place / "cmdline").read_text(errors="replace").strip("\0 ").split("\0")
            one = seen.setdefault(pid, Seen(pid, parent, program, words))
            # who is a daemon has another parent by now, and who called exec another program
            one.parent, one.program, one.words = parent, program, words
            one.cpu_s = cpu_of((place / "stat").read_text())
            one.peak_kb = max(one.peak_kb, peak_of((place / "status").read_text()))


def send(number: int, pids: Iterable[int]) -> None:
    """Signal processes by their ids; those that are gone are no trouble."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class Watch:
    """A command from its start to the end of its last descendant."""

    def __init__(self, command: Sequence[str], folder: str | None, within_s: float) -> None:
        self.seen: dict[int, Seen] = {}
        self.told: list[int] = []
        self.late = False
        self.code: int | None = None
        self._within_s = within_s
        self._wake, written = os.pipe()
        for end in (self._wake, written):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(written)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._hear)
        self.started_at, self._began = time.time(), time.monotonic()
        # a session of its own: Ctrl-C at a terminal is for the bench, which then ends what it started in order
        self._process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, start_new_session=True)
        self.wall_s = self.all_s = 0.0

    def _hear(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            self.told.append(number)

    @property
    def pid(self) -> int:
        """The command's process."""
        return self._process.pid

    def wait(self) -> None:
        """Until nothing of it lives."""
        next_look, deadline, killing = 0.0, self._began + self._within_s, False
        while not self._reaped():
            now = time.monotonic()
            if now >= next_look:
                look(self.seen)
                next_look = now + EVERY_S
            if self.told:
                killing = self.told.pop() == signal.SIGUSR1
                send(signal.SIGKILL if killing else signal.SIGTERM, [pid for pid, _ in descendants()])
                deadline = min(deadline, now + LEAVE_S)
            elif killing or now > deadline:
                self.late = self.late or not killing
                send(signal.SIGKILL, [pid for pid, _ in descendants()])
            if self.code is not None:
                deadline = min(deadline, self._began + self.wall_s + LINGER_S)
            select.select([self._wake], [], [], max(0.01, next_look - time.monotonic()))
            with suppress(BlockingIOError):
                os.read(self._wake, 4096)
        self.all_s = time.monotonic() - self._began

    def _reaped(self) -> bool:
        """Take note of who ended; whether nobody is left."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self.pid:
                    self.wall_s = time.monotonic() - self._began
                    self.code = self._process.returncode = os.waitstatus_to_exitcode(ended[1])
            return False
        return True

    def report(self) -> dict[str, object]:
        """What is to be told."""
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "pid": self.pid,
            "code": self.code,
            "late": self.late,
            "started_at": self.started_at,
            "wall_s": self.wall_s,
            "all_s": self.all_s,
            "user_s": spent.ru_utime,
            "system_s": spent.ru_stime,
            "processes": [asdict(one) for one in self.seen.values()],
        }


def main(words: Sequence[str]) -> int:
    """Run the command and write the report; 0 whatever the command's own exit code is, which the report has."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput.measured")
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--folder", help="where the command runs")
    parser.add_argument("--within", type=float, default=3600.0, help="seconds; then everything is ended")
    parser.add_argument("command", nargs="+", help="after --")
    given = parser.parse_args(words)
    reap_all_descendants()
    watch = Watch(given.command, given.folder, given.within)
    watch.wait()
    given.report.write_text(json.dumps(watch.report()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
