"""What is looked at before anything is sent: by `plan` in passing, by `doctor` on purpose."""

import orjson
import pytest
import redis

from tests.chat_server import ChatServer


@pytest.fixture
def server():
    with ChatServer().serving() as made:
        yield made


def test_a_plan_tells_what_the_api_has_and_goes_on_without_it(here, server, manifest):
    words = ("plan", manifest(2).path, "--api", "openai", "--base-url", server.base_url, "--model")
    asked = here(*words, "qwen3-vl", VIDBATCH_OFFLINE=None)
    assert (asked.code, "models at the API: 1, those of the plan among them" in asked.out) == (0, True)
    other = here(*words, "gemini-9", VIDBATCH_OFFLINE=None)
    assert other.code == 0
    assert "warning: the API's list of 1 models lacks gemini-9" in other.out
    nobody = here("plan", manifest(2).path, "--base-url", "http://127.0.0.1:1", "--json", VIDBATCH_OFFLINE=None)
    told = orjson.loads(nobody.out)["api_account"]
    assert (nobody.code, told["models"], told["balance"]) == (0, None, None)
    assert "127.0.0.1" in told["trouble"]["models"]


@pytest.mark.parametrize(
    "variables", [{"VIDBATCH_API_KEY": None, "VIDBATCH_OFFLINE": None}, {}], ids=["no key", "offline"]
)
def test_without_a_key_or_offline_nothing_is_asked(here, manifest, variables):
    said = here("plan", manifest(2).path, "--json", "--base-url", "http://127.0.0.1:1", **variables)
    assert orjson.loads(said.out)["api_account"] is None


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ("flat", "balance: 12.50 credits"),
        ("nested", "balance: 12.50 credits"),
        ("none", "balance: not known (HTTP 404"),
    ],
)
def test_a_plan_tells_the_balance_in_whatever_form_it_comes(here, simulator, manifest, shape, told):
    api = simulator(balance=12.5, credits_shape=shape)
    said = here("plan", manifest(2).path, "--base-url", api.base_url, VIDBATCH_OFFLINE=None)
    assert said.code == 0
    assert told in said.out
    assert "models at the API: 2, those of the plan among them" in said.out


def test_a_refused_key_is_a_warning_of_the_plan_and_an_error_of_the_doctor(here, alone, simulator, manifest):
    api = simulator(keys="sk-another-0123456789")
    planned = here("plan", manifest(2).path, "--base-url", api.base_url, VIDBATCH_OFFLINE=None)
    assert (planned.code, "warning: the API refuses the key" in planned.out) == (0, True)
    said = alone("doctor", "--base-url", api.base_url, "--json")
    assert said.code == 1
    assert {finding["name"] for finding in orjson.loads(said.out) if finding["level"] == "error"} == {"key"}


def test_a_settings_file_may_say_which_api(here, server, manifest, tmp_path):
    (tmp_path / "vidbatch.toml").write_text(f'api = "openai"\nbase_url = "{server.base_url}"\nmodel = "qwen3-vl"\n')
    said = here("plan", manifest(2).path, "--json")
    assert said.code == 0
    assert (orjson.loads(said.out)["api"], orjson.loads(said.out)["base_url"]) == ("openai", server.base_url)


def all_at_work(url):
    with redis.Redis.from_url(url) as client:
        return len(client.keys("vidbatch:worker:*")) > 1 and client.keys("vidbatch:lock:*:heartbeat")


def test_the_doctor_finds_a_stack_well(alone, fleet, faults, simulator, tmp_path):
    api = simulator(balance=12.5)
    faults.eventually(lambda: all_at_work(fleet.url), "the fleet is at work")
    said = alone("doctor", "--base-url", api.base_url, "--redis", fleet.url, "--out", "out", "--json")
    found = {finding["name"]: finding["level"] for finding in orjson.loads(said.out)}
    assert said.code == 0, said.out
    names = {"API", "key", "models", "balance", "price", "Redis", "persistence", "eviction", "state folder", "OUT"}
    names |= {"latency", "access", "clocks", "workers", "roles", "workers' keys", "heartbeat", "queues"}
    names |= {"open files", "versions"}
    assert found == dict.fromkeys(names, "ok")
    assert api.summary()["posts_received"] == 0


def test_the_doctor_ends_with_1_and_says_what_to_do(alone):
    words = ("doctor", "--base-url", "http://127.0.0.1:1", "--redis", "redis://127.0.0.1:2")
    said = alone(*words, VIDBATCH_API_KEY=None)
    assert said.code == 1
    assert "set VIDBATCH_API_KEY" in said.out
    assert "give its address with --redis" in said.out
    refused = alone(*words)
    assert "give the right --base-url" in refused.out
    assert alone.environment["VIDBATCH_API_KEY"] not in refused.out
