"""A simulator as a process of its own, for the demo and the fault lab: started, asked for its books, stopped."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson

from pipeline.core.errors import SystemTrouble
from pipeline.edges.http import DoorError, HttpDoor
from pipeline.edges.http_transport import HttpSettings

LEAVE_S = 10.0
_PAGE = 10_000
_OK = 200


@contextmanager
def local_simulator(options: Sequence[str]) -> Iterator[str]:
    """The base URL of a simulator on a free port. SystemTrouble when it does not start."""
    command = [sys.executable, "-m", "pipeline.simulator", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own words
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line.startswith("simulator ready "):
            raise SystemTrouble("the simulator did not start; its own message stands above")
        yield line.split()[-1]
    finally:
        process.terminate()
        try:
            process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


class SimulatorBooks:
    """The back door of a running simulator: what it accepted and billed, and its switches."""

    def __init__(self, base_url: str) -> None:
        self._url = base_url
        self._door = HttpDoor(HttpSettings(connections=4))

    async def summary(self) -> dict[str, Any]:
        """Counts: `posts_received`, `posts_accepted`, `open`, `completed`, `polls`, `refused`, `post_answers` …."""
        return await self._get("/admin/summary")

    async def posts(self) -> list[dict[str, Any]]:
        """Every accepted POST in order: `id`, `prompt_sha256`, `video_urls`, `received_at`, `outcome`, `answered` …."""
        found: list[dict[str, Any]] = []
        while True:
            page = await self._get(f"/admin/posts?offset={len(found)}&limit={_PAGE}")
            found += page["posts"]
            if len(found) >= page["count"]:
                return found

    async def switches(self) -> dict[str, Any]:
        """Every switch as it stands now; accepted keys are only counted."""
        return await self._get("/admin/settings")

    async def switch(self, **switches: object) -> None:
        """Change switches while it runs, such as `latency="2s"`. SystemTrouble when it knows no such switch."""
        try:
            reply = await self._door.post(f"{self._url}/admin/settings", _JSON, orjson.dumps(switches))
        except DoorError as error:
            raise SystemTrouble(f"the simulator does not answer: {error}") from error
        if reply.status != _OK:
            raise SystemTrouble(f"the simulator refuses its switches: {reply.body.decode(errors='replace')}")

    async def close(self) -> None:
        """Close the connections."""
        await self._door.close()

    async def _get(self, path: str) -> dict[str, Any]:
        try:
            reply = await self._door.get(f"{self._url}{path}", {})
        except DoorError as error:
            raise SystemTrouble(f"the simulator does not answer: {error}") from error
        return dict(orjson.loads(reply.body))


_JSON: Mapping[str, str] = {"content-type": "application/json"}
