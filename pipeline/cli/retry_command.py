"""`vidbatch retry`."""

import sys
from collections.abc import Mapping
from typing import Any

import click
import orjson

from pipeline.cli import options
from pipeline.cli.configuration import Configuration
from pipeline.cli.deriving import Nothing, prepare_retry
from pipeline.cli.ending import remains_lines
from pipeline.cli.estimating import of_models
from pipeline.cli.plan_text import counts_lines, plan_lines, promise_lines
from pipeline.cli.preparing import Prepared
from pipeline.cli.screen import Screen
from pipeline.cli.sending import send
from pipeline.core.answering import AnswerStatus
from pipeline.core.estimates import Lengths
from pipeline.core.lifecycle import Outcome
from pipeline.core.standing import ASKABLE, DEFAULT_OUTCOMES, RETRIABLE, Selection
from pipeline.edges.clock import local_now
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.places import Place

SAME_CAP = "the same max_tokens cut these answers: add --repair 1, which raises it"


@click.command(name="retry")
@click.argument("run_id", metavar="RUN")
@options.out
@click.option(
    "--outcome",
    "outcomes",
    multiple=True,
    type=click.Choice([outcome.value for outcome in RETRIABLE]),
    help="Which rows, by how they ended; failed and cancelled ones where it is left out. Expired rows have an id that "
    "`vidbatch collect` fetches without paying again: try that first.",
)
@click.option(
    "--answer",
    "answers",
    multiple=True,
    type=click.Choice([status.value for status in ASKABLE]),
    help="Completed rows whose answer_status is this. Without --outcome and --unknown only those.",
)
@click.option("--code", "codes", multiple=True, help="Of rows that did not complete, only those with this error_code.")
@click.option(
    "--unknown", is_flag=True, help="Also rows that may have been billed without an answer: they may be billed again."
)
@options.sending_options
@options.json_output
@click.pass_obj
def command(configuration: Configuration, /, run_id: str, out: Place, **given: Any) -> None:  # noqa: ANN401 - click's options
    """Ask rows of RUN again that did not complete, or whose answer is of no use, as a new run into the same dataset.

    Rows that a later retry completed are not asked again. While the retry is not finished, the same command again
    resumes it; after that, it asks for what is still left as a new run.
    """
    options.check_sending(given)
    screen = Screen(quiet=given["as_json"])
    prepared = prepare_retry(OutFolder(out), run_id, _selection(given))
    if isinstance(prepared, Nothing):
        say_nothing(prepared, screen, "no row of it is asked again", as_json=given["as_json"])
        return
    sys.exit(_retry(prepared, run_id, configuration, screen, given))


def _selection(given: Mapping[str, Any]) -> Selection:
    """The rows that were named; those that failed or were cancelled where none were."""
    named = {Outcome(name) for name in given["outcomes"]}
    outcomes = named or set(() if given["answers"] else DEFAULT_OUTCOMES)
    outcomes |= {Outcome.UNKNOWN} if given["unknown"] else set()
    return Selection(frozenset(outcomes), frozenset(given["codes"]), frozenset(given["answers"]))


def say_nothing(nothing: Nothing, screen: Screen, told: str, *, as_json: bool) -> None:
    """Tell that there is nothing to do, and what is left of the run all the same."""
    left = nothing.remains
    screen.say(f"run {nothing.run.run_id}: {told}; nothing was sent")
    for line in (*counts_lines(left.counts), *remains_lines(left, nothing.run)):
        screen.say(line)
    if as_json:
        counts = [{"outcome": outcome, "code": code, "rows": rows} for (outcome, code), rows in left.counts.items()]
        told_all = {"run_id": None, "of": nothing.run.run_id, "requests": 0, "not_completed": counts}
        click.echo(orjson.dumps({**told_all, "unfit_answers": dict(left.unfit)}))


def _retry(prepared: Prepared, run_id: str, configuration: Configuration, screen: Screen, given: dict[str, Any]) -> int:
    named = f"run {prepared.folder.run_id}, which asks rows of {run_id} again"
    if prepared.folder.cancelled:
        screen.say(f"{named}, was cancelled; collecting what it asked, nothing more is sent")
    else:
        screen.say(f"resuming {named}" if prepared.resumed else named)
        if AnswerStatus.TRUNCATED in given["answers"] and not given["repairs"]:
            screen.say(SAME_CAP)
    if not prepared.resumed:
        described = {**prepared.described, "estimate": _estimate(prepared)}
        for line in (*plan_lines(described, [], ""), *promise_lines(given, described, local_now())):
            screen.say(line)
    return send(prepared, configuration, screen, given, as_json=given["as_json"])


def _estimate(prepared: Prepared) -> dict[str, Any]:
    """What the rows will take, by what others of the dataset took: these are asked the same."""
    described, out = prepared.described, prepared.folder.out
    return of_models(described["models"], Lengths(), 0.0, described["prices"], out)
