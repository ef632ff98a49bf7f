"""Measure what the README says: CPU, rows a second and memory, against scripts that people would write themselves.

python -m benchmarks.throughput [--only PART ...] [--quick] [--results FILE]
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

from benchmarks.pacing_real.findings import Finding
from benchmarks.pacing_real.simulators import Lateness
from benchmarks.throughput.figures import Section, bars, hold, markdown
from benchmarks.throughput.machine import facts
from benchmarks.throughput.measuring import ROOT
from benchmarks.throughput.overhead import overhead
from benchmarks.throughput.rounds import manifests, say
from benchmarks.throughput.sizes import QUICK, Sizes

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


PARTS: dict[str, Callable[[Bench], Section]] = {
    "overhead": Bench.overhead,
}


def played(name: str, bench: Bench) -> Section:
    """What a part found; one that broke off found that."""
    say(f"{name} begins")
    began = time.monotonic()
    try:
        section = PARTS[name](bench)
    except Lateness as late:
        section = Section(name, [Finding("broken off", "never", str(late), holds=False)], [])
    say(f"{name} took {(time.monotonic() - began) / 60:.1f} minutes")
    return section


def told(sections: Sequence[Section]) -> str:
    """All of it, in markdown."""
    lines = ["# Results of `make bench`", "", "Written by `python -m benchmarks.throughput`.", ""]
    lines += [f"- {name}: {fact}" for name, fact in facts(ROOT)]
    tables = [bars(sections), *(table for section in sections for table in section.tables)]
    return "\n".join([*lines, "", *map(markdown, tables)])


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """End like Ctrl-C does, so that whatever was started is ended first."""
    raise KeyboardInterrupt


def main(words: Sequence[str]) -> int:
    """Run the parts, print the tables and write them; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", action="append", choices=list(PARTS), help="this part alone; may be repeated")
    parser.add_argument("--quick", action="store_true", help="everything once and small; the figures mean nothing")
    parser.add_argument("--results", type=Path, help="where to write; a whole run writes benchmarks/RESULTS.md")
    for one in fields(Sizes):
        if one.type in (int, float, str):
            parser.add_argument(f"--{one.name.replace('_', '-')}", type=one.type)
    given = parser.parse_args(words)
    signal.signal(signal.SIGTERM, _leave)
    changes = {one.name: getattr(given, one.name, None) for one in fields(Sizes)}
    sizes = replace(QUICK if given.quick else Sizes(), **{name: it for name, it in changes.items() if it is not None})
    with manifests() as folder:
        bench = Bench(sizes, folder)
        sections = [played(name, bench) for name in given.only or PARTS]
    text = told(sections)
    print(text, flush=True)
    path = given.results or (None if given.only or given.quick else RESULTS)
    if path is not None:
        path.write_text(text, encoding="utf-8")
    return 0 if hold(sections) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
