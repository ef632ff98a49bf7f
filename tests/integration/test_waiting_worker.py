"""A worker that was started before it is needed: it waits, holds nothing, and goes when nobody needs it."""

import os
import subprocess
import sys

import psutil
import pytest

from pipeline.edges.embedded import EmbeddedServer, server_binary
from pipeline.edges.embedded_worker import EmbeddedWorker, Waiting

KEY = "sk-waiting-0123456789"


@pytest.fixture
def environment(state):
    return {**os.environ, "VIDBATCH_STATE": str(state), "VIDBATCH_API_KEY": KEY}


def gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_one_that_is_dropped_has_touched_nothing(environment, state):
    waiting = Waiting(environment)
    assert waiting.ready
    waiting.drop()
    assert not waiting.ready
    assert gone(waiting.process.pid)
    assert not list(state.iterdir())


def test_it_ends_by_itself_when_whoever_started_it_was_killed(environment, state, faults):
    code = (
        "import os, signal; from pipeline.edges.embedded_worker import Waiting;"
        "print(Waiting(os.environ).process.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE) as starter:
        pid = int(starter.stdout.readline())
        starter.kill()
    faults.eventually(lambda: gone(pid), "the worker is gone")
    assert not list(state.iterdir())


def test_it_knows_no_key_until_it_is_told_to_serve(environment):
    waiting = Waiting(environment)
    assert not [name for name in psutil.Process(waiting.process.pid).environ() if name.startswith("VIDBATCH_API_KEY")]
    waiting.drop()


@pytest.mark.parametrize("dies_before", [False, True])
def test_one_that_died_while_it_waited_is_replaced(environment, state, dies_before):
    server = EmbeddedServer(state, server_binary(environment.get("PATH")))
    server.enter()
    waiting = Waiting(environment)
    if dies_before:
        waiting.process.kill()
        waiting.process.wait()
    log = state / "logs" / "worker.log"
    worker = EmbeddedWorker(server, 1, log, environment, waiting)
    worker.start()
    assert (worker.pid == waiting.process.pid) is not dies_before
    worker.stop()
    waiting.drop()
    server.leave()
    assert log.exists()
    assert gone(waiting.process.pid)
    assert server.pid is None
