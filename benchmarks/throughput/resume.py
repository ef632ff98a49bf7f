"""How soon a large run that was killed near its end sends again, with its server's data and without."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import orjson

from benchmarks.pacing_real.findings import at_most, told
from benchmarks.pacing_real.simulators import Lateness, Simulator, eventually
from benchmarks.throughput.candidates import Candidate, Place, vidbatch
from benchmarks.throughput.figures import Section, Table
from benchmarks.throughput.measuring import WITHIN_S, Measured, scene
from benchmarks.throughput.overhead import AT_ONCE
from benchmarks.throughput.reports import Report
from benchmarks.throughput.rounds import manifest_of, say
from benchmarks.throughput.sizes import Sizes

WITHIN_BAR_S = 20.0
AGAIN_WITHIN_S = 300.0


@dataclass(frozen=True, slots=True)
class Resumed:
    """One resumption: rows done before, the time to its first POST, its cost, and possible duplicates."""

    name: str
    done: int
    first_post_s: float
    report: Report
    flagged: int = 0


def resume(sizes: Sizes, folder: Path) -> Section:
    """Kill everything of the largest run at once near its end, then begin again, twice from the same state."""
    rows = max(sizes.scales)
    candidate = vidbatch("resumed", rows, 2, "--max-in-flight", sizes.in_flight_before_resume)
    with scene(manifest_of(folder, rows), latency=AT_ONCE) as (simulator, place):
        done = broken(candidate, place, simulator, round(sizes.done_before_resume * rows))
        kept = _copied(place)
        found = [again("with the server's data", candidate, place, simulator, done, to_its_end=False)]
        _put_back(kept, place)
        shutil.rmtree(place.state / "data")
        found.append(again("from the disk alone", candidate, place, simulator, done, to_its_end=True))
    findings = [
        at_most(f"first POST after {one.done:,} of {rows:,} rows, {one.name}, s", WITHIN_BAR_S, one.first_post_s)
        for one in found
    ]
    findings.append(told("rows sent once more from the disk alone, flagged", f"{found[-1].flagged:,}"))
    return Section("resume", findings, [_table(rows, sizes.in_flight_before_resume, found)])


def broken(candidate: Candidate, place: Place, simulator: Simulator, rows: int) -> int:
    """Run until so many rows were answered, then kill it as a power failure would; how many were, by then."""
    with Measured(candidate.words(place), place) as running:
        _until(simulator, running, place, rows, "polls", WITHIN_S)
        running.kill_all()
    books = simulator.summary()
    say(f"killed with {books['posts_accepted']:,} rows sent, {books['polls']:,} of them answered")
    if books["posts_accepted"] >= candidate.rows:
        raise Lateness("every row was sent before it was killed: nothing was left to send")
    return int(books["polls"])


def again(
    name: str, candidate: Candidate, place: Place, simulator: Simulator, done: int, *, to_its_end: bool
) -> Resumed:
    """The same command once more: when its first POST came; then to its end, or killed again."""
    before = int(simulator.summary()["posts_received"])
    with Measured(candidate.words(place), place) as running:
        _until(simulator, running, place, before + 1, "posts", AGAIN_WITHIN_S)
        report = running.report() if to_its_end else running.kill_all()
    first = simulator.arrival(before)
    if first is None or (to_its_end and (report.code != 0 or candidate.completed(place) != candidate.rows)):
        raise Lateness(f"resumed {name} it ended with {report.code}; it said:\n{_said(place)}")
    first_post_s = first.at - report.started_at
    say(f"resumed {name}: first POST after {first_post_s:.1f} s")
    return Resumed(name, done, first_post_s, report, _flagged(place) if to_its_end else 0)


def _flagged(place: Place) -> int:
    markers = [orjson.loads(path.read_bytes()) for path in (place.out / "runs").glob("*/done.json")]
    return sum(int(marker["possible_duplicates"]) for marker in markers)


def _until(simulator: Simulator, running: Measured, place: Place, count: int, kind: str, within_s: float) -> None:
    def arrived() -> bool:
        if running.ended:
            raise Lateness(f"it ended before {count:,} {kind} came; it said:\n{_said(place)}")
        return simulator.arrival(count - 1, kind) is not None

    eventually(arrived, f"{count:,} {kind}", within_s)


def _said(place: Place) -> str:
    return place.log.read_text(encoding="utf-8", errors="replace")[-2000:]


def _copied(place: Place) -> Path:
    """Everything of the run, kept beside it; a socket is no data."""
    kept = place.folder / "kept"
    for path in (place.out, place.state):
        shutil.copytree(path, kept / path.name, ignore=lambda _folder, names: {"s"} & set(names))
    return kept


def _put_back(kept: Path, place: Place) -> None:
    for path in (place.out, place.state):
        shutil.rmtree(path)
        shutil.move(kept / path.name, path)
    place.state.chmod(0o700)


def _table(rows: int, in_flight: int, found: list[Resumed]) -> Table:
    columns = ("", "rows done", "of", "first POST after s", "command MB", "worker MB", "worker child MB", "redis MB")
    lines = []
    for one in found:
        peaks = one.report.peaks_mb
        shown = [
            f"{peaks[role]:.0f}" if role in peaks else "-" for role in ("command", "worker", "worker child", "redis")
        ]
        lines.append((one.name, f"{one.done:,}", f"{rows:,}", f"{one.first_post_s:.1f}", *shown))
    notes = (
        "All processes of the run, its server included, are killed at once (SIGKILL); the same command follows.",
        f"At most {in_flight:,} generations in flight, so that rows are left that were never sent.",
        "Time: from its start to the arrival of its first POST. Both resumptions begin from copies of the same files.",
        "from the disk alone: without what the server had kept; that run is led to its end, the other is killed again.",
    )
    return Table("Resume", columns, lines, notes)
