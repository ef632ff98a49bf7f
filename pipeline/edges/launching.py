"""Gives a schedule's command as a person would: in its folder, as a process of its own, and never for ever."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from pipeline.core.schedules import Schedule
from pipeline.ports import Launched, RunEnd

COMMAND = ("-P", "-c", "from pipeline.cli.main import run; run()")
"""The command as it is installed; `-P`, so that nothing in the schedule's folder is taken for a module."""

END = ("-P", "-m", "pipeline.cli.run_end")

KEPT = ("VIDBATCH_API_KEY", "VIDBATCH_REDIS", "VIDBATCH_STATE", "VIDBATCH_MEDIA_ROOT")
"""How the variables begin that a command is told of its worker's: where and with what it works, not what it asks."""

OURS = "VIDBATCH_"
LONGEST_S = 6 * 3600.0
"""A command that is still planning by then is ended, and given again."""

LOOK_LONGEST_S = 600.0
OUTPUT_BYTES = 65_536
"""So much of what a command says last is kept."""

SAID_CHARACTERS = 300
SYSTEM = 5
INCOMPLETE = 1
_REST_S = 5.0
"""What a process wrote is there when it has ended; another that inherited its pipe may keep that open."""


class CommandLauncher:
    """Implements `ports.Launcher`. `environment` is that of the worker."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = command_environment(environment)

    async def launch(self, schedule: Schedule, arguments: Sequence[str]) -> Launched:
        """Give `vidbatch run ARGUMENTS --yes --detach`, and wait until it returns. Cancelled, it ends the command."""
        words = [*COMMAND, "run", *arguments, "--yes", "--detach", "--json"]
        try:
            code, printed, complained = await self._run(words, schedule.folder, LONGEST_S)
        except TimeoutError:
            return Launched(SYSTEM, said=f"the command did not return within {LONGEST_S / 3600:.0f} hours")
        except OSError as error:
            return Launched(SYSTEM, said=f"{schedule.folder}: the command can't be given there: {error.strerror}")
        return outcome(code, printed, complained)

    async def ended(self, folder: str, run_id: str, out: str) -> RunEnd:
        """What OUT says of a run."""
        try:
            code, printed, complained = await self._run([*END, run_id, out], folder, LOOK_LONGEST_S)
        except TimeoutError:
            return RunEnd(known=False, said=f"{out} was not read within {LOOK_LONGEST_S:.0f} s")
        except OSError as error:
            return RunEnd(known=False, said=f"{folder}: {error.strerror}")
        told = _last_object(printed)
        if code or "known" not in told:
            return RunEnd(known=False, said=_last_line(complained) or f"{out} can't be read")
        return RunEnd(**told)

    async def _run(self, words: Sequence[str], folder: str, longest_s: float) -> tuple[int, bytes, bytes]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *words,
            cwd=folder,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # so that all that it starts can be ended with it
        )
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        assert process.stderr is not None  # noqa: S101
        reading = [asyncio.create_task(_tail(stream)) for stream in (process.stdout, process.stderr)]
        try:
            async with asyncio.timeout(longest_s):
                code = await process.wait()
            await asyncio.wait(reading, timeout=_REST_S)
            printed, complained = (task.result() if task.done() else b"" for task in reading)
        finally:
            for task in reading:
                task.cancel()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        return code, printed, complained


async def _tail(stream: asyncio.StreamReader) -> bytes:
    """The last of what a stream holds."""
    kept = b""
    while more := await stream.read(OUTPUT_BYTES):
        kept = (kept + more)[-OUTPUT_BYTES:]
    return kept


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
