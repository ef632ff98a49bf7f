"""Gives a schedule's command as a person would: in its folder, as a process of its own, and never for ever."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from types import MappingProxyType
from typing import IO, Any

import orjson

from pipeline.core.scheduled import FIRING
from pipeline.core.schedules import Schedule
from pipeline.ports import Launched, RunEnd

COMMAND = ("-P", "-c", "from pipeline.cli.main import run; run()")
"""The command as it is installed; `-P`, so that nothing in the schedule's folder is taken for a module."""

END = ("-P", "-m", "pipeline.cli.run_end")

_ENTER = """
import os, sys
folder, *words = sys.argv[1:]
try:
    os.chdir(folder)
except OSError as error:
    print(f"{folder}: the command can't be given there: {error.strerror}", file=sys.stderr)
    sys.exit(5)
os.execv(sys.executable, [sys.executable, *words])
"""
ENTER = ("-I", "-S", "-c", _ENTER)
"""Goes to the folder, and becomes the command there. Who begins a process in a folder waits, with all threads, until it
is there: a mount whose server is away would stop the worker, its heartbeat and what it feeds.
"""

KEPT = ("VIDBATCH_API_KEY", "VIDBATCH_REDIS", "VIDBATCH_STATE", "VIDBATCH_MEDIA_ROOT")
"""How the variables begin that a command is told of its worker's: where and with what it works, not what it asks."""

OURS = "VIDBATCH_"
LONGEST_S = 6 * 3600.0
"""A command that is still planning by then is ended, and given again."""

LOOK_LONGEST_S = 600.0
OUTPUT_BYTES = 65_536
"""So much of what a command says last is read."""

MOST_OUTPUT_BYTES = 64 * 1024 * 1024
"""A command that says more is none that comes to an end."""

LOOK_S = 1.0

SAID_CHARACTERS = 300
SYSTEM = 5
INCOMPLETE = 1


class CommandLauncher:
    """Implements `ports.Launcher`. `environment` is that of the worker."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = command_environment(environment)

    async def launch(self, schedule: Schedule, firing_id: str, arguments: Sequence[str]) -> Launched:
        """Give `vidbatch run ARGUMENTS --yes --detach`, and wait until it returns. Cancelled, it ends the command."""
        words = [*COMMAND, "run", *arguments, "--yes", "--detach", "--json"]
        told = {FIRING: f"{schedule.name}/{firing_id}"}
        try:
            code, printed, complained = await self._run(words, schedule.folder, LONGEST_S, told)
        except TimeoutError:
            return Launched(SYSTEM, said=f"the command did not return within {LONGEST_S / 3600:.0f} hours")
        except OSError as error:
            return Launched(SYSTEM, said=f"the command can't be started: {error.strerror}")
        return outcome(code, printed, complained)

    async def ended(self, folder: str, run_id: str, out: str) -> RunEnd:
        """What OUT says of a run."""
        try:
            code, printed, complained = await self._run([*END, run_id, out], folder, LOOK_LONGEST_S)
        except TimeoutError:
            return RunEnd(known=False, said=f"{out} was not read within {LOOK_LONGEST_S:.0f} s")
        except OSError as error:
            return RunEnd(known=False, said=f"nobody can look at {out}: {error.strerror}")
        told = _last_object(printed)
        if code or "known" not in told:
            return RunEnd(known=False, said=_last_line(complained) or f"{out} can't be read")
        return RunEnd(**told)

    async def _run(
        self, words: Sequence[str], folder: str, longest_s: float, told: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[int, bytes, bytes]:
        # files, and no pipes: what a command leaves behind may hold those open, and asyncio waits for them
        with TemporaryFile() as printed, TemporaryFile() as complained:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *ENTER,
                folder,
                *words,
                env={**self._environment, **told},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=printed,
                stderr=complained,
                start_new_session=True,  # so that all that it starts can be ended with it
            )
            try:
                async with asyncio.timeout(longest_s):
                    code = await _ended(process, printed, complained)
            finally:
                if process.returncode is None:  # else its id may be another's by now
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()
            return code, _tail(printed), _tail(complained)


async def _ended(process: asyncio.subprocess.Process, *outputs: IO[bytes]) -> int:
    """The exit code. TimeoutError for a command that does not end talking."""
    ending = asyncio.ensure_future(process.wait())
    while not (await asyncio.wait({ending}, timeout=LOOK_S))[0]:
        if any(os.fstat(output.fileno()).st_size > MOST_OUTPUT_BYTES for output in outputs):
            ending.cancel()
            raise TimeoutError
    return ending.result()


def _tail(output: IO[bytes]) -> bytes:
    """The last of what was written."""
    output.seek(max(0, output.seek(0, os.SEEK_END) - OUTPUT_BYTES))
    return output.read(OUTPUT_BYTES)


def command_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a command is told: the worker's environment, without what says how the worker works or what is asked.

    Paths in it are the worker's, and the command is given in another folder.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith(OURS) or (value and name.startswith(KEPT))
    }
    paths = [name for name in kept if name.startswith(OURS) and (name.endswith("_FILE") or name == "VIDBATCH_STATE")]
    return kept | {name: str(Path(kept[name]).absolute()) for name in paths}


def outcome(code: int, printed: bytes, complained: bytes) -> Launched:
    """What came of a command, by its exit code and what it said."""
    told, said = _last_object(printed), _last_line(complained)
    run_id, out = str(told.get("run_id", "")), str(told.get("out", ""))
    if code == 0 and told.get("state") == "detached":
        return Launched(None, run_id, out)
    if code < 0:
        return Launched(SYSTEM, run_id, out, f"the command was ended by signal {-code}")
    if code == INCOMPLETE and not told:
        return Launched(SYSTEM, said=said or "the command failed and did not say why")
    return Launched(code, run_id, out, said)


def _last_object(printed: bytes) -> dict[str, Any]:
    for line in reversed(printed.splitlines()):
        with suppress(orjson.JSONDecodeError):
            told = orjson.loads(line)
            if isinstance(told, dict):
                return told
    return {}


def _last_line(complained: bytes) -> str:
    lines = [line.strip() for line in complained.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("vidbatch: ")[:SAID_CHARACTERS] if lines else ""
