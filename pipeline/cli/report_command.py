"""`vidbatch report`."""

from pathlib import Path

import click

from pipeline.cli import options
from pipeline.cli.family import the_run
from pipeline.edges.out_folder import OutFolder


@click.command(name="report")
@click.argument("run_id", metavar="RUN")
@options.out
@click.option(
    "--to",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write it; runs/RUN/report.html of OUT where it is left out.",
)
def command(run_id: str, out: Path, to: Path | None) -> None:
    """Write the report of RUN: one HTML file that a person reads in a minute, and that loads nothing.

    A run that is not finished is told as far as it is on disk. A finished one has its report already; this makes it
    anew.
    """
    run = the_run(OutFolder(out), run_id)
    from pipeline.edges.report_page import write_report  # noqa: PLC0415 - nobody waits for it who named no run

    click.echo(write_report(run, to))
