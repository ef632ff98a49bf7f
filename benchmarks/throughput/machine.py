"""On what a figure was measured: the machine and the versions."""

import os
import platform
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pipeline.edges.embedded import server_binary

PACKAGES = ("celery", "httpx", "aiohttp", "pyarrow", "uvloop", "redis", "orjson", "duckdb")


def facts(root: Path) -> Iterator[tuple[str, str]]:
    """What is to be known, line by line."""
    yield "date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    yield "vidbatch", f"{version('vidbatch')}, commit {_commit(root)}"
    yield "processor", f"{_after('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores"
    kilobytes = int(_after("/proc/meminfo", "MemTotal").split()[0])
    yield "memory", f"{kilobytes / 2**20:.1f} GB"
    yield "system", f"{platform.system()} {platform.release()}"
    yield "Python", platform.python_version()
    yield "packages", ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    yield "Redis server", _said(server_binary(os.environ.get("PATH")), "--version")


def _after(path: str, name: str) -> str:
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return "unknown"


def _commit(root: Path) -> str:
    # the results themselves are written before they are committed
    status = _said("git", "-C", str(root), "status", "--porcelain", "--", ".", ":!benchmarks/RESULTS.md")
    changed = " with changes that are not committed" if status else ""
    return _said("git", "-C", str(root), "rev-parse", "--short=12", "HEAD") + changed


def _said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
