"""How a process that serves for long writes its log."""

import click

from pipeline.core.log_events import FORMATS, LEVELS

form = click.option(
    "--log-format",
    envvar="VIDBATCH_LOG_FORMAT",
    type=click.Choice(FORMATS, case_sensitive=False),
    default="text",
    show_default=True,
    help="Lines for people, or one JSON object a line; docs/logs.md lists their events.",
)

level = click.option(
    "--log-level",
    envvar="VIDBATCH_LOG_LEVEL",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="info",
    show_default=True,
    help="Of vidbatch's own lines: debug tells every step of every row. Libraries are heard from warning on.",
)
