"""The `vidbatch` command: parse, call, render. Each command is loaded only when it is called."""

import gc
import importlib
import sys
from pathlib import Path

import click

from pipeline.cli.plain_echo import guard_echo
from pipeline.core.errors import PausedError, SystemTrouble, UsageError, VidbatchError
from pipeline.edges.imports import keep_out_unused

COMMANDS = {
    "run": "pipeline.cli.run_command",
    "plan": "pipeline.cli.plan_command",
    "status": "pipeline.cli.status_command",
    "watch": "pipeline.cli.watch_command",
    "limits": "pipeline.cli.limits_command",
    "pause": "pipeline.cli.pause_command",
    "resume": "pipeline.cli.resume_command",
    "cancel": "pipeline.cli.cancel_command",
    "retry": "pipeline.cli.retry_command",
    "collect": "pipeline.cli.collect_command",
    "export": "pipeline.cli.export_command",
    "verify": "pipeline.cli.verify_command",
    "report": "pipeline.cli.report_command",
    "diff": "pipeline.cli.diff_command",
    "schedule": "pipeline.cli.schedule_command",
    "worker": "pipeline.cli.worker_command",
    "metrics": "pipeline.cli.metrics_command",
    "doctor": "pipeline.cli.doctor_command",
    "simulate": "pipeline.cli.simulate_command",
    "demo": "pipeline.cli.demo_command",
    "faultlab": "pipeline.cli.faultlab_command",
}

SUMMARIES = {
    "run": "Annotate a manifest: plan, confirm, run, resume.",
    "plan": "Check a manifest's rows and say what would be sent; spend nothing.",
    "status": "Show how runs stand and what they wait for.",
    "watch": "Follow a run until it ends, without leading it.",
    "limits": "Show how fast accounts are asked and what bounds it, or change it.",
    "pause": "Send nothing more for a run until it is resumed; what was sent is collected.",
    "resume": "Go on with a run that was paused.",
    "cancel": "End a run without sending more; what was paid for is collected.",
    "retry": "Ask rows of a finished run again that did not complete.",
    "collect": "Fetch answers that came too late for their run, by their ids; send nothing.",
    "export": "Write annotations as CSV, JSON lines, Parquet, DuckDB, or for other tools.",
    "verify": "Recompute a run's receipt from its files, and tell every difference.",
    "report": "Write a run's report anew: one HTML file that needs nothing else.",
    "diff": "Compare two runs over the same rows: answers, fields, statuses, tokens and cost.",
    "schedule": "Have the fleet give `vidbatch run` at set times, and see how it went.",
    "worker": "Serve runs that were handed to a Redis server.",
    "metrics": "Serve metrics of runs, accounts, workers and schedules for Prometheus.",
    "doctor": "Look at everything that a run needs, and say what is wrong; send nothing.",
    "simulate": "Serve a FoxAPI on this machine, for trials and tests.",
    "demo": "Do the main job here and now, on real clips, against a simulated API.",
    "faultlab": "Break real workers and servers on purpose, and show what it costs.",
}

CONFIGURED = (
    "run",
    "plan",
    "worker",
    "metrics",
    "status",
    "watch",
    "pause",
    "resume",
    "cancel",
    "retry",
    "collect",
    "doctor",
)
"""Commands whose options have their defaults in `vidbatch.toml`."""

CHANGING = ("limits",)
"""Commands that change what is typed: of the file's settings they take only where Redis is."""

SCHEDULING = ("add", "list", "show", "history", "remove", "pause", "resume", "run-now")
"""Commands below `schedule`, which take no more of it: what is scheduled is read where it is given."""


class LazyCommands(click.Group):
    """A group that imports a command when it is called, so that `--help` costs no import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands' names, in the order of use."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))


@click.group(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vidbatch", prog_name="vidbatch")
@click.pass_context
def main(context: click.Context) -> None:
    """Annotate a video library through an async LLM API.

    Every row is paid for once, and every row of the manifest has one honest end.
    """
    if context.invoked_subcommand not in {None, "simulate", "export", "verify", "report", "diff", "faultlab"}:
        from pipeline.cli.configuration import load  # noqa: PLC0415 - `--help` needs no settings

        context.obj = load(Path.cwd())
        defaults = context.obj.option_defaults()
        place = {name: value for name, value in defaults.items() if name == "redis_url"}
        context.default_map = {
            **dict.fromkeys(CONFIGURED, defaults),
            **dict.fromkeys(CHANGING, place),
            "schedule": dict.fromkeys(SCHEDULING, place),
        }


def exit_code(error: VidbatchError) -> int:
    """2 usage, 4 paused until a person acts, 5 the system."""
    match error:
        case UsageError():
            return 2
        case PausedError():
            return 4
        case SystemTrouble():
            return 5
    return 5


INTERRUPTED = 130

GARBAGE = 50_000
"""New objects between two looks for garbage: what is loaded makes hundreds of thousands, and none of them is any."""


def run() -> None:
    """Entry point of the command: one clear sentence for whatever is raised on purpose, and the exit code."""
    gc.set_threshold(GARBAGE)
    keep_out_unused()
    guard_echo()
    try:
        sys.exit(main.main(standalone_mode=False) or 0)
    except VidbatchError as error:
        click.echo(f"vidbatch: {error}", err=True)
        sys.exit(exit_code(error))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("vidbatch: interrupted; a run goes on by its own command, a view ends without harm", err=True)
        sys.exit(INTERRUPTED)
