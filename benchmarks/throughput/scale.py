"""Ten thousand rows, a hundred thousand, a million: what grows with them and must not."""

from pathlib import Path

from benchmarks.pacing_real.findings import Finding, at_least, at_most
from benchmarks.throughput.candidates import Place, vidbatch
from benchmarks.throughput.datasets import LEAST_MB, MOST_MB, Dataset, dataset_of
from benchmarks.throughput.figures import Section, Table, figure
from benchmarks.throughput.overhead import AT_ONCE
from benchmarks.throughput.reports import highest_peaks
from benchmarks.throughput.rounds import Entry, ratio, run_interleaved
from benchmarks.throughput.sizes import Sizes

ROLES = ("command", "worker", "worker child", "redis", "redis fork")
GROWN = 1.3
SLOWED = 0.9


class Scale:
    """Runs of one size, and what they left behind."""

    def __init__(self, rows: int, times: int) -> None:
        self.rows = rows
        self.datasets: list[Dataset] = []
        self.entry = Entry(vidbatch(f"{rows:,} rows", rows, 2), AT_ONCE, times, also=self._look)

    def _look(self, place: Place) -> None:
        self.datasets.append(dataset_of(place))

    @property
    def peaks_mb(self) -> dict[str, float]:
        """The most memory of each role."""
        return highest_peaks([one.report for one in self.entry.measurements])

    @property
    def redis_peak_mb(self) -> float | None:
        """The most that the private server had in use, by its own word."""
        return max((one.redis_peak_mb for one in self.entry.measurements), default=None)


def scale(sizes: Sizes, folder: Path) -> Section:
    """Run each size with two workers; the smallest often, since it is short, the others once."""
    scales = [Scale(rows, sizes.repetitions if rows == min(sizes.scales) else 1) for rows in sizes.scales]
    run_interleaved([one.entry for one in scales], folder)
    findings = [*compared(scales[0], scales[-1]), *(found for one in scales for found in one.entry.findings())]
    return Section("scale", findings, [rates(scales), memory(scales), files(scales)])


def compared(small: Scale, large: Scale) -> list[Finding]:
    """The largest against the smallest."""
    names = f"{large.rows:,} rows by {small.rows:,}"
    peaks = small.peaks_mb
    findings = [
        at_most(f"peak memory of {role}, {names}", GROWN, ratio(peak, peaks.get(role)), ".2f")
        for role, peak in large.peaks_mb.items()
        if role != "redis fork"
    ]
    used = ratio(large.redis_peak_mb, small.redis_peak_mb)
    pace = ratio(large.entry.median("rows_a_second_sending"), small.entry.median("rows_a_second_sending"))
    findings += [
        at_most(f"peak memory in use by Redis' own word, {names}", GROWN, used, ".2f"),
        at_least(f"rows/s while sending, {names}", SLOWED, pace, ".2f"),
    ]
    for one in large.entry.measurements:
        tenths = one.pace_by_tenth
        name = f"rows/s of the last tenth of {large.rows:,} rows by the second's"
        findings.append(at_least(name, SLOWED, tenths[-1] / tenths[1], ".2f"))
    for one in large.datasets:
        shown = ", ".join(f"{size:.0f}" for size in one.sizes_mb)
        bar = f"{LEAST_MB}..{MOST_MB}, or one"
        findings += [
            Finding(f"files of {large.rows:,} rows, MB", bar, shown, one.well_sized and one.rows == large.rows),
            at_most(f"DuckDB's count and group-by over {large.rows:,} rows, s", 1.0, one.count_s + one.group_s, ".3f"),
        ]
    return findings


def rates(scales: list[Scale]) -> Table:
    """How fast each size went."""
    columns = ("rows", "runs", "wall s", "CPU ms a row", "rows/s", "while sending", "rows/s by tenths")
    lines = []
    for one in scales:
        found = one.entry.measurements
        if found:
            tenths = " ".join(f"{pace:,.0f}" for pace in found[-1].pace_by_tenth)
            wall, cost = figure(each.report.wall_s for each in found), one.entry.figure("cpu_ms_a_row")
            whole, sending = one.entry.figure("rows_a_second"), one.entry.figure("rows_a_second_sending")
            figures = (f"{wall:.1f}", f"{cost:.3f}", f"{whole:,.0f}", f"{sending:,.0f}")
            lines.append((f"{one.rows:,}", str(len(found)), *figures, tenths))
    notes = (
        "rows/s: by the wall time of the whole command; while sending: from the first POST to the last poll.",
        "The ramp, in which limits that nobody gave are felt for, is in both, and is most of a small run.",
        "by tenths: between the moments at which a tenth more of all polls had come, in the last run.",
    )
    return Table("Scale: pace, 2 workers", columns, lines, notes)


def memory(scales: list[Scale]) -> Table:
    """The most memory of every process."""
    columns = ("rows", *(f"{role} MB" for role in ROLES), "Redis in use MB")
    lines = []
    for one in scales:
        peaks = one.peaks_mb
        shown = [f"{peaks[role]:.0f}" if role in peaks else "-" for role in ROLES]
        used = one.redis_peak_mb
        lines.append((f"{one.rows:,}", *shown, "-" if used is None else f"{used:.1f}"))
    notes = (
        "Peak resident memory of the largest process of each role, in any of the runs, shared pages included.",
        "command: `vidbatch run`, which plans too. redis fork: the copy that rewrites the server's file.",
    )
    return Table("Scale: memory", columns, lines, notes)


def files(scales: list[Scale]) -> Table:
    """What each size left behind."""
    columns = ("rows", "files", "MB each", "count s", "group-by s", "other files of the run", "MB of them")
    lines = []
    for one in scales:
        for found in one.datasets[-1:]:
            each = ", ".join(f"{size:.1f}" for size in found.sizes_mb)
            queries = (f"{found.count_s:.3f}", f"{found.group_s:.3f}")
            rest = (str(found.other_files), f"{found.other_mb:.1f}")
            lines.append((f"{one.rows:,}", str(len(found.sizes_mb)), each, *queries, *rest))
    notes = (
        "By DuckDB in a connection of its own: `count(*)`, then count and cost by outcome and model that answered.",
    )
    return Table("Scale: dataset", columns, lines, notes)
