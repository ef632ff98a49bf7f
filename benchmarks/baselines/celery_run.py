"""A whole Celery run: a Redis server of its own, one worker of two processes, the producer; ends when all is written.

python celery_run.py MANIFEST OUT_FOLDER --base-url URL --server REDIS_SERVER
"""

import argparse
import csv
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PROCESSES = 2
LOOK_S = 0.5


def start_server(binary: str, folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """A server that keeps what it is told in a file, synced every second, as Redis is usually run."""
    path = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--save", ""]
    options += ["--appendonly", "yes", "--appendfsync", "everysec", "--logfile", str(folder / "redis.log")]
    server = subprocess.Popen([binary, *options])
    while server.poll() is None:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
            return server, path
        time.sleep(0.02)
    raise RuntimeError(f"the server ended with {server.returncode}")


def start_worker(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """One worker with two processes, without what one worker has no use for."""
    words = ["-A", "celery_rows", "--workdir", str(Path(__file__).parent), "worker", "-P", "prefork"]
    words += ["-c", str(PROCESSES), "-l", "warning", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    return subprocess.Popen([sys.executable, "-m", "celery", *words], env=environment)


def produce(manifest: Path) -> int:
    """Send one task a row, all through one connection; how many rows there are."""
    from celery_rows import annotate, app  # noqa: PLC0415 - it reads its settings from the environment

    count = 0
    with manifest.open(newline="", encoding="utf-8") as file, app.producer_pool.acquire(block=True) as producer:
        for row in csv.DictReader(file):
            annotate.apply_async((row,), producer=producer)
            count += 1
    return count


class Lines:
    """How many lines the files of a folder have, read only where they grew."""

    def __init__(self, folder: Path) -> None:
        self.count = 0
        self._folder = folder
        self._read: dict[Path, int] = {}

    def look(self) -> int:
        """Count what came since the last look."""
        for path in self._folder.glob("*.jsonl"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                new = file.read()
            self._read[path] = self._read.get(path, 0) + len(new)
            self.count += new.count(b"\n")
        return self.count


def main() -> None:
    """Read the words and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--server", required=True, help="path of a Redis server")
    parser.add_argument("--at-once", action="store_true", help="poll in the task of the POST, too")
    given = parser.parse_args()
    given.out.mkdir()
    with tempfile.TemporaryDirectory(prefix="cel-") as folder:
        server, path = start_server(given.server, Path(folder))
        told = {"BROKER": f"redis+socket://{path}", "BASE_URL": given.base_url, "OUT_FOLDER": str(given.out.resolve())}
        os.environ.update(told | ({"POLL_AT_ONCE": "1"} if given.at_once else {}))
        worker = start_worker(dict(os.environ))
        try:
            count, lines = produce(given.manifest), Lines(given.out)
            while lines.look() < count:
                if worker.poll() is not None:
                    raise RuntimeError(f"the worker ended with {worker.returncode}")
                time.sleep(LOOK_S)
        finally:
            worker.terminate()
            worker.wait()
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
