"""What one request costs the simulator: CPU of the server process, fast mode, 64 connections, submit + poll.

python benchmarks/simulator_cost.py [ROWS]
"""

import asyncio
import subprocess
import sys
import time

import aiohttp
import orjson
import psutil
import uvloop

CONNECTIONS = 64
HEADERS = {"Authorization": "Bearer sk-benchmark", "Content-Type": "application/json"}


def start() -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "pipeline.simulator", "--fast", "--latency", "0s", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return server, server.stdout.readline().split()[-1]


def cpu(pid: int) -> tuple[float, float]:
    times = psutil.Process(pid).cpu_times()
    return times.user, times.system


async def row(session: aiohttp.ClientSession, base_url: str, index: int) -> None:
    body = orjson.dumps(
        {
            "model": "gemini-2.5-pro",
            "prompt": "Describe the video.",
            "video_urls": [f"https://videos.example/library/{index:07}.mp4"],
        }
    )
    async with session.post(f"{base_url}/v1/llm/generations", data=body, headers=HEADERS) as answer:
        task = orjson.loads(await answer.read())
    async with session.get(f"{base_url}/v1/tasks/{task['id']}", headers=HEADERS) as answer:
        assert orjson.loads(await answer.read())["status"] == "completed"


async def drive(base_url: str, rows: int) -> None:
    indexes = iter(range(rows))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:

        async def worker() -> None:
            for index in indexes:
                await row(session, base_url, index)

        await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))


def main(rows: int) -> None:
    server, base_url = start()
    try:
        uvloop.run(drive(base_url, 500))
        before, began = cpu(server.pid), time.perf_counter()
        memory = psutil.Process(server.pid).memory_info().rss
        uvloop.run(drive(base_url, rows))
        elapsed = time.perf_counter() - began
        user, system = (1e3 * (now - then) / (2 * rows) for now, then in zip(cpu(server.pid), before, strict=True))
        grown = psutil.Process(server.pid).memory_info().rss - memory
    finally:
        server.terminate()
        server.wait()
    print(
        f"{rows} rows, {2 * rows} requests in {elapsed:.1f} s: {user + system:.3f} ms CPU a request "
        f"({user:.3f} user + {system:.3f} system), "
        f"{2 * rows / elapsed:.0f} requests/s, {grown / rows:.0f} bytes kept a row"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
