"""`vidbatch run`."""

import sys
from pathlib import Path
from typing import Any

import click

from pipeline.cli import options
from pipeline.cli.configuration import Configuration, api_key
from pipeline.cli.ending import end, report
from pipeline.cli.plan_text import plan_lines
from pipeline.cli.preparing import Prepared, Question, first_rejections, prepare
from pipeline.cli.running import Operation, carry_out
from pipeline.cli.screen import Screen
from pipeline.core.errors import SettingsError, UsageError
from pipeline.core.policy import Policy
from pipeline.core.polling import parse_schedule
from pipeline.edges.environment import process_environment
from pipeline.edges.out_folder import OutFolder


@click.command(name="run")
@options.manifests
@options.out
@options.question_options
@options.redis_url
@click.option(
    "--workers",
    envvar="VIDBATCH_WORKERS",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Submit and poll shifts at a time of the private worker.",
)
@click.option(
    "--poll",
    envvar="VIDBATCH_POLL",
    default="fixed:5s",
    show_default=True,
    help="When to ask whether an answer is ready: fixed:5s or steps:2s,5s,10s.",
)
@click.option("--yes", is_flag=True, help="Ask nothing before sending.")
@click.option("--detach", is_flag=True, help="Hand the run to the fleet and return at once; needs --redis.")
@options.json_output
@click.pass_obj
def command(
    configuration: Configuration,
    /,
    manifests: tuple[Path, ...],
    out: Path,
    as_json: bool,
    **given: Any,  # noqa: ANN401 - click's options
) -> None:
    """Annotate the rows of MANIFEST: plan, confirm, run. The same command again resumes."""
    if given["detach"] and not given["redis_url"]:
        raise SettingsError("--detach: needs --redis URL, since the private workers leave with this command")
    parse_schedule(given["poll"])
    question = Question(manifests, options.defaults_of(given), given["base_url"], given["limit"])
    prepared = prepare(question, OutFolder(out), prices=configuration.prices, strict=given["strict"], progress=None)
    sys.exit(_run(prepared, configuration, Screen(quiet=as_json), given, as_json=as_json))


def _run(
    prepared: Prepared, configuration: Configuration, screen: Screen, given: dict[str, Any], *, as_json: bool
) -> int:
    described = prepared.described
    if prepared.finished:
        screen.say(f"run {prepared.folder.run_id} of these requests is finished; nothing was sent")
        return report(prepared, screen, as_json=as_json)
    if prepared.folder.cancelled:
        screen.say(f"run {prepared.folder.run_id} was cancelled; collecting what it asked, nothing more is sent")
    elif prepared.resumed:
        screen.say(f"resuming run {prepared.folder.run_id}")
    else:
        rejections = first_rejections(prepared.folder, 5) if described["rejections"] else []
        for line in plan_lines(described, rejections, str(prepared.folder.path / "rejects.parquet")):
            screen.say(line)
    key = api_key(configuration, process_environment())
    if not prepared.resumed and not _confirm(described["requests"], yes=given["yes"]):
        screen.say("nothing was sent; the same command asks again")
        return 0
    operation = Operation(
        redis_url=given["redis_url"],
        workers=given["workers"],
        policy=Policy(poll=given["poll"]),
        detach=given["detach"],
        key=key,
        environment=process_environment(),
    )
    with screen:
        stop = carry_out(prepared, operation, screen)
    return end(stop, prepared, screen, as_json=as_json)


def _confirm(requests: int, *, yes: bool) -> bool:
    if yes or requests == 0:
        return True
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm; add --yes to send without asking")
    return click.confirm(f"Send {requests:,} requests, at your cost?", err=True)
