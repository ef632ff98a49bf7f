"""Measurements in rounds: every candidate once a round, so that whatever else the machine does meets them all."""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.pacing_real.findings import Finding
from benchmarks.pacing_real.simulators import Lateness
from benchmarks.throughput.candidates import Candidate, Place
from benchmarks.throughput.figures import Figure, figure
from benchmarks.throughput.manifests import write_manifest
from benchmarks.throughput.measuring import Measurement, measure


@dataclass(slots=True)
class Entry:
    """A candidate with the simulator's latency, how often it is to run, and what came of it."""

    candidate: Candidate
    latency: str
    times: int
    also: Callable[[Place], None] | None = None
    """What else is to be seen where it ran, before that is removed."""

    measurements: list[Measurement] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.candidate.name

    def figure(self, attribute: str) -> Figure | None:
        """One figure of its measurements; nothing when there are none."""
        values = [getattr(one, attribute) for one in self.measurements]
        return figure(values) if values else None

    def median(self, attribute: str) -> float | None:
        """Its median."""
        found = self.figure(attribute)
        return found.median if found else None

    def findings(self) -> list[Finding]:
        """Runs that broke off: each of them is a bar missed."""
        return [Finding(f"{self.name}: broken off", "never", failure, holds=False) for failure in self.failures]


def say(text: str) -> None:
    """Tell whoever watches how far it is; the tables come at the end."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@contextmanager
def manifests() -> Iterator[Path]:
    """A folder for manifests."""
    with tempfile.TemporaryDirectory(prefix="vb-manifests-") as folder:
        yield Path(folder)


def manifest_of(folder: Path, rows: int) -> Path:
    """The manifest of so many rows, made once."""
    path = folder / f"videos-{rows}.csv"
    return path if path.exists() else write_manifest(path, rows)


def run_once(entry: Entry, folder: Path) -> None:
    """Measure a candidate once, and keep what came of it."""
    manifest = manifest_of(folder, entry.candidate.rows)
    try:
        one = measure(entry.candidate, manifest, also=entry.also, latency=entry.latency)
    except Lateness as late:
        entry.failures.append(str(late))
        say(f"{entry.name}: broken off: {late}")
        return
    entry.measurements.append(one)
    say(
        f"{entry.name}: {one.rows:,} rows in {one.report.wall_s:.1f} s, {one.cpu_ms_a_row:.3f} ms CPU a row, "
        f"{one.rows_a_second_sending:,.0f} rows/s, {one.polls_a_row:.2f} polls a row"
    )


def run_interleaved(entries: Sequence[Entry], folder: Path) -> None:
    """Round by round, each round beginning with another candidate, until each ran as often as it is to."""
    for number in range(max(entry.times for entry in entries)):
        first = number % len(entries)
        for entry in (*entries[first:], *entries[:first]):
            if number < entry.times:
                run_once(entry, folder)


def ratio(above: float | None, below: float | None) -> float | None:
    """One figure by another; nothing where one is missing."""
    return above / below if above is not None and below else None
