"""A fleet whose Redis wants TLS, a client's certificate, a user and a password: who is let in, and what others hear."""

import re
import shutil
import sys
import tempfile
from pathlib import Path

import orjson
import pytest
import redis

from tests.guarded_redis import PASSWORD, RULES, USER, GuardedRedis

EDGES = Path(__file__).resolve().parents[3] / "pipeline" / "edges"

PINGS = """
from workers.app import app
print(app.control.ping(timeout=30, limit=1))
"""


@pytest.fixture(scope="module")
def guarded(redis_server):
    folder = Path(tempfile.mkdtemp(prefix="vb-", dir="/tmp"))
    server = GuardedRedis(folder, redis_server.binary)
    (folder / "password").write_text(f"{PASSWORD}\n")
    (folder / "wrong").write_text("another-password\n")
    for name in ("password", "wrong"):
        (folder / name).chmod(0o600)
    yield server
    server.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def let_in(guarded):
    """The environment of those who are let in."""
    ours = guarded.certificates
    return {
        "VIDBATCH_REDIS": guarded.url,
        "VIDBATCH_REDIS_USER": USER,
        "VIDBATCH_REDIS_PASSWORD_FILE": str(ours.ca.parent / "password"),
        "VIDBATCH_REDIS_CA_FILE": str(ours.ca),
        "VIDBATCH_REDIS_CERT_FILE": str(ours.client_cert),
        "VIDBATCH_REDIS_KEY_FILE": str(ours.client_key),
    }


@pytest.mark.slow
def test_a_whole_run_passes_under_the_least_rules_and_shows_no_password(alone, guarded, let_in, simulator, manifest):
    api = simulator(latency="0.2s")
    alone.environment |= {**let_in, "VIDBATCH_POLL": "fixed:200ms"}
    worker = alone.starts("worker")
    ran = alone.starts("run", manifest(20).path, "--out", "out", "--base-url", api.base_url, "--yes").ends(40)
    assert ran.code == 0, ran.err + worker.said
    asked = alone.starts("-c", PINGS, program=(sys.executable,)).ends()
    assert asked.out.count("pong") == 1, "Celery's own channel does not reach the worker"
    [run] = (alone.folder / "out" / "runs").glob("2*")
    assert orjson.loads((run / "begun").read_bytes())["place"] == guarded.url
    worker.process.terminate()
    assert worker.ends().code == 0
    with guarded.admin() as admin:
        strangers = [key for key in admin.scan_iter() if not key.startswith(b"vidbatch:")]
        assert not strangers
        assert not admin.acl_log(), "something was tried that the rules forbid"
    # `worker` is told all by its environment, and says nothing of it
    seen = (
        worker.said
        + ran.err
        + ran.out
        + "".join(file.read_text(errors="replace") for file in run.rglob("*") if file.is_file())
    )
    assert PASSWORD not in seen
    assert PASSWORD.encode().hex() not in seen


def test_the_rules_let_the_ledgers_own_commands_through(guarded):
    """The quick look at what the whole run above shows: a command that is new needs no new rule."""
    ours = {
        found.upper()
        for file in [*EDGES.glob("redis_*.py"), *EDGES.glob("lua/**/*.lua")]
        for found in re.findall(r"""\bcall\(['"]([A-Za-z]+)['"]""", file.read_text(encoding="utf-8"))
    }
    assert {"EVALSHA", "HSET", "TIME"} <= ours
    with guarded.admin() as admin:
        allowed = set()
        for sign, what in re.findall(r" ([+-])(@?\w+)", RULES):
            names = admin.acl_cat(what[1:]) if what.startswith("@") and what != "@all" else [what]
            changed = {name.decode() if isinstance(name, bytes) else name for name in names}
            allowed = allowed | changed if sign == "+" else allowed - changed
    assert not {name for name in ours if name.lower() not in allowed}


def test_keys_and_channels_of_others_are_refused(guarded):
    with redis.Redis(port=guarded.port, username=USER, password=PASSWORD) as client:
        assert client.set("vidbatch:anything", 1)
        for forbidden in (
            lambda: client.get("another:key"),
            lambda: client.eval("return redis.call('GET', 'another:key')", 0),
            lambda: client.publish("another:channel", "x"),
            lambda: client.config_get("requirepass"),
            client.flushall,
            lambda: client.keys("*"),
            client.acl_list,
        ):
            with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)no permission|acl failure|can't access"):
                forbidden()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"VIDBATCH_REDIS_PASSWORD_FILE": "wrong"}, "WRONGPASS"),
        ({"VIDBATCH_REDIS_PASSWORD_FILE": None, "VIDBATCH_REDIS_USER": None}, "NOAUTH"),
        ({"VIDBATCH_REDIS_CA_FILE": "other-ca.pem"}, "set VIDBATCH_REDIS_CA_FILE"),
        ({"VIDBATCH_REDIS_CA_FILE": None}, "set VIDBATCH_REDIS_CA_FILE"),
        (
            {"VIDBATCH_REDIS_CERT_FILE": None, "VIDBATCH_REDIS_KEY_FILE": None},
            "set VIDBATCH_REDIS_CERT_FILE and VIDBATCH_REDIS_KEY_FILE",
        ),
    ],
)
def test_whoever_is_not_let_in_hears_why_and_what_to_set(here, guarded, let_in, changed, says):
    folder = guarded.certificates.ca.parent
    told = let_in | {
        name: str(folder / value) if value and name.endswith("FILE") else value for name, value in changed.items()
    }
    said = here("status", **told)
    assert said.code == 5
    assert says in said.err
    assert PASSWORD not in said.err


def test_a_name_that_the_certificate_does_not_bear_is_refused(here, guarded, let_in):
    said = here("status", **let_in | {"VIDBATCH_REDIS": guarded.url.replace("localhost", "127.0.0.1")})
    assert (said.code, "is for another name" in said.err) == (5, True), said.err


def test_a_user_without_the_rules_hears_which_one_is_missing(here, guarded, let_in):
    with guarded.admin() as admin:
        admin.execute_command("ACL", "SETUSER", "poor", "on", f">{PASSWORD}", "~other:*", "+@all")
    said = here("status", **let_in | {"VIDBATCH_REDIS_USER": "poor"})
    assert (said.code, "NOPERM" in said.err, "SECURITY.md" in said.err) == (5, True, True), said.err


def test_a_worker_that_is_not_let_in_ends_at_once_and_says_why(alone, guarded, let_in):
    wrong = {"VIDBATCH_REDIS_PASSWORD_FILE": str(guarded.certificates.ca.parent / "wrong")}
    worker = alone("worker", **let_in | wrong)
    assert worker.code == 5
    assert worker.err.count("WRONGPASS") == 1
    assert len(worker.err.splitlines()) == 1


def test_doctor_says_what_is_wrong_with_the_password(alone, guarded, let_in):
    wrong = {"VIDBATCH_REDIS_PASSWORD_FILE": str(guarded.certificates.ca.parent / "wrong"), "VIDBATCH_API_KEY": None}
    said = alone("doctor", **let_in | wrong)
    assert "WRONGPASS" in said.out


def test_a_password_on_the_command_line_is_warned_of_and_used(here, redis_url, guarded):
    typed = guarded.plain_url.replace("redis://", f"redis://{USER}:pass%2Fword: of the %40tests%3F%23@")
    said = here("status", "--redis", typed, VIDBATCH_STATE=None)
    assert said.code == 0, said.err
    assert "every user of this machine can read" in said.err
    assert "pass" + "%2Fword" not in said.err


def test_the_rules_are_those_that_are_documented():
    text = (EDGES.parents[1] / "SECURITY.md").read_text(encoding="utf-8")
    assert f"#<SHA-256 of the password> {RULES}\n" in text
