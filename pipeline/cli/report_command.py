"""`vidbatch report`."""

from pathlib import Path

import click

from pipeline.cli import options
from pipeline.cli.family import the_run
from pipeline.edges.export_files import free_file
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.places import Place


@click.command(name="report")
@click.argument("run_id", metavar="RUN")
@options.out
@click.option(
    "--to",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write it; runs/RUN/report.html of OUT where it is left out.",
)
@click.option("--force", is_flag=True, help="Replace what stands at --to.")
def command(run_id: str, out: Place, to: Path | None, force: bool) -> None:
    """Write the report of RUN: one HTML file that a person reads in a minute, and that loads nothing.

    A run that is not finished is told as far as it is on disk. A finished one has its report already; this makes it
    anew.
    """
    run = the_run(OutFolder(out), run_id)
    if to is not None:
        to = free_file(to, out, force=force)
    from pipeline.edges.report_page import write_report  # noqa: PLC0415 - nobody waits for it who named no run

    click.echo(write_report(run, to))
