"""Whole runs with real processes: a simulated API, `vidbatch run` as a person starts it, and an audit of its dataset.

Every test gets a state folder of its own, so that its private server and workers are its own too; whatever of them
still lives at the test's end is ended there, by its process id.
"""

import asyncio
import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pyarrow.parquet as pq
import pytest
import redis

from pipeline.core.snapshot import RunSnapshot
from pipeline.edges.opening import parquet_source
from pipeline.edges.places import Place, below, listed
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.simulator.digest import digest

KEY = "sk-test-0123456789"
WITHIN_S = 150.0
"""How long a condition may take: far more than it needs, since the machine may be busy."""


class Lateness(AssertionError):
    """A condition that did not come true in time."""


def eventually(condition: Callable[[], Any], what: str, within_s: float = WITHIN_S, every_s: float = 0.05) -> Any:
    """Wait until `condition()` is true and return what it returned. `Lateness` names `what` was waited for."""
    tick, deadline = threading.Event(), time.monotonic() + within_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise Lateness(f"not within {within_s:g} s: {what}")
        tick.wait(every_s)
    return found


# The simulated API.


class Simulator:
    """One simulator as a process, in fast mode unless told otherwise; its books are read over HTTP."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "pipeline.simulator", "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        watchdog = threading.Timer(WITHIN_S, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        assert line.startswith("simulator ready "), f"the simulator did not start: {line!r}"
        self.base_url = line.split()[-1]
        self._client = httpx.Client(base_url=self.base_url, timeout=30.0, trust_env=False)

    def summary(self) -> dict[str, Any]:
        """Counts: `posts_received`, `posts_accepted`, `open`, `completed`, `polls`, `refused` …"""
        return self._client.get("/admin/summary").json()

    def posts(self) -> list[dict[str, Any]]:
        """Every accepted POST in order: `id`, `prompt_sha256`, `video_urls`, `received_at`, `outcome`, `polls` …"""
        found: list[dict[str, Any]] = []
        while True:
            page = self._client.get("/admin/posts", params={"offset": len(found), "limit": 10_000}).json()
            found += page["posts"]
            if len(found) >= page["count"]:
                return found

    def posts_by_prompt(self) -> dict[str, list[str]]:
        """Ids of the accepted generations by the SHA-256 (hexadecimal) of their prompt."""
        by_prompt: dict[str, list[str]] = {}
        for post in self.posts():
            by_prompt.setdefault(post["prompt_sha256"], []).append(post["id"])
        return by_prompt

    def set(self, **switches: object) -> None:
        """Change switches while it runs, such as `latency="2s"`."""
        answer = self._client.post("/admin/settings", content=orjson.dumps(switches))
        assert answer.status_code == 200, answer.text

    def close(self) -> None:
        """End the process."""
        self._client.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def simulator() -> Iterator[Callable[..., Simulator]]:
    """Starts simulators: `simulator(latency="0.3s", submit_delay="0.2s")`; keywords are the simulator's switches."""
    started: list[Simulator] = []

    def start(*, fast: bool = True, **switches: object) -> Simulator:
        options = ["--fast"] if fast else []
        for name, value in switches.items():
            flag = "--" + name.replace("_", "-")
            options += [flag] if value is True else [flag, str(value)]
        started.append(Simulator(*options))
        return started[-1]

    yield start
    for one in started:
        one.close()


# Manifests.


@dataclass(frozen=True)
class Manifest:
    """A manifest whose rows all have prompts and videos of their own; `rows` are (id, video URL, prompt)."""

    path: Path
    rows: Sequence[tuple[str, str, str]]

    def prompt_sha256(self, row_index: int) -> str:
        """What the simulator's books call this row by."""
        return sha256(self.rows[row_index][2].encode()).hexdigest()


@pytest.fixture
def manifest(tmp_path) -> Callable[[int], Manifest]:
    """Writes manifests: `manifest(200)` has 200 rows, each with a prompt and a video of its own."""

    def write(count: int) -> Manifest:
        path = tmp_path / f"videos-{count}.csv"
        rows = [(f"v{i}", f"https://videos.example/{i}.mp4", f"Describe clip {i}.") for i in range(count)]
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("id", "video_url", "prompt"), *rows])
        return Manifest(path, rows)

    return write


# The command and the processes that it brings along.


@pytest.fixture
def state() -> Iterator[Path]:
    """A state folder of this test: short, since a socket's path has at most 107 bytes. Its processes end with it."""
    folder = Path(tempfile.mkdtemp(prefix="vb-", dir="/tmp"))
    yield folder
    for process in processes_of(folder):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def processes_of(state: Path) -> list[psutil.Process]:
    """Everything that was started with this state folder: commands, workers with their children, and the server."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            mine = process.environ().get("VIDBATCH_STATE") == str(state)
            if process.pid != os.getpid() and (mine or str(state / "s") in " ".join(process.cmdline())):
                found.append(process)
    return found


class Command:
    """One `vidbatch run` that is under way."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def pid(self) -> int:
        """The coordinator's process id."""
        return self.process.pid

    @property
    def said(self) -> str:
        """What it wrote so far, stdout and stderr together."""
        return self._log.read_text(encoding="utf-8")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the coordinator alone, as a terminal's Ctrl-C does (the workers have their own session)."""
        self.process.send_signal(number)

    def ends(self, code: int = 0, within_s: float = WITHIN_S) -> str:
        """Wait for its end, check its exit code, and return what it said."""
        try:
            got = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise Lateness(f"the command did not end within {within_s:g} s; it said:\n{self.said}") from None
        assert got == code, f"exit code {got} instead of {code}; it said:\n{self.said}"
        return self.said


# What the tests' shorter lease needs: nobody types a lease, so the command's own default is replaced.
_WITH_LEASE = """
import functools, sys
from pipeline.cli import sending
from pipeline.cli.main import run
from pipeline.core.policy import Policy
sending.Policy = functools.partial(Policy, lease_s=float(sys.argv.pop(1)))
run()
"""


class Vidbatch:
    """Starts `vidbatch run` on a manifest, always with the same OUT and question, and looks at what goes on inside."""

    def __init__(self, state: Path, folder: Path, manifest: Manifest, base_url: str, out: Place | None = None) -> None:
        self.state = state
        self.manifest = manifest
        self.out = folder / "out" if out is None else out
        self._folder = folder
        self._base_url = base_url
        self._commands: list[Command] = []

    def run(self, *options: str, poll: str = "fixed:100ms", lease_s: float | None = None) -> Command:
        """Start the command, or start it again. `lease_s` shortens the rows' lease of a run that begins."""
        start = [sys.executable, "-c", _WITH_LEASE, str(lease_s)] if lease_s else [_entry_point()]
        command = [*start, "run", str(self.manifest.path), "--out", str(self.out), "--base-url", self._base_url]
        log = self._folder / f"run-{len(self._commands)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--poll", poll, "--yes", *options],
                cwd=self._folder,
                env=environment(self.state),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._commands.append(Command(process, log))
        return self._commands[-1]

    # Files.

    @property
    def run_id(self) -> str | None:
        """The id of the one run in OUT, once its plan is written."""
        found = [path.name for path in (self.out / "runs").glob("*") if (path / "run.json").exists()]
        assert len(found) <= 1, f"several runs in one OUT: {found}"
        return found[0] if found else None

    @property
    def run_folder(self) -> Place:
        """`OUT/runs/<id>`."""
        return self.out / "runs" / str(self.run_id)

    # Processes.

    def worker(self) -> psutil.Process | None:
        """The main process of the youngest worker that lives, or nothing."""
        workers = [one for one in processes_of(self.state) if _is_main(one)]
        return max(workers, key=lambda one: one.create_time(), default=None)

    def children(self) -> list[psutil.Process]:
        """The worker's child processes: each holds one shift at a time."""
        main = self.worker()
        return main.children() if main is not None else []

    def server_pid(self) -> int | None:
        """The private server's process id, or nothing."""
        with suppress(OSError, ValueError):
            pid = int((self.state / "server.pid").read_text())
            return pid if psutil.pid_exists(pid) else None
        return None

    def submitters(self) -> list[psutil.Process]:
        """Child processes that hold a submit shift now."""
        pids = {int(holder.decode().rsplit("-", 2)[1]) for holder in self._members("shifts:submit")}
        return [child for child in self.children() if child.pid in pids]

    # The ledger.

    def redis(self) -> redis.Redis:
        """A client of the private server; use it as a context manager."""
        return redis.Redis.from_url(f"unix://{self.state / 's'}", socket_timeout=5.0)

    def key(self, name: str) -> str:
        """The name of one of the run's keys in Redis."""
        return f"vidbatch:run:{self.run_id}:{name}"

    def rows(self, state: str) -> set[int]:
        """Indexes of the rows in this state: ready, submitting or pending. Empty while Redis is away."""
        return {int(row) for row in self._members(state)}

    def _members(self, name: str) -> list[bytes]:
        try:
            with self.redis() as client:
                return client.zrange(self.key(name), 0, -1)
        except (redis.RedisError, OSError):
            return []

    def late_ids(self) -> int:
        """How many accepted ids came after their row had gone on without them."""
        with self.redis() as client:
            return int(client.hget(self.key("meta"), "late") or 0)

    def saved_ids(self) -> dict[int, set[str]]:
        """Accepted generation ids that are on disk, by row."""
        ids: dict[int, set[str]] = {}
        for file in listed(self.run_folder / "sent", "*.jsonl"):
            for line in file.read_text().splitlines():
                saved = orjson.loads(line)
                row_index, generation_id, *_ = saved["late"] if isinstance(saved, dict) else saved
                ids.setdefault(row_index, set()).add(generation_id)
        return ids

    def look(self) -> RunSnapshot | None:
        """How the run stands by its ledger; nothing while there is no run or Redis is away."""
        if self.run_id is None or not (self.state / "s").exists():
            return None

        async def snapshot() -> RunSnapshot | None:
            ledger = RedisLedger(f"unix://{self.state / 's'}")
            try:
                return await ledger.snapshot(str(self.run_id))
            finally:
                await ledger.close()

        try:
            return asyncio.run(snapshot())
        except Exception as error:
            if type(error).__name__ == "LedgerUnavailable":
                return None
            raise

    def until(self, holds: Callable[[RunSnapshot], object], what: str, within_s: float = WITHIN_S) -> RunSnapshot:
        """Wait until the run stands like this, and return how it stands."""

        def stands() -> RunSnapshot | None:
            run = self.look()
            return run if run is not None and holds(run) else None

        try:
            return eventually(stands, what, within_s)
        except Lateness as late:
            raise Lateness(f"{late}; it stands like {self.look()}; the last command said:\n{self._told()}") from None

    def _told(self) -> str:
        return self._commands[-1].said if self._commands else ""

    def is_left_alone(self) -> bool:
        """Whether no worker and no command of this state folder lives any more."""
        return not [one for one in processes_of(self.state) if "redis" not in one.name() and "valkey" not in one.name()]

    def kill_everything(self) -> None:
        """End every process of this state folder at once, the server too."""
        for process in processes_of(self.state):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        eventually(lambda: not processes_of(self.state), "all processes are gone")

    def close(self) -> None:
        """End the commands that are still there."""
        for command in self._commands:
            if command.process.poll() is None:
                command.process.kill()
            command.process.wait()


def environment(state: Path) -> dict[str, str]:
    """The environment of a command: this state folder, the tests' key, and nothing of the developer's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VIDBATCH_")}
    return {**kept, "VIDBATCH_STATE": str(state), "VIDBATCH_API_KEY": KEY, "COLUMNS": "200"}


def _entry_point() -> str:
    return str(Path(sys.executable).parent / "vidbatch")


def _is_main(process: psutil.Process) -> bool:
    """Whether this is a worker's main process that lives: its parent is no worker."""
    with suppress(psutil.NoSuchProcess):  # a server that was just started leaves its parent behind
        parent = process.parent()
        living = process.status() != psutil.STATUS_ZOMBIE and _is_worker(process)
        return living and (parent is None or not _is_worker(parent))
    return False


def _is_worker(process: psutil.Process) -> bool:
    return process.cmdline()[1:3] == ["-m", "workers"]


@pytest.fixture
def vidbatch(state, tmp_path) -> Iterator[Callable[[Manifest, Simulator], Vidbatch]]:
    """Makes a `Vidbatch` for a manifest and a simulator; its commands end with the test."""
    made: list[Vidbatch] = []

    def make(manifest: Manifest, simulator: Simulator, out: Place | None = None) -> Vidbatch:
        made.append(Vidbatch(state, tmp_path, manifest, simulator.base_url, out))
        return made[-1]

    yield make
    for one in made:
        one.close()


# The audit.


@dataclass(frozen=True)
class Audit:
    """What a finished run's dataset and the API's own books say of each other. Keys are row indexes."""

    rows: Mapping[int, Mapping[str, Any]]
    posts: Mapping[int, int]
    summary: Mapping[str, Any]
    rejected: int = 0
    extra: dict[int, int] = field(default_factory=dict)

    @property
    def extra_posts(self) -> int:
        """POSTs beyond one a row: what was paid twice."""
        return sum(self.extra.values())

    @property
    def flagged(self) -> set[int]:
        """Rows that say of themselves that they may have been paid for twice."""
        return {index for index, row in self.rows.items() if row["possible_duplicate"]}

    @property
    def outcomes(self) -> Counter[str]:
        """Rows by outcome."""
        return Counter(row["outcome"] for row in self.rows.values())


def read_dataset(out: Place) -> list[dict[str, Any]]:
    """Every annotation in OUT."""
    files = below(out / "annotations", "*.parquet")
    return [row for file in files for row in pq.read_table(parquet_source(file), partitioning=None).to_pylist()]


@pytest.fixture
def audit() -> Callable[..., Audit]:
    """The audit of a finished run: `audit(vidbatch, simulator, unanswered_allowed=0, never_again=pending)`."""
    return audit_of


def audit_of(
    vidbatch: Vidbatch,
    simulator: Simulator,
    *,
    unanswered_allowed: int = 0,
    never_again: Sequence[int] | set[int] = (),
    all_completed: bool = True,
) -> Audit:
    """Hold a finished run's dataset against the manifest and against the simulator's books.

    Every manifest row has exactly one end, with an answer that is its own; every POST beyond one a row is owned up to;
    there are at most `unanswered_allowed` of those, and none for the rows of `never_again`.
    """
    found = _audited(vidbatch, simulator)
    _check_ends(found, vidbatch, all_completed=all_completed)
    _check_answers(found, vidbatch, simulator)
    _check_payment(found)
    again = set(never_again) & set(found.extra)
    assert not again, f"rows that were pending were paid for again: {sorted(again)}"
    assert found.extra_posts <= unanswered_allowed, f"{found.extra_posts} extra POSTs: {found.extra}"
    return found


def _audited(vidbatch: Vidbatch, simulator: Simulator) -> Audit:
    dataset = read_dataset(vidbatch.out)
    twice = [index for index, count in Counter(row["row_index"] for row in dataset).items() if count > 1]
    assert not twice, f"rows that are in the dataset more than once: {sorted(twice)}"
    by_prompt = simulator.posts_by_prompt()
    posts = {i: len(by_prompt.get(vidbatch.manifest.prompt_sha256(i), ())) for i in range(len(vidbatch.manifest.rows))}
    return Audit(
        rows={row["row_index"]: row for row in dataset},
        posts=posts,
        summary=orjson.loads((vidbatch.run_folder / "done.json").read_bytes()),
        rejected=pq.read_metadata(parquet_source(vidbatch.run_folder / "rejects.parquet")).num_rows,
        extra={index: count - 1 for index, count in posts.items() if count > 1},
    )


def _check_ends(found: Audit, vidbatch: Vidbatch, *, all_completed: bool) -> None:
    wanted = len(vidbatch.manifest.rows)
    lost = sorted(set(range(wanted)) - set(found.rows))
    assert len(found.rows) + found.rejected == wanted, f"rows that are nowhere: {lost[:20]} ({len(lost)})"
    counted = {outcome: count for outcome, count in found.summary["outcomes"].items() if count}
    assert counted == dict(found.outcomes), "the done marker counts otherwise than the dataset"
    assert sum(counted.values()) == found.summary["requests"]
    assert found.summary["double_ends"] == 0, found.summary
    if all_completed:
        assert set(found.outcomes) == {"completed"}, found.outcomes


def _check_answers(found: Audit, vidbatch: Vidbatch, simulator: Simulator) -> None:
    by_prompt = simulator.posts_by_prompt()
    for index, row in found.rows.items():
        row_id, url, prompt = vidbatch.manifest.rows[index]
        assert (row["row_id"], row["prompt"], row["video_urls"]) == (row_id, prompt, [url])
        if row["outcome"] == "completed":
            own = digest([url.encode()], prompt)
            assert own in row["content"], f"row {index} has another row's answer"
            assert row["generation_id"] in by_prompt[vidbatch.manifest.prompt_sha256(index)], f"row {index}"


def _check_payment(found: Audit) -> None:
    unsent = [i for i, row in found.rows.items() if row["outcome"] == "completed" and found.posts[i] == 0]
    assert not unsent, f"completed, but never asked: {unsent}"
    silent = [
        index
        for index in found.extra
        if not found.rows[index]["possible_duplicate"] and len(found.rows[index]["attempt_log"]) < found.posts[index]
    ]
    assert not silent, f"rows that were paid for twice and do not say so: {silent}"


# Faults.


@dataclass(frozen=True)
class Caught:
    """A child that is frozen in the middle of a submit shift, and the rows as they stood then."""

    child: psutil.Process
    submitting: set[int]
    pending: set[int]


class Faults:
    """Ways to hurt a run at a moment that is known, and figures of how it got over them."""

    eventually = staticmethod(eventually)

    def until_alone(self, run: Vidbatch) -> None:
        """Wait until nothing but, perhaps, the private server is left of a run's processes."""
        eventually(run.is_left_alone, "the worker leaves")

    def freeze_a_submitter(
        self, run: Vidbatch, simulator: Simulator, *, unanswered: int = 8, pending: int = 8
    ) -> Caught:
        """Freeze a child that has so many received POSTs without an answer, while so many rows are pending."""

        def caught() -> Caught | None:
            for child in run.submitters():
                with suppress(psutil.NoSuchProcess):
                    child.suspend()
                    found = Caught(child, run.rows("submitting"), run.rows("pending"))
                    asked = found.submitting & self.posts(run, simulator).keys()
                    if len(asked) >= unanswered and len(found.pending) >= pending:
                        return found
                    child.resume()
            return None

        return eventually(caught, f"{unanswered} POSTs on the wire and {pending} rows pending")

    def posts(self, run: Vidbatch, simulator: Simulator) -> dict[int, set[str]]:
        """Ids of the accepted generations of each row that was sent."""
        books = simulator.posts_by_prompt()
        rows = {run.manifest.prompt_sha256(row): row for row in range(len(run.manifest.rows))}
        return {rows[prompt]: set(ids) for prompt, ids in books.items()}

    def recovery_s(self, run: Vidbatch, simulator: Simulator, rows: set[int], since: float) -> float:
        """Seconds from `since`, in unix time, until the last of these rows was sent again."""
        prompts = {run.manifest.prompt_sha256(row) for row in rows}
        return max(post["received_at"] for post in simulator.posts() if post["prompt_sha256"] in prompts) - since

    def report(self, what: str, found: Audit, recovery_s: float | None = None) -> None:
        """Print what a fault cost, for whoever runs the tests with `-rP` or `-s`."""
        recovery = "" if recovery_s is None else f"; all sent again after {recovery_s:.1f} s"
        figures = f"{sum(found.posts.values())} POSTs, {found.extra_posts} extra, {len(found.flagged)} rows flagged"
        sys.stdout.write(f"{what}: {figures}{recovery}\n")


@pytest.fixture
def faults() -> Faults:
    """See `Faults`."""
    return Faults()
