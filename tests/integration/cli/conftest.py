"""What a person types, with real processes: one fleet of workers for all tests here, so that each command is quick.

The fleet has a Redis server of its own, and each test its own OUT and simulated API: their accounts differ.
"""

import asyncio
import base64
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from pipeline.core.snapshot import RunSnapshot
from pipeline.edges.redis_ledger import RedisLedger

VIDBATCH = str(Path(sys.executable).parent / "vidbatch")
KEY = "sk-fleet-0123456789"
NOTIFY_SECRET = "whsec_" + base64.b64encode(b"what schedules' messages are signed with").decode()
WITHIN_S = 150.0
"""How long a command may take: far more than it needs, since the machine may be busy."""


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


class Typed:
    """A command that was typed; files hold what it says, so that nothing blocks."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self._files = [Path(tempfile.mkstemp(dir=folder, suffix=f".{name}")[1]) for name in ("out", "err")]
        with self._files[0].open("wb") as out, self._files[1].open("wb") as err:
            self.process = subprocess.Popen(
                words, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    @property
    def said(self) -> str:
        """What it said so far, to people."""
        return self._files[1].read_text(encoding="utf-8")

    def until(self, holds: Callable[[], object], what: str, within_s: float = WITHIN_S) -> None:
        """Wait for something while the command is at work."""
        tick, deadline = threading.Event(), time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}; it said:\n{self.said}"
            assert self.process.poll() is None, f"it ended before {what}; it said:\n{self.said}"
            tick.wait(0.05)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def ends(self, within_s: float = WITHIN_S) -> Said:
        """Wait for its end."""
        code = self.process.wait(within_s)
        said = Said(code, *(file.read_text(encoding="utf-8") for file in self._files))
        assert "Traceback" not in said.err + said.out, said.err + said.out
        return said

    def close(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Terminal:
    """Types commands in a folder, with an environment that holds nothing of the developer's."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VIDBATCH_")}
        # no test asks a real API: those of what a plan asks take this away
        self.environment = {**kept, "COLUMNS": "200", "VIDBATCH_OFFLINE": "1", **variables}
        self._typed: list[Typed] = []

    def starts(self, *words: object, program: Sequence[str] = (VIDBATCH,), **variables: str | None) -> Typed:
        """Begin a command; variables are the environment's for this command alone, None removes one."""
        told = {name: value for name, value in {**self.environment, **variables}.items() if value is not None}
        self._typed.append(Typed([*program, *map(str, words)], told, self.folder))
        return self._typed[-1]

    def __call__(self, *words: object, **variables: str | None) -> Said:
        """Type a command and wait for its end."""
        return self.starts(*words, **variables).ends()

    def close(self) -> None:
        """End what is still at work."""
        for typed in self._typed:
            typed.close()


@dataclass(frozen=True)
class Fleet:
    """Where the workers serve, and the key that they hold."""

    url: str
    key: str
    notify_secret: str = NOTIFY_SECRET


@pytest.fixture(scope="session")
def fleet(redis_server, tmp_path_factory) -> Iterator[Fleet]:
    """Two workers, each with half of the roles, on a Redis server that nobody flushes."""
    folder = Path(tempfile.mkdtemp(prefix="vb-", dir="/tmp"))
    server = type(redis_server)(folder)
    folder_of_workers = tmp_path_factory.mktemp("fleet")
    terminal = Terminal(folder_of_workers, VIDBATCH_API_KEY=KEY, VIDBATCH_NOTIFY_SECRET=NOTIFY_SECRET)
    workers = [
        terminal.starts("worker", "--redis", server.url, "--roles", roles, "--log-format", form)
        for roles, form in (("submit,poll", "json"), ("write,control", "text"))
    ]
    try:
        yield Fleet(server.url, KEY)
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(30)
        logs = [worker.said for worker in workers]
        terminal.close()
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
    # whatever all tests did to them
    assert all(orjson.loads(line)["event"] for line in logs[0].splitlines())
    assert not [line for log in logs for line in log.splitlines() if KEY in line]


@pytest.fixture
def look(fleet):
    """How a run of the fleet stands by its ledger: `look(run_id)`; a command that tells it would cost a process."""

    async def snapshot(run_id: str) -> RunSnapshot:
        ledger = RedisLedger(fleet.url)
        try:
            run = await ledger.snapshot(run_id)
        finally:
            await ledger.close()
        assert run is not None, f"the ledger does not know {run_id}"
        return run

    return lambda run_id: asyncio.run(snapshot(run_id))


@pytest.fixture
def alone(tmp_path) -> Iterator[Terminal]:
    """A terminal without a fleet, its state folder its own; nothing is started there unless a command does."""
    state = Path(tempfile.mkdtemp(prefix="vb-", dir="/tmp"))
    terminal = Terminal(tmp_path, VIDBATCH_API_KEY=KEY, VIDBATCH_STATE=str(state))
    yield terminal
    terminal.close()
    with suppress(OSError, ValueError):
        os.kill(int((state / "server.pid").read_text()), signal.SIGKILL)
    shutil.rmtree(state, ignore_errors=True)


@pytest.fixture
def here(monkeypatch, capsys, tmp_path):
    """Types commands that start no process, in this one: `here("plan", "videos.csv", VIDBATCH_MODEL="…")`."""
    import importlib_metadata  # noqa: F401 - takes the place of Python's own finders when it is loaded: not to be undone

    from pipeline.cli.main import run

    monkeypatch.chdir(tmp_path)
    state = tmp_path / "state"
    told = {"VIDBATCH_API_KEY": KEY, "VIDBATCH_STATE": str(state), "COLUMNS": "200", "VIDBATCH_OFFLINE": "1"}

    def type_in(*words: object, **variables: str | None) -> Said:
        with monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("VIDBATCH_")]:
                patch.delenv(name)
            for name, value in {**told, **variables}.items():
                if value is not None:
                    patch.setenv(name, value)
            patch.setattr(sys, "argv", ["vidbatch", *map(str, words)])
            # the command keeps packages out that the tests use
            patch.setattr(sys, "meta_path", list(sys.meta_path))
            with pytest.raises(SystemExit) as ended:
                run()
        said = capsys.readouterr()
        assert not state.exists(), "it started something"
        return Said(ended.value.code or 0, said.out, said.err)

    return type_in


@pytest.fixture
def terminal(fleet, tmp_path) -> Iterator[Terminal]:
    """A terminal whose commands go to the fleet, polling often."""
    made = Terminal(tmp_path, VIDBATCH_API_KEY=KEY, VIDBATCH_REDIS=fleet.url, VIDBATCH_POLL="fixed:200ms")
    yield made
    made.close()
