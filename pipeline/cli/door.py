"""`pipeline.annotate`: what `vidbatch run` does, for programs and notebooks.

The options are the command's own, read by the command, so that they mean the same and are refused in the same words.
What is no file becomes a manifest in the user's state folder, named by its content: the same call again is the same
run, and so is the command with that file.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import orjson

from pipeline.cli.annotating import carry_on, planned
from pipeline.cli.configuration import load
from pipeline.cli.early import waiting_worker
from pipeline.cli.interrupts import Interrupts
from pipeline.cli.preparing import Prepared
from pipeline.cli.run_command import command
from pipeline.cli.screen import Screen
from pipeline.core.errors import Interrupted, PausedError, SettingsError, SystemTrouble, VidbatchError
from pipeline.edges.embedded import state_folder
from pipeline.edges.environment import process_environment
from pipeline.edges.files import write_bytes
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.tables import answers_of, manifest_of

ELSEWHERE = frozenset(("as_json", "json", "detach", "manifests", "out", "yes"))
"""Options of the command that are said in another way here, or make no sense where its end is waited for."""

STOPS = ("paused", "stopped", "interrupted")
"""How the lines begin that say why a run did not get to its end."""


class _Told(Screen):
    """Shows what a command shows, and remembers its last lines for the exception that may follow."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self._lines: deque[str] = deque(maxlen=20)

    def say(self, text: str) -> None:
        self._lines.append(text)
        super().say(text)

    @property
    def why(self) -> str:
        """What was said of the stop."""
        lines = list(self._lines)
        begins = max((at for at, line in enumerate(lines) if line.startswith(STOPS)), default=0)
        return "; ".join(lines[begins:])


def annotate(rows: object, out: object, given: Mapping[str, object], *, progress: bool) -> Any:  # noqa: ANN401 - a table
    """Plan and run, to the end, and read the answers back. Errors as `pipeline.annotate` says."""
    configuration = load(Path.cwd())
    state = state_folder(process_environment()) / "python"
    words = [*map(str, _manifests(rows, state)), "--out", str(out), "--yes", *_words(given, state)]
    try:
        context = command.make_context("annotate", words, default_map=configuration.option_defaults())
    except click.ClickException as error:
        raise SettingsError(error.format_message()) from error
    options = {name: value for name, value in context.params.items() if name not in {"manifests", "out", "as_json"}}
    screen = _Told(quiet=not progress)

    def run() -> tuple[int, Prepared]:
        with waiting_worker(configuration, options) as waiting:
            prepared = planned(context.params["manifests"], context.params["out"], configuration, options)
            return carry_on(prepared, configuration, screen, options, waiting, as_json=False), prepared

    with ThreadPoolExecutor(1, "vidbatch") as beside:  # a notebook has an event loop of its own in this thread
        code, prepared = _patiently(beside.submit(run), screen.interrupts)
    if code not in {0, 1}:
        raise _stopped(code, screen.why)
    return answers_of(OutFolder(prepared.folder.out), prepared.folder.run_id)


def _patiently(running: "Future[tuple[int, Prepared]]", interrupts: Interrupts) -> tuple[int, Prepared]:
    """Wait for the run's end; Ctrl-C, or a notebook's stop, ends it as it ends the command."""
    while True:
        try:
            return running.result()
        except KeyboardInterrupt:
            if running.done():
                raise
            interrupts()


def _stopped(code: int, why: str) -> VidbatchError:
    match code:
        case 5:
            return SystemTrouble(why)
        case 130:
            return Interrupted(why)
    return PausedError(why)


def _manifests(rows: object, state: Path) -> Iterable[object]:
    """The files of the manifest: those that are named, else one that is made of the rows."""
    if isinstance(rows, str | Path):
        return [rows]
    if isinstance(rows, list | tuple) and rows and all(isinstance(row, str | Path) for row in rows):
        return rows
    ending, content = manifest_of(rows)
    return [_kept(content, ending, state)]


def _kept(content: bytes, ending: str, state: Path) -> Path:
    """A file of this content in the state folder; what is there already stays."""
    path = state / f"{hashlib.sha256(content).hexdigest()[:32]}{ending}"
    if not path.exists():
        write_bytes(path, content)
    return path


def _words(given: Mapping[str, object], state: Path) -> Iterable[str]:
    """Options as they would be typed. SettingsError for one that there is not."""
    options = [param for param in command.params if isinstance(param, click.Option)]
    known = {name: option for option in options for name in (option.name or "", _typed(option))}
    for name, value in given.items():
        option = known.get(name)
        if option is None or name in ELSEWHERE:
            allowed = ", ".join(sorted({*map(_typed, options)} - ELSEWHERE))
            raise SettingsError(f"annotate() has no option {name}; allowed are {allowed}")
        if value is None:
            continue
        if name in {"schema", "prompts"} and not isinstance(value, str | Path):
            yield from (option.opts[0], str(_kept(_json_of(value, name), f".{name}.json", state)))
        elif option.multiple and isinstance(value, list | tuple):
            for one in value:
                yield from (option.opts[0], str(one))
        elif isinstance(value, bool) and option.is_flag:
            yield from [option.opts[0]] if value else option.secondary_opts[:1]
        else:
            yield from (option.opts[0], str(value))


def _typed(option: click.Option) -> str:
    """An option's name as it is typed."""
    return option.opts[0].removeprefix("--").replace("-", "_")


def _json_of(value: object, name: str) -> bytes:
    """A schema or several prompts as a file has them: of a mapping, and a schema also of a Pydantic model."""
    if name == "schema":
        from pipeline.edges.schemas import checked_schema  # noqa: PLC0415 - who gives no schema needs no validator

        return orjson.dumps(checked_schema(value, name).schema)
    if not isinstance(value, Mapping):
        raise SettingsError(
            f"{name}: found {type(value).__name__}; allowed is a mapping of names to prompts, or a file"
        )
    return orjson.dumps(value)
