"""Runs that are handed to a fleet: started here, served elsewhere, looked at from anywhere."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import orjson
import pytest


def test_a_detached_run_goes_on_without_its_command(terminal, fleet, simulator, manifest):
    api = simulator(latency="8s")
    detached = terminal(
        *("run", manifest(6).path, "--out", "out", "--base-url", api.base_url, "--yes", "--detach", "--json"),
        *("--redis", fleet.url, "--max-in-flight", 5, "--priority", 30, "--account", "lab"),
        VIDBATCH_REDIS=None,
    )
    assert detached.code == 0
    [run] = (terminal.folder / "out" / "runs").glob("2*")
    assert not (run / "done.json").exists(), "it returned only when the run was over"
    assert orjson.loads(detached.out) == {"run_id": run.name, "out": str(run.parents[1]), "state": "detached"}
    status = terminal("status", run.name, "--redis", fleet.url, VIDBATCH_REDIS=None)
    assert status.code == 0
    assert run.name in status.out
    [told] = orjson.loads(terminal("status", "--json", run.name).out)
    assert (told["run_id"], told["requests"]) == (run.name, 6)
    assert (told["account"], told["priority"], told["limits"]["max_in_flight"]) == ("lab", 30, 5)
    seen, closed = terminal.starts("watch", run.name, "--json"), terminal.starts("watch", run.name)
    closed.until(lambda: f"watching run {run.name}" in closed.said, "it watches")
    closed.interrupt()
    assert closed.ends().code == 0
    assert "goes on" in closed.said
    watching = terminal("run", manifest(6).path, "--out", "out", "--base-url", api.base_url, "--yes")
    assert watching.code == 0
    assert api.summary()["posts_accepted"] == 6
    looks = [orjson.loads(line) for line in seen.ends().out.splitlines()]
    assert seen.process.returncode == 0, "it ends as the run does"
    assert (looks[0]["state"], looks[0]["run_id"]) == ("running", run.name)
    assert looks[-1]["outcomes"]["completed"] == 6
    assert terminal("status", "20260101-000000-abcdef").code == 2


@pytest.mark.slow
def test_a_run_says_what_its_workers_lack(terminal, redis_url, simulator, manifest):
    api = simulator()
    command = ("run", manifest(3).path, "--base-url", api.base_url, "--yes")
    nobody = terminal.starts(*command, "--out", "nobody", VIDBATCH_REDIS=redis_url)
    stranger = terminal.starts(*command, "--out", "stranger", VIDBATCH_API_KEY="sk-a-key-that-no-worker-holds")
    nobody.until(lambda: "no worker is running" in nobody.said, "it says that nobody serves")
    stranger.until(lambda: "no worker holds this run's API key" in stranger.said, "it says that the key is missing")
    for waiting in (nobody, stranger):
        waiting.interrupt()
        assert waiting.ends().code == 130
    assert api.summary()["posts_received"] == 0


def test_a_terminal_shows_counts_and_is_left_as_it_was(terminal, simulator, manifest):
    api = simulator(latency="1s")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    command = [
        str(Path(sys.executable).parent / "vidbatch"),
        "run",
        str(manifest(12).path),
        "--out",
        "out",
        "--base-url",
        api.base_url,
        "--yes",
    ]
    environment = {**terminal.environment, "TERM": "xterm-256color"}
    environment.pop("COLUMNS")
    typed = subprocess.Popen(command, env=environment, cwd=terminal.folder, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while got := _read(ours):
        shown += got
    os.close(ours)
    assert typed.wait(60) == 0, shown
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "Traceback" not in text
    for told in ("of 12 rows", "pending", "rows: 12 = 12 completed"):
        assert told in text
    assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l"), "the cursor stays hidden"


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other side is gone
        return b""
