"""Measure what the README says: CPU, rows a second and memory, against scripts that people would write themselves.

python -m benchmarks.throughput [--only PART ...] [--quick] [--results FILE]
"""

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

from benchmarks.pacing_real.findings import Finding
from benchmarks.pacing_real.simulators import Lateness
from benchmarks.throughput.figures import Section, bars, hold, joined, markdown
from benchmarks.throughput.latency import latency
from benchmarks.throughput.machine import facts
from benchmarks.throughput.measuring import ROOT
from benchmarks.throughput.overhead import overhead
from benchmarks.throughput.plans import plans
from benchmarks.throughput.resume import resume
from benchmarks.throughput.rounds import manifests, say
from benchmarks.throughput.scale import scale
from benchmarks.throughput.sizes import QUICK, Sizes
from benchmarks.throughput.startup import startup

RESULTS = ROOT / "benchmarks" / "RESULTS.md"


@dataclass(slots=True)
class Bench:
    """What the parts share: sizes, manifests, and what a row costs at zero latency once it is known."""

    sizes: Sizes
    folder: Path
    zero_latency_ms: float | None = field(default=None)

    def overhead(self) -> Section:
        """Zero latency, everybody."""
        section, self.zero_latency_ms = overhead(self.sizes, self.folder)
        return section

    def latency(self) -> Section:
        """Thousands in flight."""
        return latency(self.sizes, self.folder, self.zero_latency_ms)

    def startup(self) -> Section:
        """The help and the first POST."""
        return startup(self.sizes, self.folder)

    def plan(self) -> Section:
        """Rows a second of a plan."""
        return plans(self.sizes, self.folder)

    def scale(self) -> Section:
        """Up to a million rows."""
        return scale(self.sizes, self.folder)

    def resume(self) -> Section:
        """A large run that was killed."""
        return resume(self.sizes, self.folder)


PARTS: dict[str, Callable[[Bench], Section]] = {
    "startup": Bench.startup,
    "plan": Bench.plan,
    "overhead": Bench.overhead,
    "latency": Bench.latency,
    "scale": Bench.scale,
    "resume": Bench.resume,
}


def played(name: str, bench: Bench) -> Section:
    """What a part found; one that broke off found that."""
    say(f"{name} begins")
    began = time.monotonic()
    try:
        section = PARTS[name](bench)
    except Exception as trouble:  # noqa: BLE001 - what the other parts found in an hour must not be lost with this one
        if not isinstance(trouble, Lateness):
            traceback.print_exc()
        section = Section(name, [Finding("broken off", "never", repr(trouble), holds=False)], [])
    say(f"{name} took {(time.monotonic() - began) / 60:.1f} minutes")
    return section


def told(section: Section, sizes: Sizes) -> str:
    """What one part found, on what, in markdown."""
    lines = [f"- {name}: {fact}" for name, fact in facts(ROOT)]
    usual = Sizes()
    changed = [one.name for one in fields(Sizes) if getattr(sizes, one.name) != getattr(usual, one.name)]
    if changed:
        shown = ", ".join(f"{name} {getattr(sizes, name)}" for name in changed)
        lines.append(f"- NOT THE USUAL SIZES, so what holds means little: {shown}")
    return "\n".join([*lines, "", *map(markdown, (bars([section]), *section.tables))])


def written(path: Path | None, found: Mapping[str, str]) -> str:
    """What these parts found, with what the file has of other parts; written there, if there is one."""
    before = path.read_text(encoding="utf-8") if path is not None and path.exists() else ""
    text = joined(before, found, list(PARTS))
    if path is not None:
        path.write_text(text, encoding="utf-8")
    return text


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """End like Ctrl-C does, so that whatever was started is ended first."""
    raise KeyboardInterrupt


def main(words: Sequence[str]) -> int:
    """Run the parts, print the tables and write them; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", action="append", choices=list(PARTS), help="this part alone; may be repeated")
    parser.add_argument("--quick", action="store_true", help="everything once and small; the figures mean nothing")
    parser.add_argument("--results", type=Path, help="where to write, part by part; else benchmarks/RESULTS.md")
    for one in fields(Sizes):
        many = {"nargs": "+", "type": int} if one.name == "scales" else {"type": one.type}
        parser.add_argument(f"--{one.name.replace('_', '-')}", help="rows, runs or the like", **many)
    given = parser.parse_args(words)
    signal.signal(signal.SIGTERM, _leave)
    changes = {one.name: getattr(given, one.name) for one in fields(Sizes)}
    if changes["scales"]:
        changes["scales"] = tuple(sorted(changes["scales"]))
    sizes = replace(QUICK if given.quick else Sizes(), **{name: it for name, it in changes.items() if it is not None})
    path = given.results or (RESULTS if sizes == Sizes() else None)
    with manifests() as folder:
        bench = Bench(sizes, folder)
        sections: list[Section] = []
        found: dict[str, str] = {}
        for name in given.only or PARTS:
            sections.append(played(name, bench))
            found[name] = told(sections[-1], sizes)
            written(path, found)  # after each part, so that a bench that is ended early leaves what it found
    print(written(None, found), flush=True)
    return 0 if hold(sections) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
