"""What a row costs where answers take seconds and thousands of generations are open at a time."""

import os
from pathlib import Path

from benchmarks.pacing_real.findings import at_least, at_most, told
from benchmarks.throughput.candidates import celery, script, vidbatch
from benchmarks.throughput.figures import Section
from benchmarks.throughput.overhead import AT_ONCE, CELERY, HTTPX, TWO, compared
from benchmarks.throughput.rounds import Entry, ratio, run_interleaved
from benchmarks.throughput.sizes import Sizes

REACHED = 0.95
"""The share of the generations in flight that a run must have had open at a time: else it was not that run."""


def latency(sizes: Sizes, folder: Path, zero_latency_ms: float | None) -> Section:
    """Run with generations that take long; what a row costs at zero latency is measured here if it is not known yet."""
    options = ("--max-in-flight", sizes.in_flight)
    waiting = f"{TWO}, {sizes.in_flight:,} in flight"
    together = f"asyncio + aiohttp, {sizes.in_flight:,} at once"
    at_once = ("aiohttp_plain.py", "--at-once", sizes.in_flight)
    entries = [
        Entry(vidbatch(waiting, sizes.vidbatch_latency_rows, 2, *options), sizes.latency, sizes.repetitions),
        Entry(script(together, sizes.aiohttp_latency_rows, *at_once), sizes.latency, sizes.repetitions),
        Entry(script(HTTPX, sizes.httpx_latency_rows, "httpx_semaphore.py"), sizes.latency, sizes.slow_repetitions),
        Entry(celery(CELERY, sizes.celery_latency_rows, os.environ.get("PATH")), sizes.latency, sizes.slow_repetitions),
    ]
    alone = Entry(vidbatch(TWO, sizes.vidbatch_rows, 2), AT_ONCE, sizes.repetitions)
    run_interleaved(entries if zero_latency_ms is not None else [*entries, alone], folder)
    zero_latency_ms = zero_latency_ms if zero_latency_ms is not None else alone.median("cpu_ms_a_row")
    main = entries[0]
    cost, polls = main.median("cpu_ms_a_row"), main.figure("polls_a_row")
    most_open = min((float(one.books["max_open"]) for one in main.measurements), default=None)
    findings = [
        at_most("CPU a row by that at zero latency", 1.5, ratio(cost, zero_latency_ms), ".2f"),
        at_least("generations open at a time, least of all runs", REACHED * sizes.in_flight, most_open, ",.0f"),
        told("CPU a row, ms", "never" if cost is None else f"{cost:.3f}"),
        told("polls a row", "never" if polls is None else f"{polls:.2f}"),
        *(finding for entry in (*entries, alone) for finding in entry.findings()),
    ]
    shown = [*entries, *([alone] if alone.measurements else [])]
    table = compared(f"Latency {sizes.latency} (median, sigma)", shown, zero_latency_ms)
    return Section("latency", findings, [table])
