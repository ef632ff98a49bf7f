"""A simulator as a process: its switches, its books, and when requests came; and waiting with a deadline."""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import httpx
import orjson

from benchmarks.pacing_real.arrivals import Arrival, arrivals_of

PAGE = 10_000
T = TypeVar("T")


class Lateness(Exception):
    """Something that did not come in time."""


def eventually(condition: Callable[[], T | None], what: str, within_s: float, every_s: float = 0.1) -> T:
    """Wait until `condition()` is something and return it. `Lateness` names what was waited for."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise Lateness(f"not within {within_s:g} s: {what}")
        time.sleep(every_s)
    return found


class Simulator:
    """A simulator as a process of its own, in fast mode; keywords are its switches."""

    def __init__(self, **switches: object) -> None:
        options = [_option(name.replace("_", "-"), value) for name, value in switches.items()]
        command = [sys.executable, "-m", "pipeline.simulator", "--port", "0", "--fast", *options]
        # a session of its own: Ctrl-C is for the bench, which then ends what it started in order
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line.startswith("simulator ready "):
            raise Lateness("the simulator did not start; its own message stands above")
        self.base_url = line.split()[-1]
        self._client = httpx.Client(base_url=self.base_url, timeout=60.0, trust_env=False)

    def switch(self, **switches: object) -> float:
        """Change switches while it runs; the unix time at which it had them."""
        self._client.post("/admin/settings", content=orjson.dumps(switches)).raise_for_status()
        return time.time()

    def summary(self) -> dict[str, Any]:
        """Counts: `posts_received`, `posts_accepted`, `open`, `max_open`, `polls` …"""
        return dict(self._client.get("/admin/summary").raise_for_status().json())

    def posts(self) -> list[dict[str, Any]]:
        """Every accepted POST in order: `id`, `prompt_sha256`, `outcome`, `prompt_tokens`, `cost`, `answered` …"""
        return self._pages("/admin/posts", "posts")

    def arrivals(self, kind: str = "posts") -> list[Arrival]:
        """Every POST, or every poll, in the order of time."""
        return arrivals_of(self._pages(f"/admin/arrivals?kind={kind}", "arrivals"))

    def arrival(self, number: int, kind: str = "posts") -> Arrival | None:
        """One POST, or one poll, by its place in the order of arrival; nothing when there were not so many."""
        place = {"kind": kind, "offset": number, "limit": 1}
        answer = self._client.get("/admin/arrivals", params=place).raise_for_status()
        return next(iter(arrivals_of(answer.json()["arrivals"])), None)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def _pages(self, path: str, name: str) -> list[Any]:
        found: list[Any] = []
        while True:
            page = self._client.get(path, params=httpx.QueryParams(path.partition("?")[2]).merge(_page(len(found))))
            content = page.raise_for_status().json()
            found += content[name]
            if len(found) >= content["count"]:
                return found

    def close(self) -> None:
        """End the process."""
        self._client.close()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()


def _option(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name}={value}"


def _page(offset: int) -> dict[str, int]:
    return {"offset": offset, "limit": PAGE}
