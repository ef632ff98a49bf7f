"""One measurement: a fresh simulator, a folder, a candidate under the measurer, and what they tell afterwards."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson
import psutil
import redis

from benchmarks.pacing_real.simulators import Lateness, Simulator
from benchmarks.throughput.candidates import Candidate, Place, environment
from benchmarks.throughput.reports import Report, report_of

ROOT = Path(__file__).parent.parent.parent
WITHIN_S = 3600.0
REDIS_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run of a candidate cost, by the operating system, and what happened, by the simulator's books."""

    candidate: Candidate
    report: Report
    books: Mapping[str, Any]
    first_post_at: float
    last_poll_at: float
    tenths_at: tuple[float, ...]
    simulator_cpu_s: float
    redis_peak_mb: float

    @property
    def rows(self) -> int:
        """How many rows it had."""
        return self.candidate.rows

    @property
    def cpu_ms_a_row(self) -> float:
        """All CPU of all its processes, start and end included."""
        return 1e3 * self.report.cpu_s / self.rows

    @property
    def rows_a_second(self) -> float:
        """Rows by the wall time of the whole command."""
        return self.rows / self.report.wall_s

    @property
    def rows_a_second_sending(self) -> float:
        """Rows by the time from the first POST to the last poll: without plan, start and the merge of the parts."""
        return self.rows / (self.last_poll_at - self.first_post_at)

    @property
    def polls_a_row(self) -> float:
        """How often the simulator was asked."""
        return float(self.books["polls"]) / self.rows

    @property
    def pace_by_tenth(self) -> list[float]:
        """Rows a second in each tenth of the polls, so that a run that grows slower shows it."""
        return paces(self.rows, self.tenths_at)

    @property
    def first_post_s(self) -> float:
        """From the start of the command to its first POST."""
        return self.first_post_at - self.report.started_at


def paces(rows: int, tenths_at: Sequence[float]) -> list[float]:
    """Rows a second between the moments at which a tenth more of them was done."""
    share = rows / (len(tenths_at) - 1)
    return [share / max(later - earlier, 1e-3) for earlier, later in itertools.pairwise(tenths_at)]


class Measured:
    """A command under the measurer; use it as a context manager, at whose end nothing of it lives."""

    def __init__(self, words: Sequence[str], place: Place, within_s: float = WITHIN_S) -> None:
        self._path = place.folder / "report.json"
        self._path.unlink(missing_ok=True)
        start = [sys.executable, "-m", "benchmarks.throughput.measured", "--report", str(self._path)]
        start += ["--folder", str(place.folder), "--within", str(within_s), "--", *words]
        place.state.mkdir(mode=0o700, exist_ok=True)
        with place.log.open("wb") as log:
            self._process = subprocess.Popen(
                start, cwd=ROOT, env=environment(place, os.environ), stdout=log, stderr=log, start_new_session=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()

    @property
    def ended(self) -> bool:
        """Whether the command and all its descendants are gone."""
        return self._process.poll() is not None

    def kill_all(self) -> Report:
        """End it as a power failure would, the server included."""
        self._process.send_signal(signal.SIGUSR1)
        return self.report()

    def report(self) -> Report:
        """Wait for its end; what it cost."""
        self._process.wait()
        if not self._path.exists():
            raise Lateness("the measurer broke off; the candidate's log has the reason")
        return report_of(orjson.loads(self._path.read_bytes()))


class RedisWatch:
    """Asks vidbatch's private server for its peak memory while it runs; use it as a context manager."""

    def __init__(self, place: Place) -> None:
        self.peak_mb = 0.0
        self._socket = place.state / "s"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        client = redis.Redis(unix_socket_path=str(self._socket), socket_timeout=5)
        while not self._over.wait(REDIS_LOOK_S):
            with suppress(redis.RedisError):
                peak = int(client.info("memory")["used_memory_peak"])
                self.peak_mb = max(self.peak_mb, peak / 2**20)
        client.close()


@contextmanager
def empty_place(manifest: Path, base_url: str = "") -> Iterator[Place]:
    """An empty folder, which is gone afterwards."""
    # a short path: a socket's has at most 107 bytes
    folder = Path(tempfile.mkdtemp(prefix="vb-"))
    try:
        yield Place(folder, manifest, base_url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def scene(manifest: Path, **switches: object) -> Iterator[tuple[Simulator, Place]]:
    """A fresh simulator and an empty folder; both are gone afterwards."""
    simulator = Simulator(**switches)
    try:
        with empty_place(manifest, simulator.base_url) as place:
            yield simulator, place
    finally:
        simulator.close()


def cpu_of(pid: int) -> float:
    """User and system time of a process."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def measure(
    candidate: Candidate, manifest: Path, *, also: Callable[[Place], None] | None = None, **switches: object
) -> Measurement:
    """Run a candidate once, alone. `Lateness` when it did not do its work: then it has no figures."""
    with scene(manifest, **switches) as (simulator, place):
        before = cpu_of(simulator.pid)
        with RedisWatch(place) as server, Measured(candidate.words(place), place) as running:
            report = running.report()
        measurement = _told(candidate, report, simulator, server.peak_mb, before)
        _check(measurement, place)
        if also is not None:
            also(place)
        return measurement


def _told(
    candidate: Candidate, report: Report, simulator: Simulator, redis_peak_mb: float, cpu_before: float
) -> Measurement:
    used = cpu_of(simulator.pid) - cpu_before
    books = simulator.summary()
    polls, first = int(books["queries_received"]), simulator.arrival(0)
    tenths = [simulator.arrival(min(part * polls // 10, polls - 1), "polls") for part in range(11) if polls]
    return Measurement(
        candidate=candidate,
        report=report,
        books=books,
        first_post_at=first.at if first else 0.0,
        last_poll_at=tenths[-1].at if tenths and tenths[-1] else 0.0,
        tenths_at=tuple(one.at for one in tenths if one),
        simulator_cpu_s=used,
        redis_peak_mb=redis_peak_mb,
    )


def _check(one: Measurement, place: Place) -> None:
    """Whether every row was sent once and completed, by the candidate's own files and by the simulator's books."""
    said = place.log.read_text(encoding="utf-8", errors="replace")[-2000:]
    name, rows, report, books = one.candidate.name, one.rows, one.report, one.books
    if report.code != 0 or report.late:
        raise Lateness(f"{name} ended with {report.code}{', late' if report.late else ''}; it said:\n{said}")
    if not report.whole:
        raise Lateness(f"{name}: {report.sampled_cpu_s:.1f} s of CPU were seen, the kernel told {report.cpu_s:.1f} s")
    completed = one.candidate.completed(place)
    if not completed == books["posts_accepted"] == books["completed"] == rows:
        counts = f"{completed} rows completed, {books['posts_accepted']} POSTs accepted, {books['completed']} ended"
        raise Lateness(f"{name}: {counts}; {rows} rows were asked; it said:\n{said}")
