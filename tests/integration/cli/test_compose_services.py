"""Where no Docker engine is at hand: the compose file's services, started here as the processes that it describes."""

import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
KEY = "sk-compose-0123456789"
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]


@pytest.fixture
def compose(redis_server, alone):
    """Start a service with its own command and environment; only hosts, ports and mounts are this machine's."""
    folder = Path(tempfile.mkdtemp(prefix="vb-", dir="/tmp"))
    server = type(redis_server)(folder)
    secret = folder / "vidbatch_api_key"
    secret.write_text(f"{KEY}\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    here = {"redis://redis:6379/0": server.url, "/run/secrets/vidbatch_api_key": str(secret)}
    here |= {"0.0.0.0": "127.0.0.1", "8080": str(port)}

    def start(name):
        service = SERVICES[name]
        told = {key: here.get(value, value) for key, value in service.get("environment", {}).items()}
        return alone.starts(*(here.get(word, word) for word in service["command"]), VIDBATCH_API_KEY=None, **told)

    started = {name: start(name) for name in ("simulator", "submit", "poll", "write", "control")}
    yield f"http://127.0.0.1:{port}", server.url, secret
    for service in started.values():
        service.process.terminate()
    for service in started.values():
        with suppress(subprocess.TimeoutExpired):
            service.process.wait(30)
    server.kill()
    shutil.rmtree(folder, ignore_errors=True)


def test_the_services_of_the_compose_file_bring_a_run_to_its_end(compose, alone):
    base_url, redis_url, secret = compose
    rows = "".join(f"{base_url}/media/bars-one-cut.mp4?v={row},What moves in take {row}?\n" for row in range(4))
    (alone.folder / "videos.csv").write_text(f"video_url,prompt\n{rows}")
    said = alone(
        *(
            "run",
            "videos.csv",
            "--out",
            "out",
            "--base-url",
            base_url,
            "--yes",
            "--redis",
            redis_url,
            "--poll",
            "fixed:1s",
        ),
        VIDBATCH_API_KEY=None,
        VIDBATCH_API_KEY_FILE=str(secret),
    )
    assert (said.code, "rows: 4 = 4 completed" in said.err) == (0, True), said.err
