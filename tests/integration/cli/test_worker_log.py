"""What a real worker writes while much goes wrong: JSON lines, the events that tell of it, and never a secret."""

import os
import secrets
import socket
import subprocess
from collections import Counter
from contextlib import suppress

import orjson
import pytest
import redis

from pipeline.core.log_events import EVENTS
from pipeline.edges.embedded import server_binary

KEY = "sk-logged-0123456789-abcdefgh"
PASSWORD = f"pa55word-{secrets.token_hex(8)}"
ROWS = 40


@pytest.fixture
def guarded(tmp_path):
    """A server with a password, on a port of loopback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    words = ["--port", str(port), "--requirepass", PASSWORD, "--dir", str(tmp_path), "--save", "", "--daemonize", "no"]
    words += ["--appendonly", "yes", "--logfile", str(tmp_path / "redis.log")]
    with subprocess.Popen([server_binary(os.environ.get("PATH")), *words]) as server:
        try:
            yield server, f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
        finally:
            server.terminate()


def pings(url):
    with suppress(redis.RedisError, OSError), redis.Redis.from_url(url, socket_timeout=1.0) as client:
        return client.ping()
    return False


def events(typed):
    return Counter(orjson.loads(line)["event"] for line in typed.said.splitlines())


@pytest.mark.slow
def test_a_faulty_run_is_told_by_its_events_and_without_secrets(alone, guarded, simulator, manifest, faults):
    server, url = guarded
    faults.eventually(lambda: pings(url), "the server answers")
    api = simulator(latency="0.1s", keys=KEY)
    told = {"VIDBATCH_REDIS": url, "VIDBATCH_API_KEY": KEY}
    more = {"VIDBATCH_LOG_FORMAT": "json", "VIDBATCH_LOG_LEVEL": "debug"}
    worker = alone.starts("worker", **told, **more)
    worker.until(lambda: "heartbeat_taken" in worker.said, "the heartbeat acts")
    # the first POSTs are cut, the account is refused once, then all is well
    api.set(hangup_after_rate=1.0)
    words = ("run", manifest(ROWS).path, "--prompt", "What?", "--out", "out", "--base-url", api.base_url, "--yes")
    run = alone.starts(*words, "--poll", "fixed:200ms", **told)
    worker.until(lambda: events(worker)["row_unknown"], "a row is in doubt")
    api.set(hangup_after_rate=0.0, keys="sk-another-0123456789")
    worker.until(lambda: events(worker)["account_blocked"], "the account is refused")
    assert run.ends().code in {3, 4}
    api.set(keys=KEY)
    again = alone(*words, "--poll", "fixed:200ms", **told)
    assert again.code == 0, again.err
    worker.until(lambda: events(worker)["run_finished"], "the run is finished")
    server.kill()
    worker.until(lambda: events(worker)["redis_away"], "Redis is away")
    worker.process.terminate()
    said = worker.ends()
    lines = [orjson.loads(line) for line in said.err.splitlines()]
    assert said.out == ""
    known = {"row_unknown", "account_blocked", "account_unblocked", "run_opened", "run_finished", "worker_started"}
    assert known | {"worker_stopping", "worker_stopped", "row_moved", "shift_ended"} <= {
        line["event"] for line in lines
    }
    assert {line["event"] for line in lines} <= set(EVENTS)
    doubtful = next(line for line in lines if line["event"] == "row_unknown")
    assert (doubtful["role"], doubtful["level"], doubtful["attempt"]) == ("submit", "warning", 1)
    assert doubtful["row"] in range(ROWS)
    moved = [line for line in lines if line["event"] == "row_moved"]
    assert {line["row"] for line in moved} == set(range(ROWS))
    assert all(line["worker"] == lines[-1]["worker"] for line in moved)
    for secret in (KEY, PASSWORD, KEY[3:]):
        assert secret not in said.err
        assert secret not in again.err + again.out + run.said
