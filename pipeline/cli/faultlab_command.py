"""`vidbatch faultlab`."""

import asyncio
import sys
from dataclasses import asdict

import click
import orjson

from pipeline.faultlab.catalogue import FAULTS, chosen
from pipeline.faultlab.lab import Session, run_faults
from pipeline.faultlab.verdict import Finding

HEADINGS = ("fault", "rows", "lost", "doubled", "wrong row", "extra POSTs", "in flight", "recovery", "verdict")
WIDTHS = (32, 6, 4, 7, 9, 15, 9, 8, 7)


@click.command(name="faultlab")
@click.option("--rows", type=click.IntRange(min=100), default=2000, show_default=True, help="Rows of each run.")
@click.option("--seed", type=int, default=7, show_default=True, help="Chooses the moments, and the API's chance.")
@click.option("--only", multiple=True, metavar="NAME", help="A fault, or a family of faults; may be repeated.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Runs at a time.")
@click.option("--list", "only_list", is_flag=True, help="Show the faults and start nothing.")
@click.option("--keep", is_flag=True, help="Keep the folders of faults that passed, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a fault on stdout.")
def command(
    *, rows: int, seed: int, only: tuple[str, ...], jobs: int, only_list: bool, keep: bool, as_json: bool
) -> None:
    """Break real workers and a real Redis on purpose, against a simulated API, and show what each fault costs.

    Every fault has a run of its own, in its middle. Nothing may be lost, doubled or under another row; a POST too many
    is bounded and owned up to. Exit code 1 when a fault fails.
    """
    faults = chosen(only)
    if only_list:
        for fault in faults:
            click.echo(f"{fault.family:8} {fault.name:30} {fault.meaning}")
        return
    if not as_json:
        click.echo(_line(HEADINGS))
    try:
        findings = asyncio.run(
            run_faults(faults, Session(rows, seed, jobs, keep), lambda finding: _tell(finding, as_json=as_json))
        )
    except asyncio.CancelledError:
        raise click.Abort from None
    failed = sum(not finding.passed for finding in findings)
    if not as_json:
        click.echo(f"{len(findings)} faults, {failed} failed (of {len(FAULTS)} known; seed {seed})")
    sys.exit(1 if failed else 0)


def _tell(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps({**asdict(finding), "passed": finding.passed}))
        return
    click.echo(finding_line(finding))
    for reason in finding.reasons:
        click.echo(f"    {reason}")
    if finding.kept_in:
        click.echo(f"    logs: {finding.kept_in}")


def finding_line(finding: Finding) -> str:
    """One fault in one line: counts of rows, POSTs too many and how many are allowed, seconds to recover, verdict."""
    recovery = "-" if finding.recovery_s is None else f"{finding.recovery_s:.1f} s"
    cells = (
        finding.fault,
        str(finding.rows),
        str(finding.lost),
        str(finding.duplicated),
        str(finding.wrong_row),
        f"{finding.extra_posts} (≤ {finding.allowed})",
        str(finding.in_flight),
        recovery,
        "ok" if finding.passed else "FAILED",
    )
    return _line(cells)


def _line(cells: tuple[str, ...]) -> str:
    """The name to the left, the figures to the right of their columns."""
    first, *rest = cells
    aligned = (f"{cell:>{width}}" for cell, width in zip(rest, WIDTHS[1:], strict=True))
    return "  ".join([f"{first:{WIDTHS[0]}}", *aligned])
