"""`vidbatch run`."""

import sys
from pathlib import Path
from typing import Any

import click
import orjson

from pipeline.cli import options
from pipeline.cli.configuration import Configuration, api_key
from pipeline.cli.plan_text import plan_lines, summary_lines
from pipeline.cli.preparing import Prepared, Question, first_rejections, prepare
from pipeline.cli.running import Operation, carry_out
from pipeline.cli.screen import Screen
from pipeline.cli.watching import Stop, Stopped
from pipeline.core.errors import SettingsError, UsageError
from pipeline.core.policy import Policy
from pipeline.core.polling import parse_schedule
from pipeline.core.summary import all_completed, summary_of
from pipeline.edges.environment import process_environment
from pipeline.edges.out_folder import OutFolder

EXIT = {Stopped.INTERRUPTED: 130, Stopped.PAUSED: 4, Stopped.STORAGE: 5}


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
    with Screen(quiet=as_json) as screen:
        prepared = prepare(question, OutFolder(out), prices=configuration.prices, strict=given["strict"], progress=None)
        code = _run(prepared, configuration, screen, given, as_json=as_json)
    sys.exit(code)


def _run(
    prepared: Prepared, configuration: Configuration, screen: Screen, given: dict[str, Any], *, as_json: bool
) -> int:
    described = prepared.described
    if prepared.finished:
        screen.say(f"run {prepared.folder.run_id} of this manifest is finished; nothing was sent")
        return _report(prepared, screen, as_json=as_json)
    if prepared.resumed:
        screen.say(f"resuming run {prepared.folder.run_id}")
    else:
        rejections = first_rejections(prepared.folder, 5) if described["rejections"] else []
        for line in plan_lines(described, rejections, str(prepared.folder.path / "rejects.parquet")):
            screen.say(line)
        if not _confirm(described["requests"], yes=given["yes"]):
            screen.say("nothing was sent; the same command asks again")
            return 0
    operation = Operation(
        redis_url=given["redis_url"],
        workers=given["workers"],
        policy=Policy(poll=given["poll"]),
        detach=given["detach"],
        key=api_key(configuration, process_environment()),
        environment=process_environment(),
    )
    with screen:
        stop = carry_out(prepared, operation, screen)
    return _end(stop, prepared, screen, as_json=as_json)


def _confirm(requests: int, *, yes: bool) -> bool:
    if yes or requests == 0:
        return True
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm; add --yes to send without asking")
    return click.confirm(f"Send {requests:,} requests, at your cost?", err=True)


def _end(stop: Stop, prepared: Prepared, screen: Screen, *, as_json: bool) -> int:
    if stop.why is Stopped.LEFT:
        told = "is with the fleet" if stop.reason == "detached" else "goes on"
        screen.say(f"run {prepared.folder.run_id} {told}; look at it with `vidbatch status {prepared.folder.run_id}`")
        return 0
    if stop.why is Stopped.FINISHED:
        return _report(prepared, screen, as_json=as_json)
    run = stop.run
    again = "run the same command again to go on"
    match stop.why:
        case Stopped.INTERRUPTED:
            screen.say(f"interrupted{': ' + stop.reason if stop.reason else ''}; {again}")
        case Stopped.PAUSED:
            screen.say(f"paused: {stop.reason}")
            screen.say(f"no row failed for it; when the cause is gone, {again}")
        case _:
            screen.say(f"stopped by the disk: {stop.reason}; when there is room, {again}")
    if as_json and run is not None:
        content = {**summary_of(run), "stopped": stop.why.value, "reason": stop.reason}
        click.echo(orjson.dumps(content))
    return EXIT[stop.why]


def _report(prepared: Prepared, screen: Screen, *, as_json: bool) -> int:
    summary = prepared.folder.summary() or {}
    described = prepared.described
    if as_json:
        click.echo(orjson.dumps({**summary, "rows": described["rows"], "rejections": described["rejections"]}))
    else:
        for line in summary_lines(described, summary, str(prepared.folder.out)):
            screen.say(line)
    return 0 if all_completed(summary["outcomes"]) and not described["rejections"] else 1
