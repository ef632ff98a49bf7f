"""`vidbatch run`."""

import sys
from pathlib import Path
from typing import Any

import click

from pipeline.cli import options
from pipeline.cli.configuration import Configuration, api_key
from pipeline.cli.confirming import confirm
from pipeline.cli.ending import end, report
from pipeline.cli.plan_text import plan_lines
from pipeline.cli.preparing import Prepared, Question, first_rejections, prepare
from pipeline.cli.running import Operation, carry_out
from pipeline.cli.screen import Screen
from pipeline.core.policy import Policy
from pipeline.edges.environment import process_environment
from pipeline.edges.out_folder import OutFolder


@click.command(name="run")
@options.manifests
@options.out
@options.question_options
@options.sending_options
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
    options.check_sending(given)
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
    if not prepared.resumed and not confirm(described["requests"], yes=given["yes"]):
        screen.say("nothing was sent; the same command asks again")
        return 0
    operation = Operation(
        redis_url=given["redis_url"],
        workers=given["workers"],
        policy=Policy(poll=given["poll"], on_unknown=given["on_unknown"]),
        detach=given["detach"],
        key=key,
        environment=process_environment(),
    )
    with screen:
        stop = carry_out(prepared, operation, screen)
    return end(stop, prepared, screen, as_json=as_json)
