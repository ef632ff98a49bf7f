"""`vidbatch cancel`."""

import sys
from pathlib import Path

import click

from pipeline.cli import options
from pipeline.cli.configuration import Configuration, api_key
from pipeline.cli.ending import end
from pipeline.cli.preparing import found
from pipeline.cli.running import Operation, carry_out
from pipeline.cli.screen import Screen
from pipeline.cli.watching import Stopped
from pipeline.core.errors import UsageError
from pipeline.core.policy import Policy
from pipeline.edges.environment import process_environment
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.run_folder import LocalRunFolder


@click.command(name="cancel")
@click.argument("run_id", metavar="RUN")
@options.out
@options.redis_url
@options.json_output
@click.pass_obj
def command(configuration: Configuration, run_id: str, out: Path, redis_url: str | None, as_json: bool) -> None:
    """End RUN without sending more: what was paid for is collected, the other rows become cancelled.

    OUT is free for another run afterwards.
    """
    folder = _the_run(OutFolder(out), run_id)
    screen = Screen(quiet=as_json)
    if folder.summary() is not None:
        screen.say(f"run {run_id} is finished; there is nothing to cancel")
        return
    if not folder.begun:
        folder.discard()
        screen.say(f"nothing of run {run_id} was sent; its plan is removed")
        return
    operation = Operation(
        redis_url=redis_url,
        workers=1,
        policy=Policy(),
        detach=False,
        key=api_key(configuration, process_environment()),
        environment=process_environment(),
    )
    folder.cancel()
    prepared = found(folder)
    with screen:
        stop = carry_out(prepared, operation, screen)
    code = end(stop, prepared, screen, as_json=as_json)
    sys.exit(0 if stop.why is Stopped.FINISHED else code)


def _the_run(out: OutFolder, run_id: str) -> LocalRunFolder:
    runs = {folder.run_id: folder for folder in out.runs()}
    if run_id in runs:
        return runs[run_id]
    held = f"it holds {', '.join(runs)}" if runs else "it holds none"
    raise UsageError(f"{out.path} holds no run {run_id}; {held}")
