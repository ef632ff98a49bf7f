"""How many rows a second become a plan: the whole command, and the plan alone."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.pacing_real.findings import Finding, at_least, at_most
from benchmarks.pacing_real.simulators import Lateness
from benchmarks.plan_rate import plan_once
from benchmarks.throughput.candidates import PROMPT, VIDBATCH
from benchmarks.throughput.figures import Section, Table, figure
from benchmarks.throughput.manifests import write_manifest
from benchmarks.throughput.measuring import Measured, empty_place
from benchmarks.throughput.reports import Report, highest_peaks
from benchmarks.throughput.rounds import ratio, say
from benchmarks.throughput.sizes import Sizes

FEW = 10_000
FORMATS = ("csv", "parquet")


@dataclass(slots=True)
class Planned:
    """One manifest, and what planning it took each time."""

    manifest: Path
    rows: int
    reports: list[Report] = field(default_factory=list)

    @property
    def format(self) -> str:
        """The manifest's format."""
        return self.manifest.suffix[1:]

    @property
    def rates(self) -> list[float]:
        """Rows by the wall time of the whole command."""
        return [self.rows / one.wall_s for one in self.reports]

    @property
    def peak_mb(self) -> float:
        """The most memory of the command."""
        return highest_peaks(self.reports)["command"]


def command_once(one: Planned) -> None:
    """Run `vidbatch plan`."""
    words = [VIDBATCH, "plan", str(one.manifest), "--prompt", PROMPT, "--json"]
    with empty_place(one.manifest) as place, Measured(words, place) as running:
        report = running.report()
        if report.code != 0 or report.late:
            raise Lateness(f"vidbatch plan ended with {report.code}; it said:\n{place.log.read_text()[-2000:]}")
    one.reports.append(report)
    say(f"plan, {one.format}: {one.rows:,} rows in {report.wall_s:.1f} s, {report.peaks_mb['command']:.0f} MB")


def alone_s(manifest: Path) -> float:
    """How long the plan alone takes, in this process: read, judge, write."""
    began = time.perf_counter()
    plan_once(manifest)
    return time.perf_counter() - began


def plans(sizes: Sizes, folder: Path) -> Section:
    """Plan few rows and many, in both formats, in turn."""
    few = min(FEW, sizes.plan_rows)
    planned = [
        Planned(write_manifest(folder / f"plan-{rows}.{form}", rows), rows)
        for rows in (few, sizes.plan_rows)
        for form in FORMATS
    ]
    pure = {form: write_manifest(folder / f"pure.{form}", sizes.pure_plan_rows) for form in FORMATS}
    walls: dict[str, list[float]] = {form: [] for form in FORMATS}
    for _ in range(sizes.repetitions):
        for one in planned:
            command_once(one)
        for form in FORMATS:
            walls[form].append(alone_s(pure[form]))
    findings: list[Finding] = []
    for small, large in zip(planned[:2], planned[2:], strict=True):
        rate, grown = figure(large.rates).median, ratio(large.peak_mb, small.peak_mb)
        findings.append(at_least(f"vidbatch plan, {large.format}, {large.rows:,} rows: rows/s", 50_000, rate, ",.0f"))
        name = f"peak memory of plan, {large.format}, {large.rows:,} rows by that of {small.rows:,}"
        findings.append(at_most(name, 1.3, grown, ".2f"))
    lines = [_line(one) for one in planned]
    for form in FORMATS:
        rates = figure(sizes.pure_plan_rows / wall for wall in walls[form])
        count = str(len(walls[form]))
        lines.append((f"plan alone, {form}", f"{sizes.pure_plan_rows:,}", count, f"{rates:,.0f}", "-", "-"))
    columns = ("", "rows", "runs", "rows/s", "CPU µs a row", "peak MB")
    notes = (
        "`vidbatch plan`: rows by the wall time of the whole command, its start included.",
        "plan alone: the same flow in a process that is loaded already.",
    )
    return Section("plan", findings, [Table("Plan", columns, lines, notes)])


def _line(one: Planned) -> tuple[str, ...]:
    cpu = figure(1e6 * report.cpu_s / one.rows for report in one.reports)
    rates, count = figure(one.rates), str(len(one.reports))
    return (f"vidbatch plan, {one.format}", f"{one.rows:,}", count, f"{rates:,.0f}", f"{cpu:.1f}", f"{one.peak_mb:.0f}")
