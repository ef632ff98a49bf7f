"""What a row costs where the API answers at once: nothing but the programs themselves."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.pacing_real.findings import Finding, at_least, at_most
from benchmarks.throughput.candidates import celery, script, vidbatch
from benchmarks.throughput.figures import Section, Table
from benchmarks.throughput.rounds import Entry, ratio, run_interleaved
from benchmarks.throughput.sizes import Sizes

AT_ONCE = "0s"
ONE, TWO = "vidbatch run, 1 worker", "vidbatch run, 2 workers"
HTTPX, AIOHTTP = "asyncio + httpx, semaphore of 64", "asyncio + aiohttp, 64 at once"
UVLOOP = "asyncio + aiohttp + uvloop"
CELERY, CELERY_AT_ONCE = "Celery, a task a row, self.retry", "the same, polling in the POST's task"


def entries_of(sizes: Sizes) -> dict[str, Entry]:
    """Who runs, by name."""
    candidates = [
        vidbatch(ONE, sizes.vidbatch_rows, 1),
        vidbatch(TWO, sizes.vidbatch_rows, 2),
        script(HTTPX, sizes.httpx_rows, "httpx_semaphore.py"),
        script(AIOHTTP, sizes.aiohttp_rows, "aiohttp_plain.py"),
        script(UVLOOP, sizes.aiohttp_rows, "aiohttp_plain.py", "--uvloop"),
        celery(CELERY, sizes.celery_rows, os.environ.get("PATH")),
        celery(CELERY_AT_ONCE, sizes.celery_rows, os.environ.get("PATH"), "--at-once"),
    ]
    return {one.name: Entry(one, AT_ONCE, sizes.repetitions) for one in candidates}


def overhead(sizes: Sizes, folder: Path) -> tuple[Section, float | None]:
    """Run everybody at zero latency; the section, and what a row costs with two workers, for the latency part."""
    entries = entries_of(sizes)
    run_interleaved(list(entries.values()), folder)
    cost = {name: entry.median("cpu_ms_a_row") for name, entry in entries.items()}
    findings = [found for name in (ONE, TWO) for found in judged(name, cost, entries[name])]
    findings += [finding for entry in entries.values() for finding in entry.findings()]
    table = compared("Zero latency", list(entries.values()), cost[TWO])
    return Section("overhead", findings, [table]), cost[TWO]


def judged(name: str, cost: Mapping[str, float | None], entry: Entry) -> list[Finding]:
    """The bars of one of ours."""
    workers = name.rpartition(", ")[2]
    return [
        at_most(f"CPU a row, {workers}, ms", 0.7, cost[name], ".3f"),
        at_least(f"CPU of asyncio + httpx by that of {workers}", 10.0, ratio(cost[HTTPX], cost[name]), ".1f"),
        at_least(f"CPU of Celery by that of {workers}", 10.0, ratio(cost[CELERY], cost[name]), ".1f"),
        at_most(f"CPU of {workers} by that of asyncio + aiohttp", 2.5, ratio(cost[name], cost[AIOHTTP]), ".2f"),
        at_least(f"rows/s, {workers}, whole command", 1500.0, entry.median("rows_a_second"), ",.0f"),
    ]


def compared(title: str, entries: Sequence[Entry], reference: float | None) -> Table:
    """Candidates side by side; the CPU of each by that of the reference."""
    columns = ("", "rows", "runs", "CPU ms a row", "times", "rows/s", "while sending", "polls a row", "most open")
    columns += ("largest process MB", "simulator CPU ms a row")
    return Table(title, columns, [_line(entry, reference) for entry in entries], NOTES)


NOTES = (
    (
        "The baselines are in benchmarks/baselines/. The scripts poll at once after the POST, then after 1, 2, 5 s; "
        "Celery polls by `self.retry` after as long, and in a variant without a bar at once in the task of the POST."
    ),
    (
        "CPU: user + system time of all processes of the candidate, its Redis server, workers, producer and start-up "
        "included, as the kernel told it to whoever reaped them; the simulator's stands beside it and is not in it."
    ),
    "times: CPU by that of `vidbatch run` with 2 workers at zero latency. Medians; lowest and highest in brackets.",
    "rows/s: rows by the wall time of the whole command; while sending: from the first POST to the last poll.",
    "most open: generations that were open at the simulator at a time. largest process: its peak resident memory.",
)


def _line(entry: Entry, reference: float | None) -> list[str]:
    if not entry.measurements:
        return [entry.name, f"{entry.candidate.rows:,}", "0", *["-"] * 8]
    largest = max(max(one.report.peaks_mb.values()) for one in entry.measurements)
    simulator = [1e3 * one.simulator_cpu_s / one.rows for one in entry.measurements]
    times = ratio(entry.median("cpu_ms_a_row"), reference)
    return [
        entry.name,
        f"{entry.candidate.rows:,}",
        str(len(entry.measurements)),
        f"{entry.figure('cpu_ms_a_row'):.3f}",
        "-" if times is None else f"{times:.2f}",
        f"{entry.figure('rows_a_second'):,.0f}",
        f"{entry.figure('rows_a_second_sending'):,.0f}",
        f"{entry.figure('polls_a_row'):.2f}",
        f"{max(one.books['max_open'] for one in entry.measurements):,}",
        f"{largest:.0f}",
        f"{sorted(simulator)[len(simulator) // 2]:.3f}",
    ]
