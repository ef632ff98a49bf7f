"""How long people wait before anything happens: the help, and the first POST of a run on the private stack."""

import subprocess
import time
from pathlib import Path

from benchmarks.pacing_real.findings import at_most
from benchmarks.throughput.candidates import VIDBATCH, vidbatch
from benchmarks.throughput.figures import Section, Table, figure
from benchmarks.throughput.overhead import AT_ONCE
from benchmarks.throughput.rounds import Entry, run_interleaved
from benchmarks.throughput.sizes import Sizes

ROWS = 200


def help_s() -> float:
    """How long `vidbatch --help` takes."""
    began = time.perf_counter()
    subprocess.run([VIDBATCH, "--help"], check=True, capture_output=True)
    return time.perf_counter() - began


def startup(sizes: Sizes, folder: Path) -> Section:
    """Ask for the help, and begin small runs."""
    help_s()  # the first one compiles what was never imported
    helps = figure(1e3 * help_s() for _ in range(sizes.helps))
    entries = [Entry(vidbatch(f"{workers} worker(s)", ROWS, workers), AT_ONCE, sizes.repetitions) for workers in (1, 2)]
    run_interleaved(entries, folder)
    findings = [at_most("vidbatch --help, ms", 150.0, helps.median, ".0f")]
    lines = [("`vidbatch --help`, ms", str(sizes.helps), f"{helps:.0f}")]
    for entry in entries:
        findings.append(at_most(f"first POST, {entry.name}, s", 2.5, entry.median("first_post_s"), ".2f"))
        findings += entry.findings()
        if found := entry.figure("first_post_s"):
            name = f"`vidbatch run --workers {entry.name[0]}` until its first POST, s"
            lines.append((name, str(len(entry.measurements)), f"{found:.2f}"))
    notes = (
        f"A run of {ROWS} rows; from the start of the command to the POST's arrival. Files are in memory already.",
    )
    return Section("startup", findings, [Table("Start", ("", "runs", "median (lowest..highest)"), lines, notes)])
