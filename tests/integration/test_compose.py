"""The compose file says what the commands understand."""

from pathlib import Path

import click
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]

ROLES = ("submit", "poll", "write", "control")

ENVIRONMENT = {
    "VIDBATCH_API_KEY",
    "VIDBATCH_API_KEY_FILE",
    "VIDBATCH_BASE_URL",
    "VIDBATCH_REDIS",
    "VIDBATCH_STATE",
}

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "vidbatch"}
WORKERS = {name: service for name, service in OURS.items() if service["command"][0] == "worker"}


@pytest.fixture
def parse(monkeypatch):
    """A command line as the real commands read it, without running it: the parameters of the innermost command."""
    from pipeline.cli.main import main

    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)

    def innermost(arguments):
        command, context = main, main.make_context("vidbatch", list(arguments))
        while isinstance(command, click.Group):
            name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            context = command.make_context(name, rest, parent=context)
        return context.params

    return innermost


@pytest.mark.parametrize("name", OURS)
def test_every_service_runs_a_command_that_exists(parse, name):
    parse(OURS[name]["command"])


@pytest.mark.parametrize("role", ROLES)
def test_every_role_has_a_service_of_its_own_name(role):
    command = WORKERS[role]["command"]
    assert command[command.index("--roles") + 1] == role


def test_no_service_works_in_a_role_that_does_not_exist():
    assert set(WORKERS) == set(ROLES)


def test_only_variables_that_are_read_are_set():
    assert {name for service in OURS.values() for name in service.get("environment", {})} <= ENVIRONMENT


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_has_the_time_to_leave_tidily(name):
    assert int(WORKERS[name]["stop_grace_period"].removesuffix("s")) >= 40


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_sees_the_dataset_the_key_and_a_living_redis(name):
    worker = WORKERS[name]
    assert worker["volumes"] == ["./data:/data"]
    assert worker["environment"]["VIDBATCH_API_KEY_FILE"] == f"/run/secrets/{worker['secrets'][0]}"
    assert worker["secrets"][0] in COMPOSE["secrets"]
    assert worker["depends_on"] == {"redis": {"condition": "service_healthy"}}


@pytest.mark.parametrize("name", [*WORKERS, "vidbatch"])
def test_what_redis_could_not_be_told_outlives_the_container_that_kept_it(name):
    mounted = [volume.split(":")[1] for volume in SERVICES[name]["volumes"]]
    state = Path(SERVICES[name]["environment"]["VIDBATCH_STATE"])
    # a folder of its own in the mount: it is made by its user, for that user alone
    assert str(state.parent) in mounted


def test_no_key_stands_in_an_environment():
    assert not [name for name, service in SERVICES.items() if "VIDBATCH_API_KEY" in service.get("environment", {})]


def test_redis_keeps_the_ledger_on_disk_and_evicts_nothing():
    command = SERVICES["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options == {"--appendonly": "yes", "--appendfsync": "everysec", "--maxmemory-policy": "noeviction"}
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]


def test_a_plain_up_starts_neither_the_simulator_nor_a_command_for_people():
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == {"redis", *ROLES}
