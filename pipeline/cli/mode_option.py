"""The option that says how answers come."""

import click

from pipeline.core.policy import MODES

mode = click.option(
    "--mode",
    envvar="VIDBATCH_MODE",
    type=click.Choice(MODES),
    help="How answers come [default: async; with --api openai: sync]. async asks for each until it is there. stream "
    "follows it while it is written, and keeps what a model thought. sync and sync-stream get it on the request "
    "itself: where that connection breaks, nobody knows whether the row was billed.",
)
