"""A command that is to be scheduled, parsed as a control worker will: a mistake is told now, and not at night."""

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pipeline.cli import options, question_options
from pipeline.cli.configuration import FILE, load
from pipeline.cli.run_command import command as run
from pipeline.core.errors import ManifestError, SettingsError
from pipeline.core.filling import NAMES, doubtful, filled
from pipeline.core.scheduled import REFUSED
from pipeline.core.schedules import Schedule
from pipeline.edges.environment import process_environment
from pipeline.edges.stored_manifest import manifests_of

UNASKED = frozenset({"offline"})
"""Options that make no difference where nobody is asked whether to send."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What the next firing would run, and what a person should know of it."""

    arguments: tuple[str, ...]
    warnings: tuple[str, ...]
    base_url: str


def checked(schedule: Schedule, at_ms: int) -> Checked:
    """Parse the command as it would be given at that time. UsageError says what is wrong with it.

    Files are looked for where the schedule's folder is on this machine; where it is not, that is said.
    """
    arguments, folder = filled(schedule, at_ms), Path(schedule.folder)
    doubts = [_doubt_words(*doubt) for doubt in doubtful(schedule.command)]
    if not folder.is_dir():
        away = f"{folder} is no folder of this machine: no file of the command was looked for"
        context = _parsed(_without_files(run), arguments, {})
        return Checked(arguments, (*doubts, away), context.params["base_url"])
    with contextlib.chdir(folder):
        context = _parsed(_with_words(run), arguments, load(Path()).option_defaults())
        _ask(context.params)
        missing = list(_missing(context.params["manifests"]))
    return Checked(arguments, (*doubts, *missing, *_from_here(context)), context.params["base_url"])


def _parsed(command: click.Command, arguments: Sequence[str], defaults: Mapping[str, object]) -> click.Context:
    try:
        with contextlib.redirect_stdout(StringIO()):  # of --help
            context = command.make_context("run", list(arguments), default_map=dict(defaults))
    except click.ClickException as error:
        raise SettingsError(f"the scheduled command: {error.format_message()}") from None
    except click.exceptions.Exit:
        raise SettingsError("the scheduled command: --help runs nothing") from None
    for parameter in command.params:
        name = parameter.name or ""
        if name in REFUSED and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise SettingsError(f"the scheduled command: {parameter.opts[0]}: found; allowed is none: {REFUSED[name]}")
    options.check_sending({**context.params, "detach": False})
    return context


def _ask(given: Mapping[str, Any]) -> None:
    """Read what is asked, but for the manifests, of which tonight's may not be there yet."""
    question_options.defaults_of(given, question_options.schema_of(given))
    question_options.prompts_of(given)


def _missing(written: Sequence[str]) -> Iterator[str]:
    for word in written:
        try:
            absent = [place for place in manifests_of(word) if isinstance(place, Path) and not place.exists()]
        except ManifestError as error:
            if "no file matches" not in str(error):
                raise
            absent = [Path(word)]
        if absent:
            yield f"{word} is not there yet; the run begins with it, or ends with 2"


def _from_here(context: click.Context) -> Iterator[str]:
    """What this shell's variables say, and nobody at night."""
    environment = process_environment()
    for parameter in run.params:
        name, variable = parameter.name or "", str(parameter.envvar)
        typed = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if name not in {*REFUSED, *UNASKED} and not typed and environment.get(variable):
            yield (
                f"{variable} is set in this shell, which a scheduled command is not told: give {parameter.opts[0]}, "
                f"or write a {FILE} in its folder"
            )


def _doubt_words(found: str, near: str) -> str:
    meant = f"{{{near}}} would be filled" if near else f"filled are {', '.join(f'{{{name}}}' for name in NAMES)}"
    return f"{found} stays as it is; {meant}"


def _with_words(command: click.Command) -> click.Command:
    """The same command as a worker reads it, but that manifests are taken as they are written."""
    return click.Command(command.name, params=[_taken(parameter) for parameter in command.params])


def _without_files(command: click.Command) -> click.Command:
    """The same, which does not look for the files that options name either."""
    parameters = [_taken(parameter) for parameter in command.params]
    for parameter in parameters:
        if isinstance(parameter.type, click.Path):
            parameter.type, parameter.callback = click.Path(), None
    return click.Command(command.name, params=parameters)


def _taken(parameter: click.Parameter) -> click.Parameter:
    """One that no variable of this shell gives."""
    alone = copy.copy(parameter)
    alone.envvar = None
    if parameter.name == "manifests":
        alone.callback = None
    return alone
