"""The option by which answers that are not fit are asked for again."""

import click

from pipeline.core.policy import MOST_REPAIRS

repair = click.option(
    "--repair",
    "repairs",
    metavar="N",
    envvar="VIDBATCH_REPAIR",
    type=click.IntRange(0, MOST_REPAIRS),
    help="Ask up to N times again for an answer that is invalid, truncated or empty: with what was wrong with it, or "
    "with a larger max_tokens. Each is billed and stands in attempt_log; the best answer is kept. A run keeps its N "
    "until another is given; at first it is 0.",
)
