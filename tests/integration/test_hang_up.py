"""A terminal that closes: all processes that began there are told, and the worker stops as one that gets SIGTERM."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis


@pytest.fixture
def worker(redis_url, state, tmp_path, faults):
    """Starts a worker in a group of its own, as a shell does, and waits until it serves; its log beside it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VIDBATCH_")}
    told = {**kept, "VIDBATCH_STATE": str(state), "VIDBATCH_REDIS": redis_url, "VIDBATCH_API_KEY": "sk-0123456789"}
    log, started = tmp_path / "worker.log", []

    def start(*before):
        words = [*before, sys.executable, "-m", "workers"]
        with log.open("wb") as output:
            started.append(
                subprocess.Popen(
                    words, env=told, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
            )
        with redis.Redis.from_url(redis_url) as client:
            faults.eventually(lambda: client.keys("vidbatch:worker:*"), "the worker registers")
        return started[-1], log

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def ignores_hang_ups(pid):
    """Whether a process ignores SIGHUP, the first of all signals."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^SigIgn:\s*(\w+)", status, re.MULTILINE)[1], 16) & 1


@pytest.mark.slow
def test_a_worker_whose_terminal_closes_stops_in_good_order_and_does_not_begin_anew(worker):
    process, log = worker()
    os.killpg(process.pid, signal.SIGHUP)
    assert process.wait(40) == 0, log.read_text()
    said = log.read_text()
    assert said.count("worker_started") == said.count("worker_stopping") == said.count("worker_stopped") == 1, said
    assert "ERROR" not in said
    assert "CRITICAL" not in said


@pytest.mark.slow
def test_one_that_was_begun_by_nohup_stays(worker, redis_url, faults):
    process, log = worker("nohup")
    children = psutil.Process(process.pid).children()
    assert children
    for child in children:
        faults.eventually(lambda pid=child.pid: ignores_hang_ups(pid), "a child is deaf to it, too")
    os.killpg(process.pid, signal.SIGHUP)
    with redis.Redis.from_url(redis_url) as client:
        for name in client.keys("vidbatch:worker:*"):
            client.delete(name)
        faults.eventually(lambda: client.keys("vidbatch:worker:*"), "it registers again")
    assert process.poll() is None
    process.terminate()
    assert process.wait(40) == 0, log.read_text()
    assert log.read_text().count("worker_started") == 1
