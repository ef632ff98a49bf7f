"""What thousands of streams cost the process that follows them: memory of each, and CPU.

    python benchmarks/streams.py [--streams 2000] [--few 50] [--seconds 40]

A whole run in --mode stream with one worker, against a simulated API in a process of its own. The process that holds
the most connections is the follower; its memory with `few` streams open is the baseline of its own, with the same
code, that is compared with its peak while all of them are. CPU is that process's, over the time in which all are open.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

VIDBATCH = str(Path(sys.executable).parent / "vidbatch")
DEADLINE_S = 400.0
KEY = "sk-bench-0123456789"


@dataclass
class Look:
    """One look at the follower: when (s), streams open at the API, resident bytes, CPU seconds so far."""

    at: float
    open: int
    memory: int
    cpu: float


@contextmanager
def simulator(seconds: float) -> Iterator[str]:
    """An API whose generations take so long, and write some sixty chunks each."""
    words = [VIDBATCH, "simulate", "--fast", "--seed", "7", "--latency", f"uniform:{seconds:g}s,{1.5 * seconds:g}s"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "http://" in line)
        yield next(word for word in line.split() if word.startswith("http://")).rstrip(".,;")
    finally:
        process.terminate()
        process.wait()


def follower_of(command: psutil.Process, api_port: int) -> psutil.Process | None:
    """The process of the run that holds the most connections to the API."""
    held = []
    for process in command.children(recursive=True):
        try:
            found = process.net_connections("tcp")
        except psutil.Error:
            continue
        held.append((sum(bool(one.raddr) and one.raddr.port == api_port for one in found), process))
    most = max(held, key=lambda pair: pair[0], default=(0, None))
    return most[1] if most[0] else None


def main() -> None:
    """Run, look, and print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=2_000)
    parser.add_argument("--few", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=40.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vb-", dir="/tmp") as scratch, simulator(asked.seconds) as url:
        looks = watch(Path(scratch), url, asked.streams)
        told = httpx.get(f"{url}/admin/summary").json()
    report(looks, told, asked.streams, asked.few)


def watch(folder: Path, url: str, streams: int) -> list[Look]:
    """A whole run, looked at several times a second."""
    with (folder / "videos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["video_url"], *([f"https://videos.example/{i}.mp4"] for i in range(streams))])
    words = ["run", "videos.csv", "--prompt", "Describe the video.", "--out", "out", "--mode", "stream", "--yes"]
    environment = {**os.environ, "VIDBATCH_API_KEY": KEY, "VIDBATCH_STATE": str(folder / "state")}
    port, looks, follower = int(url.rpartition(":")[2].strip("/")), [], None
    began = time.monotonic()
    with (folder / "said.txt").open("w") as said:
        run = psutil.Popen([VIDBATCH, *words, "--base-url", url], cwd=folder, env=environment, stderr=said, stdout=said)
        while run.poll() is None:
            if time.monotonic() - began > DEADLINE_S:
                run.terminate()
                raise SystemExit(f"not through within {DEADLINE_S:g} s: {(folder / 'said.txt').read_text()}")
            opened = httpx.get(f"{url}/admin/summary").json()["open_streams"]
            if opened and (follower is None or opened < 0.9 * streams):
                follower = follower_of(psutil.Process(run.pid), port) or follower
            if follower is not None and opened:
                try:
                    used = follower.cpu_times()
                    memory = follower.memory_info().rss
                    looks.append(Look(time.monotonic() - began, opened, memory, used.user + used.system))
                except psutil.NoSuchProcess:
                    follower = None
            time.sleep(0.2)
    print((folder / "said.txt").read_text().strip().splitlines()[-5])
    return looks


def report(looks: list[Look], told: dict[str, object], streams: int, few: int) -> None:
    """Print the figures."""
    base = [look for look in looks if look.open <= few]
    full = [look for look in looks if look.open >= 0.97 * streams]
    if not base or not full:
        raise SystemExit(f"never saw both few and all streams open: {[look.open for look in looks]}")
    peak, before = max(look.memory for look in looks), max(look.memory for look in base if look.at < full[0].at)
    most = max(look.open for look in looks)
    rise = [look for look in looks if look.at <= full[-1].at]
    seconds, cpu = rise[-1].at - rise[0].at, rise[-1].cpu - rise[0].cpu
    print(f"streams open at a time in one process: {most:,}; all of the API: {told['max_open_streams']:,}")
    print(f"resident: {before / 1e6:.1f} MB with few, {peak / 1e6:.1f} MB at most")
    print(f"a stream: {(peak - before) / most / 1e3:.1f} kB")
    share = 100 * cpu / seconds
    print(f"CPU: {cpu:.1f} s in {seconds:.0f} s, {share:.0f}% of a core, {1e3 * cpu / streams:.1f} ms a stream")
    counted = ("stream_connections", "stream_chunks", "posts_accepted")
    print(", ".join(f"{name.replace('_', ' ')}: {told[name]:,}" for name in counted))


if __name__ == "__main__":
    main()
