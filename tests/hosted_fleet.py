"""A fleet on hosts of its own: Redis with a writer on one, senders on two that see no file of the run, the API on one.

Senders have two cables, one towards Redis and one towards the API.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
import redis

from pipeline.core.snapshot import RunSnapshot
from pipeline.edges.redis_ledger import RedisLedger
from tests.hosts import Host, Network

KEY = "sk-hosts-0123456789"
LEDGER, API = "ledger", "api"
HOME, SENDERS, VENDOR = "host-a", ("host-b", "host-c"), "host-d"
VIDBATCH = str(Path(sys.executable).parent / "vidbatch")


@dataclass(frozen=True)
class Held:
    """A row in hand: who holds it, since when (ms of Redis's clock), and in which state."""

    host: str
    since_ms: int
    state: str


class HostedApi:
    """The simulated API on a host of its own; its books are read there."""

    def __init__(self, net: Network, host: Host, folder: Path, switches: Mapping[str, object]) -> None:
        self._host = host
        options = [word for name, value in switches.items() for word in (f"--{name.replace('_', '-')}", value)]
        serving = (sys.executable, "-m", "pipeline.simulator", "--host", "0.0.0.0", "--port", 8080, "--fast")
        host.starts((*serving, *options), {"PATH": "/usr/bin:/bin"}, folder / "simulator.log")
        self.base_url = f"http://{net.address(VENDOR, API)}:8080"

    @property
    def answers(self) -> bool:
        """Whether it is there."""
        try:
            return bool(self.summary())
        except httpx.TransportError:
            return False

    def summary(self) -> dict[str, Any]:
        """Counts, as `posts_received`."""
        return self._told("summary")

    def posts_by_prompt(self) -> dict[str, list[str]]:
        """Ids of the accepted generations by the SHA-256 of their prompt."""
        by_prompt: dict[str, list[str]] = {}
        for post in self._told("posts", limit=10_000)["posts"]:
            by_prompt.setdefault(post["prompt_sha256"], []).append(post["id"])
        return by_prompt

    def _told(self, what: str, **params: int) -> dict[str, Any]:
        with self._host.network(), httpx.Client(trust_env=False, timeout=30.0) as client:
            return client.get(f"http://127.0.0.1:8080/admin/{what}", params=params).json()


class HostedFleet:
    """The hosts, what works on them, and one run of theirs. `out` and `manifest` are seen by the first host alone."""

    def __init__(self, net: Network, folder: Path, state: Path, manifest: Any, server: str) -> None:
        self.net = net
        self.manifest = manifest
        self.out = folder / "out"
        self._folder = folder
        self._state = state
        self._server = server
        self._password = uuid4().hex
        self.hosts = {HOME: net.host(HOME, (LEDGER,))}
        self.hosts |= {name: net.host(name, (LEDGER, API), hides=(folder,)) for name in SENDERS}
        self.hosts[VENDOR] = net.host(VENDOR, (API,))
        self.url = f"redis://:{self._password}@{net.address(HOME, LEDGER)}:6379/0"
        self.workers: dict[str, Any] = {}

    def serve(self, eventually: Callable[..., Any], **switches: object) -> HostedApi:
        """Start Redis, the API and a worker on each host; return when all are there."""
        home = self.hosts[HOME]
        options = ("--bind", self.net.address(HOME, LEDGER), "--requirepass", self._password, "--save", "")
        kept = ("--appendonly", "yes", "--dir", self._state)
        home.starts((self._server, *options, *kept), {}, self._state / "redis.log")
        api = HostedApi(self.net, self.hosts[VENDOR], self._folder, switches)
        self.works(HOME, "write,control")
        for name in SENDERS:
            self.works(name, "submit,poll", "--workers", 2)
        eventually(lambda: api.answers, "the API answers")
        eventually(lambda: len(self.cards()) == len(self.workers), "every worker is there")
        return api

    def works(self, name: str, roles: str, *more: object) -> None:
        """Start a worker on a host."""
        command = (VIDBATCH, "worker", "--roles", roles, *more)
        log = self._folder / f"{name}.log"
        self.workers[name] = self.hosts[name].starts(command, self._environment(name), log)

    def run(self, api: HostedApi, *options: object) -> Any:
        """Give the command, on the host that sees the files."""
        command = (VIDBATCH, "run", self.manifest.path, "--out", self.out, "--base-url", api.base_url, "--yes")
        log = self._folder / "run.log"
        return self.hosts[HOME].starts((*command, *options), self._environment(HOME), log)

    def said(self, name: str = "run") -> str:
        """What a host's worker, or the command, said."""
        return (self._folder / f"{name}.log").read_text(encoding="utf-8")

    def _environment(self, name: str) -> dict[str, str]:
        there = {"PATH": "/usr/bin:/bin", "VIDBATCH_REDIS": self.url, "VIDBATCH_STATE": str(self._state / name)}
        return {**there, "VIDBATCH_API_KEY": KEY, "VIDBATCH_OFFLINE": "1", "COLUMNS": "200"}

    # What the ledger knows.

    @property
    def run_id(self) -> str | None:
        """The id of the one run, once its plan is written."""
        found = [path.name for path in (self.out / "runs").glob("*") if (path / "run.json").exists()]
        return found[0] if found else None

    @property
    def run_folder(self) -> Path:
        """`OUT/runs/<id>`."""
        return self.out / "runs" / str(self.run_id)

    def cards(self) -> list[Any]:
        """Workers that are alive, as they registered."""
        try:
            with self._redis() as client:
                names = list(client.scan_iter("vidbatch:worker:*"))
                return [orjson.loads(card) for card in client.mget(names) if card] if names else []
        except redis.RedisError:
            return []

    def look(self) -> RunSnapshot | None:
        """How the run stands."""

        async def snapshot(run_id: str) -> RunSnapshot | None:
            ledger = RedisLedger(self.url)
            try:
                return await ledger.snapshot(run_id)
            finally:
                await ledger.close()

        with self.hosts[HOME].network():
            return asyncio.run(snapshot(self.run_id)) if self.run_id else None

    def held(self, host: str, state: str) -> dict[int, Held]:
        """The rows that a host's worker took last, of those in this state: by its token, which says when."""
        with self._redis() as client:
            rows = client.zrange(f"vidbatch:run:{self.run_id}:{state}", 0, -1)
            tokens = client.hmget(f"vidbatch:run:{self.run_id}:tokens", rows) if rows else []
        found = {}
        for row, token in zip(rows, tokens, strict=True):
            since, holder = (token or b"0:").decode().split("|")[-1].split(":")[:2]
            if holder.startswith(host):
                found[int(row)] = Held(host, int(since), state)
        return found

    def now_ms(self) -> int:
        """Redis's time."""
        with self._redis() as client:
            seconds, micros = client.time()
            return seconds * 1000 + micros // 1000

    @contextmanager
    def _redis(self) -> Iterator[redis.Redis]:
        with self.hosts[HOME].network(), redis.Redis.from_url(self.url, socket_timeout=5.0) as client:
            yield client


def passed(seconds: float) -> Callable[[], bool]:
    """Whether so many seconds have passed since now."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() >= until
