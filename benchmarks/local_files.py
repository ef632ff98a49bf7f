"""How much memory a run of local files takes, process by process.

    python benchmarks/local_files.py [--files 200] [--megabytes 15] [--workers 2] [--upload]

Writes files that begin as MP4 and hold random bytes, runs `vidbatch run` on them against a simulator, and tells the peak
of each process's resident memory.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

HEAD = b"\0\0\0\x18ftypisom\0\0\0\0isommp42"
BAR_MB = 300


def written(folder: Path, files: int, size: int) -> Path:
    for index in range(files):
        with (folder / f"{index}.mp4").open("wb") as file:
            file.write(HEAD + index.to_bytes(8, "big"))
            file.write(os.urandom(size - len(HEAD) - 8))
    manifest = folder / "videos.jsonl"
    rows = [{"id": str(i), "video_url": f"{i}.mp4", "prompt": f"Describe {i}."} for i in range(files)]
    manifest.write_text("\n".join(map(json.dumps, rows)))
    return manifest


class Peaks(threading.Thread):
    """Watches all processes of a state folder; the kernel keeps each one's peak."""

    def __init__(self, state: Path) -> None:
        super().__init__(daemon=True)
        self._state = str(state)
        self.over = threading.Event()
        self.peaks: dict[int, tuple[str, int]] = {}

    def run(self) -> None:
        while not self.over.wait(0.2):
            for process in psutil.process_iter():
                try:
                    if process.environ().get("VIDBATCH_STATE") != self._state:
                        continue
                    status = Path(f"/proc/{process.pid}/status").read_text()
                    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
                    words = process.cmdline()
                except (psutil.Error, OSError, StopIteration):
                    continue
                self.peaks[process.pid] = (" ".join(words[1:4])[-60:], peak // 1024)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--megabytes", type=int, default=15)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--upload", action="store_true")
    given = parser.parse_args()
    folder, state = Path(tempfile.mkdtemp(prefix="vb-files-")), Path(tempfile.mkdtemp(prefix="vb-", dir="/tmp"))
    simulator = subprocess.Popen(
        [sys.executable, "-m", "pipeline.simulator", "--port", "0", "--fast", "--latency", "0.2s"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert simulator.stdout is not None
        base_url = simulator.stdout.readline().split()[-1]
        manifest = written(folder, given.files, given.megabytes * 1_000_000)
        watch = Peaks(state)
        watch.start()
        began = time.monotonic()
        words = ["run", manifest, "--out", folder / "out", "--base-url", base_url, "--media-root", folder, "--yes"]
        words += ["--workers", given.workers, *(["--upload"] if given.upload else [])]
        environment = {**os.environ, "VIDBATCH_STATE": str(state), "VIDBATCH_API_KEY": "sk-bench-0123456789"}
        done = subprocess.run(
            [Path(sys.executable).parent / "vidbatch", *map(str, words)], env=environment, check=False
        )
        seconds = time.monotonic() - began
        watch.over.set()
        watch.join()
        for pid, (name, peak) in sorted(watch.peaks.items(), key=lambda one: -one[1][1]):
            print(f"{peak:6} MB  {pid:8}  {name}")
        highest = max(peak for _, peak in watch.peaks.values())
        bar = f"the highest peak is {highest} MB (bar: {BAR_MB} MB)"
        print(f"{given.files} files of {given.megabytes} MB in {seconds:.1f} s, exit {done.returncode}; {bar}")
        return int(done.returncode != 0 or highest > BAR_MB)
    finally:
        simulator.kill()
        simulator.wait()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(state, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
