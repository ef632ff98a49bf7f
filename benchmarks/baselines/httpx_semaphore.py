"""A script as many people write it: asyncio and httpx, a semaphore around each row, JSON lines out.

python httpx_semaphore.py MANIFEST OUT --base-url URL [--at-once 64]
"""

import argparse
import asyncio
import csv
import json
import os
from pathlib import Path
from typing import Any, TextIO

import httpx

PROMPT = "Describe the video."
MODEL = "gemini-2.5-pro"
POLL_WAITS_S = (0.0, 1.0, 2.0, 5.0)
"""Waits before each poll; the last one goes on."""
ATTEMPTS = 6


async def asked(client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The answer's JSON; what may pass is tried again, later each time."""
    for attempt in range(ATTEMPTS):
        wait_s = float(2**attempt)
        try:
            answer = await client.request(method, path, json=body)
        except httpx.TransportError:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            if answer.status_code != 429 and answer.status_code < 500:
                return answer.raise_for_status().json()
            wait_s = float(answer.headers.get("Retry-After", wait_s))
        await asyncio.sleep(wait_s)
    raise RuntimeError(f"{method} {path}: no answer after {ATTEMPTS} attempts")


async def annotate(client: httpx.AsyncClient, row: dict[str, str]) -> dict[str, Any]:
    """Send one row and poll until it ends."""
    body = {"model": MODEL, "prompt": PROMPT, "video_urls": [row["video_url"]]}
    task = await asked(client, "POST", "/v1/llm/generations", body)
    polls = 0
    while task["status"] not in ("completed", "failed"):
        await asyncio.sleep(POLL_WAITS_S[min(polls, len(POLL_WAITS_S) - 1)])
        task = await asked(client, "GET", f"/v1/tasks/{task['id']}")
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
    """Annotate every row of the manifest, so many at once."""
    semaphore = asyncio.Semaphore(at_once)
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    headers = {"Authorization": f"Bearer {os.environ['API_KEY']}"}

    async with httpx.AsyncClient(base_url=base_url, headers=headers, limits=limits, timeout=60.0) as client:

        async def one(row: dict[str, str]) -> None:
            async with semaphore:
                out.write(line_of(row, await annotate(client, row)))

        with manifest.open(newline="", encoding="utf-8") as file:
            await asyncio.gather(*[one(row) for row in csv.DictReader(file)])


def main() -> None:
    """Read the words and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--at-once", type=int, default=64)
    given = parser.parse_args()
    with given.out.open("w", encoding="utf-8") as out:
        asyncio.run(run(given.manifest, out, given.base_url, given.at_once))


if __name__ == "__main__":
    main()
