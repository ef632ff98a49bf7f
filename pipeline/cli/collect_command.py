"""`vidbatch collect`."""

import sys
from typing import Any

import click

from pipeline.cli import options
from pipeline.cli.configuration import Configuration, api_key
from pipeline.cli.deriving import Nothing, prepare_collection
from pipeline.cli.ending import end
from pipeline.cli.operation import Operation
from pipeline.cli.retry_command import say_nothing
from pipeline.cli.running import carry_out
from pipeline.cli.screen import Screen
from pipeline.core.policy import Policy
from pipeline.core.polling import parse_duration, parse_schedule
from pipeline.core.waiting import duration
from pipeline.edges.environment import process_environment
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.places import Place


@click.command(name="collect")
@click.argument("run_id", metavar="RUN")
@options.out
@click.option(
    "--wait",
    default="10m",
    show_default=True,
    help="How long to ask for an answer that is not ready, such as 90s or 10m; then its row ends as expired again.",
)
@options.redis_url
@options.workers
@options.poll
@options.json_output
@click.pass_obj
def command(configuration: Configuration, /, run_id: str, out: Place, **given: Any) -> None:  # noqa: ANN401 - click's options
    """Fetch answers of RUN that came too late for it, or were abandoned, by their ids; nothing is sent.

    They become a new run in the same dataset. The same command again resumes. It needs the key that paid for them.
    """
    parse_schedule(given["poll"])
    policy = collecting(given["poll"], parse_duration("--wait", given["wait"]))
    screen = Screen(quiet=given["as_json"])
    environment = process_environment()
    prepared = prepare_collection(OutFolder(out), run_id, lambda: api_key(configuration, environment))
    if isinstance(prepared, Nothing):
        say_nothing(prepared, screen, "no answer waits under a known id", as_json=given["as_json"])
        return
    screen.say(
        f"run {prepared.folder.run_id} collects {prepared.described['requests']:,} generations of {run_id}; nothing is "
        f"sent; what is not ready after {duration(policy.generation_deadline_s)} stays expired"
    )
    operation = Operation(
        redis_url=given["redis_url"],
        workers=given["workers"],
        policy=policy,
        detach=False,
        key=api_key(configuration, environment),
        environment=environment,
    )
    with screen:
        stop = carry_out(prepared, operation, screen)
    sys.exit(end(stop, prepared, screen, as_json=given["as_json"]))


def collecting(poll: str, wait_s: float) -> Policy:
    """The policy of a run that sends nothing: no second attempt, and no row is ever in doubt about being sent."""
    return Policy(poll=poll, on_unknown="hold", max_attempts=1, generation_deadline_s=wait_s)
