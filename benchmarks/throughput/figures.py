"""Figures and their tables: medians with their spread, and markdown that reads as it stands."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.pacing_real.findings import Finding


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of some measurements, with the lowest and the highest."""

    median: float
    low: float
    high: float

    def __format__(self, form: str) -> str:
        middle = f"{self.median:{form}}"
        if f"{self.low:{form}}" == f"{self.high:{form}}":
            return middle
        return f"{middle} ({self.low:{form}}..{self.high:{form}})"


def figure(values: Iterable[float]) -> Figure:
    """What some measurements come to; at least one."""
    found = sorted(values)
    return Figure(statistics.median(found), found[0], found[-1])


@dataclass(frozen=True, slots=True)
class Table:
    """One table with what is to be said of it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """What one part of the bench found: its bars and its tables."""

    title: str
    findings: Sequence[Finding]
    tables: Sequence[Table]


def markdown(table: Table) -> str:
    """The table, its columns as wide as what stands in them, with its title above and its notes below."""
    rows = [[_cell(text) for text in row] for row in (table.columns, *table.rows)]
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(table.columns))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    notes = [f"- {note}" for note in table.notes]
    return "\n".join([f"### {table.title}", "", *lines, *([""] if notes else []), *notes, ""])


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def bars(sections: Iterable[Section]) -> Table:
    """Every bar of these parts, and every figure that they tell without one."""
    rows = [
        (section.title, one.name, one.bar or "-", one.found, one.verdict)
        for section in sections
        for one in section.findings
    ]
    return Table("Bars", ("part", "figure", "bar", "found", "holds"), rows)


HEAD = "# Results of `make bench`\n\nEach part tells what it was measured on: parts may be measured alone, and anew.\n"
PART = "\n## "


def joined(before: str, found: Mapping[str, str], order: Sequence[str]) -> str:
    """A page with what was found of each part; what it had before of other parts stays."""
    kept = dict(block.split("\n", 1) for block in before.split(PART)[1:])
    blocks = {name: text.strip() for name, text in (kept | dict(found)).items()}
    return HEAD + "".join(f"{PART}{name}\n\n{blocks[name]}\n" for name in order if name in blocks)


def hold(sections: Iterable[Section]) -> bool:
    """Whether no bar was missed and nothing broke off."""
    return all(one.holds is not False for section in sections for one in section.findings)
