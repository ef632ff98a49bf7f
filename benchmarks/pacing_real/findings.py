"""What a scenario found, as a table: name, bar, found, whether it holds."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line; `holds` is None for a figure without a bar."""

    name: str
    bar: str
    found: str
    holds: bool | None = None

    @property
    def verdict(self) -> str:
        """In a word."""
        return {True: "yes", False: "NO", None: "-"}[self.holds]


def at_least(name: str, bar: float, found: float | None, form: str = ".1%") -> Finding:
    """A figure that should be no lower."""
    return Finding(name, f">= {bar:{form}}", _shown(found, form), found is not None and found >= bar)


def at_most(name: str, bar: float, found: float | None, form: str = ".1f") -> Finding:
    """A figure that should be no higher; one that is missing is too high."""
    return Finding(name, f"<= {bar:{form}}", _shown(found, form), found is not None and found <= bar)


def told(name: str, found: str) -> Finding:
    """A figure without a bar."""
    return Finding(name, "", found)


def _shown(found: float | None, form: str) -> str:
    return "never" if found is None else f"{found:{form}}"


def table(title: str, findings: Iterable[Finding]) -> str:
    """The findings of one scenario, in columns."""
    rows = [("", "bar", "found", "holds"), *((one.name, one.bar, one.found, one.verdict) for one in findings)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([title, *(f"  {line}" for line in lines), ""])
