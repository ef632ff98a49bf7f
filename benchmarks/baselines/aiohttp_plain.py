"""A fast script: asyncio and aiohttp, so many coroutines over the rows, JSON lines out; nothing survives a crash.

python aiohttp_plain.py MANIFEST OUT --base-url URL [--at-once 64] [--uvloop]
"""

import argparse
import asyncio
import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import aiohttp

PROMPT = "Describe the video."
MODEL = "gemini-2.5-pro"
CONNECTIONS = 64
POLL_WAITS_S = (0.0, 1.0, 2.0, 5.0)
"""Waits before each poll; the last one goes on."""
ATTEMPTS = 6


async def asked(session: aiohttp.ClientSession, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The answer's JSON; what may pass is tried again, later each time."""
    for attempt in range(ATTEMPTS):
        wait_s = float(2**attempt)
        try:
            async with session.request(method, path, json=body) as answer:
                if answer.status != 429 and answer.status < 500:
                    answer.raise_for_status()
                    return await answer.json()
                wait_s = float(answer.headers.get("Retry-After", wait_s))
        except (aiohttp.ClientConnectionError, TimeoutError):
            if attempt == ATTEMPTS - 1:
                raise
        await asyncio.sleep(wait_s)
    raise RuntimeError(f"{method} {path}: no answer after {ATTEMPTS} attempts")


async def annotate(session: aiohttp.ClientSession, row: dict[str, str]) -> dict[str, Any]:
    """Send one row and poll until it ends."""
    body = {"model": MODEL, "prompt": PROMPT, "video_urls": [row["video_url"]]}
    task = await asked(session, "POST", "/v1/llm/generations", body)
    polls = 0
    while task["status"] not in ("completed", "failed"):
        await asyncio.sleep(POLL_WAITS_S[min(polls, len(POLL_WAITS_S) - 1)])
        task = await asked(session, "GET", f"/v1/tasks/{task['id']}")
        polls += 1
    return task


def line_of(row: dict[str, str], task: dict[str, Any]) -> str:
    """What is kept of a row: its id, how it ended, the answer and what it used."""
    answer = task["results"][0] if task["status"] == "completed" else {}
    kept = {"id": row["id"], "status": task["status"], "generation": task["id"], "error": task.get("error")}
    if answer:
        kept |= {"content": answer["choices"][0]["message"]["content"], "usage": answer["usage"]}
    return json.dumps(kept) + "\n"


async def run(manifest: Path, out: TextIO, base_url: str, at_once: int) -> None:
    """Annotate every row of the manifest by so many coroutines, which share the connections."""

    async def work(session: aiohttp.ClientSession, rows: Iterator[dict[str, str]]) -> None:
        for row in rows:
            task = await annotate(session, row)
            out.write(line_of(row, task))

    headers = {"Authorization": f"Bearer {os.environ['API_KEY']}"}
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    timeout = aiohttp.ClientTimeout(total=60)
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = iter(csv.DictReader(file))
        async with aiohttp.ClientSession(base_url, headers=headers, connector=connector, timeout=timeout) as session:
            await asyncio.gather(*(work(session, rows) for _ in range(at_once)))


def main() -> None:
    """Read the words and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--uvloop", action="store_true")
    given = parser.parse_args()
    factory = None
    if given.uvloop:
        import uvloop  # noqa: PLC0415 - only who asks for it

        factory = uvloop.new_event_loop
    with given.out.open("w", encoding="utf-8") as out, asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run(given.manifest, out, given.base_url, given.at_once))


if __name__ == "__main__":
    main()
