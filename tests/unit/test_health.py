"""How a health check sees that a worker is alive, or that a server answers."""

import asyncio
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pipeline.core.errors import LedgerUnavailable, SettingsError
from pipeline.edges.alive import FRESH_S, AliveFile, looks_alive
from workers import health, pulse
from workers.settings import settings_from


@pytest.fixture
def path(tmp_path):
    return tmp_path / "alive"


def test_a_worker_that_was_just_registered_looks_alive(path):
    AliveFile(path).registered()
    assert looks_alive(path) == ""


def test_one_that_was_not_registered_for_long_does_not(path):
    AliveFile(path).registered()
    os.utime(path, times=(long_ago := time.time() - FRESH_S - 5, long_ago))
    assert looks_alive(path) == f"the worker was last registered {FRESH_S + 5:.0f} s ago"


def test_what_an_earlier_life_left_says_nothing_of_this_one(path):
    path.touch()
    AliveFile(path)
    assert looks_alive(path) == f"{path} is not there: no worker was registered yet"


def test_a_file_that_cannot_be_written_is_a_mistake_that_names_its_variable(tmp_path):
    with pytest.raises(SettingsError, match=r"VIDBATCH_HEALTH_FILE: .*/absent/alive can't be written"):
        AliveFile(tmp_path / "absent/alive")


def test_the_file_is_touched_once_redis_took_the_registration(path, tmp_path):
    told = {
        "VIDBATCH_REDIS": "redis://localhost:1/0",
        "VIDBATCH_STATE": str(tmp_path),
        "VIDBATCH_HEALTH_FILE": str(path),
    }
    made = pulse._Pulse(None, "w", settings_from(told))

    class Ledger:
        away = True

        async def register_worker(self, card):
            if self.away:
                raise LedgerUnavailable("away")

    made._ledger = ledger = Ledger()
    with pytest.raises(LedgerUnavailable):
        asyncio.run(made._register())
    assert looks_alive(path)
    ledger.away = False
    asyncio.run(made._register())
    assert looks_alive(path) == ""


def test_a_private_worker_needs_no_file(tmp_path):
    assert settings_from({"VIDBATCH_REDIS": "redis://x", "VIDBATCH_STATE": str(tmp_path)}).health_file is None


def test_the_check_of_a_worker_reads_the_file_of_its_container(path, monkeypatch, capsys):
    monkeypatch.setenv("VIDBATCH_HEALTH_FILE", str(path))
    assert health.main([]) == 1
    assert "no worker was registered yet" in capsys.readouterr().err
    AliveFile(path).registered()
    assert health.main([]) == 0
    monkeypatch.delenv("VIDBATCH_HEALTH_FILE")
    assert health.main([]) == 1
    assert "VIDBATCH_HEALTH_FILE is not set" in capsys.readouterr().err


@pytest.fixture
def port():
    """A server that answers 200 at /fine and 503 elsewhere."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/fine" else 503)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield server.server_port
        server.shutdown()
        serving.join()


def test_the_check_of_a_server_wants_its_answer(port, capsys):
    assert health.main([f"{port}/fine"]) == 0
    assert health.main([f"{port}/ill"]) == 1
    assert f"port {port} answers" in capsys.readouterr().err
    assert health.main(["1/fine"]) == 1
    assert "port 1 does not answer" in capsys.readouterr().err
    assert health.main(["no-port"]) == 1
