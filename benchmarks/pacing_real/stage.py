"""The real parts that a scenario plays with: a private server, one fleet worker, simulators, commands.

Everything lives in one temporary folder and ends with the stage, each process by its id. Nothing is judged here.
"""

import asyncio
import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Self, TypeVar

import orjson
import psutil

from benchmarks.pacing_real.simulators import Lateness, Simulator, eventually
from pipeline.core.snapshot import RunSnapshot
from pipeline.edges.embedded import EmbeddedServer, server_binary
from pipeline.edges.redis_ledger import RedisLedger

KEY = "sk-bench-0123456789"
VIDBATCH = str(Path(sys.executable).parent / "vidbatch")
READY_S = 60.0
LEAVE_S = 35.0
DEAR_VIDEOS = 8
DEAR_OF_256 = 16
"""More than one row in twenty: what is reserved, the 95th percentile, is sometimes theirs and sometimes not."""
T = TypeVar("T")


class Command:
    """One `vidbatch run` of the fleet."""

    def __init__(self, words: Sequence[str], folder: Path, environment: Mapping[str, str], out: Path) -> None:
        self.out = out
        self._files = [folder / name for name in ("stdout", "stderr")]
        with self._files[0].open("wb") as told, self._files[1].open("wb") as said:
            self.process = subprocess.Popen(
                words,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=said,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """What it said to people so far."""
        return self._files[1].read_text(encoding="utf-8")

    @property
    def told(self) -> dict[str, Any]:
        """The object that `--json` prints at the end; empty where there is none."""
        text = self._files[0].read_bytes().strip()
        return dict(orjson.loads(text.splitlines()[-1])) if text else {}

    @property
    def run_id(self) -> str:
        """The run's id, as soon as its plan is written."""
        return eventually(self._planned, "a plan", READY_S)

    def _planned(self) -> str | None:
        return next((path.parent.name for path in (self.out / "runs").glob("*/run.json")), None)

    @property
    def ended(self) -> bool:
        """Whether the command is over."""
        return self.process.poll() is not None

    def ends(self, within_s: float) -> int:
        """Wait for its end; its exit code."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise Lateness(f"the command did not end within {within_s:g} s; it said:\n{self.said[-2000:]}") from None

    def interrupt(self) -> int:
        """Ctrl-C: nothing more is sent, what was sent is collected."""
        if not self.ended:
            self.process.send_signal(signal.SIGINT)
        return self.ends(120)

    def close(self) -> None:
        """End it as it is."""
        if not self.ended:
            self.process.kill()
        self.process.wait()


class Stage:
    """A fleet of one worker on a server of its own; use it as a context manager."""

    def __init__(self, workers: int = 8) -> None:
        # a short path: a socket's has at most 107 bytes
        self.folder = Path(tempfile.mkdtemp(prefix="vb-"))
        self.workers = workers
        self._server = EmbeddedServer(self.folder, server_binary(os.environ.get("PATH")))
        self._simulators: list[Simulator] = []
        self._commands: list[Command] = []
        self._worker: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The fleet's server."""
        return self._server.url

    def __enter__(self) -> Self:
        try:
            self._server.enter()
            self.start_worker()
            eventually(lambda: self.ledger(lambda ledger: ledger.workers()), "a worker that serves", READY_S)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything, the last started first."""
        for command in reversed(self._commands):
            command.close()
        self.stop_worker()
        for simulator in self._simulators:
            simulator.close()
        self._server.leave()
        with suppress(Lateness):
            eventually(self._removed, "an empty place", 10)

    def _removed(self) -> bool:
        """Remove the folder; the server writes its last line when it counts as gone already, so perhaps once more."""
        shutil.rmtree(self.folder, ignore_errors=True)
        return not self.folder.exists()

    # Processes.

    def start_worker(self) -> None:
        """Start the worker, as a fleet would."""
        told = {"VIDBATCH_REDIS": self.url, "VIDBATCH_WORKERS": str(self.workers)}
        with (self.folder / "worker.log").open("ab") as log:
            self._worker = subprocess.Popen(
                [sys.executable, "-m", "workers"],
                cwd=self.folder,
                env={**self.environment(), **told},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def keep_worker(self) -> None:
        """Start the worker again when it ended by itself, as whoever supervises a fleet does.

        Celery's main process ends when a child dies before it has told that it began.
        """
        if self._worker is None or self._worker.poll() is not None:
            self._worker = None
            self.start_worker()

    def stop_worker(self) -> None:
        """Ask the worker to leave, and end it with its children when it does not."""
        if self._worker is None:
            return
        family = self.children()
        self._worker.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._worker.wait(LEAVE_S)
        self._end(family)

    def kill_worker(self) -> None:
        """Kill the worker's main process and its children at once, as a machine that dies."""
        self._end(self.children())

    def _end(self, family: Iterable[psutil.Process]) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker.wait()
        for child in family:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self._worker = None

    def children(self) -> list[psutil.Process]:
        """The worker's child processes; none while there is no worker."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self._worker.pid).children(recursive=True) if self._worker else []
        return []

    def environment(self) -> dict[str, str]:
        """Nothing of the person's own settings, a state folder of ours, and the bench's key."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VIDBATCH_")}
        return {**kept, "VIDBATCH_STATE": str(self.folder), "VIDBATCH_API_KEY": KEY, "COLUMNS": "200"}

    # What a person does.

    def simulate(self, **switches: object) -> Simulator:
        """Start a simulator."""
        self._simulators.append(Simulator(**switches))
        return self._simulators[-1]

    def run(self, name: str, rows: int, simulator: Simulator, *options: object, settings: str = "") -> Command:
        """Begin a run of so many rows, each with the run's prompt and videos of its own."""
        folder = self.folder / name
        if not folder.exists():
            folder.mkdir()
            (folder / "vidbatch.toml").write_text(settings, encoding="utf-8")
            with (folder / "videos.csv").open("w", newline="", encoding="utf-8") as file:
                lines = ((row, "|".join(videos_of(name, row))) for row in range(rows))
                csv.writer(file).writerows([("id", "video_urls"), *lines])
        words = [VIDBATCH, "run", "videos.csv", "--out", "out", "--base-url", simulator.base_url, "--yes", "--json"]
        words += ["--redis", self.url, "--prompt", prompt_of(name), *map(str, options)]
        self._commands.append(Command(words, folder, self.environment(), folder / "out"))
        return self._commands[-1]

    def type(self, *words: object) -> tuple[float, str]:
        """Type a command that is over at once; the unix time of its end, and what it said."""
        done = subprocess.run(
            [VIDBATCH, *map(str, words), "--redis", self.url],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=READY_S,
            check=False,
        )
        if done.returncode:
            raise Lateness(f"vidbatch {' '.join(map(str, words))} ended with {done.returncode}: {done.stderr}")
        return time.time(), done.stdout

    # The ledger.

    def ledger(self, ask: Callable[[RedisLedger], Awaitable[T]]) -> T:
        """What the ledger answers."""

        async def asked() -> T:
            ledger = RedisLedger(self.url)
            try:
                return await ask(ledger)
            finally:
                await ledger.close()

        return asyncio.run(asked())

    def look(self, run_id: str) -> RunSnapshot | None:
        """How a run stands; nothing when the ledger does not know it, or not any more."""
        return self.ledger(lambda ledger: ledger.snapshot(run_id))


def prompt_of(name: str) -> str:
    """What a run asks: its own, so that the simulator's bill can be told apart by run."""
    return f"Describe the video of {name}."


def videos_of(name: str, row: int) -> list[str]:
    """Videos of a row's own: one, but for a row in sixteen, which has eight and costs as much more.

    The simulator makes a video's length, and so its tokens, of the URL.
    """
    base = f"https://videos.example/{name}/{row}"
    is_dear = sha256(base.encode()).digest()[0] < DEAR_OF_256
    return [f"{base}/{number}.mp4" for number in range(DEAR_VIDEOS if is_dear else 1)]
