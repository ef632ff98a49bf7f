"""What a line of the log looks like: one line, whatever it holds; bounded; by itself in a pipe; without secrets."""

import asyncio
import io
import logging
import os
import sys
import threading
from datetime import datetime

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import SettingsError
from pipeline.edges import logs
from pipeline.edges.log_secrets import secrets_of
from pipeline.edges.logs import LONGEST_LINE, JsonLines, TextLines, configure, hide, name_process, told_with

SECRET = "sk-unit-0123456789"
PASSWORD = "pa55/w:ord@with space"


@pytest.fixture(autouse=True)
def _untouched(monkeypatch):
    """What a test configures is undone."""
    root, ours = logging.getLogger(), logging.getLogger("vidbatch")
    kept = root.handlers[:], root.level, ours.level, sys.excepthook, threading.excepthook
    monkeypatch.setattr(logs, "_redaction", logs._redaction)
    monkeypatch.setattr(logs, "_process", {})
    yield
    logging.captureWarnings(False)
    root.handlers[:] = kept[0]
    root.setLevel(kept[1])
    ours.setLevel(kept[2])
    sys.excepthook, threading.excepthook = kept[3:]


@pytest.fixture
def lines(monkeypatch):
    """Lines that were written to stderr by os.write, each call by itself."""
    written = []
    monkeypatch.setattr(os, "write", lambda descriptor, data: written.append((descriptor, data)) or len(data))

    def read():
        assert all(descriptor == 2 and data.count(b"\n") == 1 and data.endswith(b"\n") for descriptor, data in written)
        assert all(len(data) <= LONGEST_LINE for _, data in written)
        return [data.decode().rstrip("\n") for _, data in written]

    return read


def test_a_line_of_ours_has_its_fields_in_order(lines):
    configure({"VIDBATCH_LOG_FORMAT": "json"})
    name_process(worker="w-1")
    with told_with(run="run-1", role="submit"):
        logging.getLogger("vidbatch.worker").warning(
            "%d rows",
            3,
            extra={"event": "row_unknown", "row": 7, "generation": "task-1", "more": {"a": [1]}, "no": None},
        )
    [told] = map(orjson.loads, lines())
    names = ["time", "level", "event", "message", "logger", "worker", "pid", "role", "run", "row", "generation", "more"]
    assert list(told) == names
    assert (told["event"], told["message"], told["level"]) == ("row_unknown", "3 rows", "warning")
    assert (told["worker"], told["role"], told["run"], told["row"]) == ("w-1", "submit", "run-1", 7)
    assert told["time"].endswith("Z")
    assert datetime.fromisoformat(told["time"]).tzinfo is not None
    assert len(told["time"]) == len("2026-01-01T00:00:00.000000Z")


def test_libraries_are_heard_from_warning_on_whatever_our_own_level_is(lines):
    configure({"VIDBATCH_LOG_FORMAT": "json", "VIDBATCH_LOG_LEVEL": "debug"})
    for name in ("httpx", "redis", "aiohttp.client", "celery.worker", "vidbatch.worker"):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING):
            logging.getLogger(name).log(level, "x")
    told = [(line["logger"], line["level"]) for line in map(orjson.loads, lines())]
    of_libraries = [(name, "warning") for name in ("httpx", "redis", "aiohttp.client", "celery.worker")]
    assert told == [*of_libraries, *(("vidbatch.worker", level) for level in ("debug", "info", "warning"))]
    assert {line["event"] for line in map(orjson.loads, lines())} == {"library"}


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_level_is_that_of_our_own_lines(lines, form, level):
    configure({"VIDBATCH_LOG_FORMAT": form, "VIDBATCH_LOG_LEVEL": level})
    for one in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger("vidbatch"), one)("x", extra={"event": "tick_failed"})
    assert len(lines()) == 4 - ["debug", "info", "warning", "error"].index(level)


@pytest.mark.parametrize("name", ["VIDBATCH_LOG_FORMAT", "VIDBATCH_LOG_LEVEL"])
def test_a_setting_that_is_none_is_told_by_its_name(name):
    with pytest.raises(SettingsError, match=f"{name}: found 'loud'; allowed are "):
        configure({name: "loud"})


NASTY = "a\nb\r\n\tc\x1b[31m\x00\x85\u2028\u2029\u202e\ud800 end"


@pytest.mark.parametrize("form", ["text", "json"])
def test_whatever_a_message_holds_it_is_one_line(lines, form):
    configure({"VIDBATCH_LOG_FORMAT": form})
    logging.getLogger("vidbatch").error("%s", NASTY, extra={"event": "tick_failed", "x": NASTY, NASTY: [NASTY]})
    [line] = lines()
    assert len(line.splitlines()) == 1
    assert not set(NASTY) & set(line) - set("abc [31m end")
    assert "tick_failed" in line
    if form == "json":
        assert orjson.loads(line)["message"].startswith("a\nb\r\n\tc\x1b")


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(), st.dictionaries(st.text(min_size=1), st.text() | st.binary() | st.integers() | st.floats()))
def test_any_record_is_one_bounded_line(message, extra):
    record = logging.makeLogRecord({"msg": message, "levelname": "INFO", "name": "vidbatch", "more": extra})
    for form in (JsonLines(), TextLines()):
        line = form.format(record)
        assert len(line.splitlines()) == 1
        assert len(line.encode()) < LONGEST_LINE
    assert isinstance(orjson.loads(JsonLines().format(record)), dict)


def test_a_long_line_keeps_its_ends_and_stays_whole_in_a_pipe(lines):
    configure({"VIDBATCH_LOG_FORMAT": "json"})
    try:
        int("first " + "ü" * 100_000)
    except ValueError:
        logging.getLogger("vidbatch").exception(
            "m" * 100_000, extra={"event": "tick_failed", "run": "run-1", "x": ["y" * 99] * 999, "z": {"q": "é" * 9999}}
        )
    [told] = map(orjson.loads, lines())
    assert (told["event"], told["run"], told["message"][:3]) == ("tick_failed", "run-1", "mmm")
    assert told["exception"].rpartition("ValueError")[2].startswith(": invalid literal for int() with base 10: 'first")


def test_arguments_that_do_not_fit_are_told_all_the_same(lines):
    configure({})
    logging.getLogger("vidbatch").info("%d rows", "no number", extra={"event": "tick_failed"})
    assert "no number" in lines()[0]


def test_what_nobody_caught_is_a_line_too(lines):
    configure({"VIDBATCH_LOG_FORMAT": "json"})

    def fail():
        raise RuntimeError(f"with {SECRET}")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    try:
        fail()
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    told = [orjson.loads(line) for line in lines()]
    assert [line["event"] for line in told] == ["crashed", "crashed"]
    assert all("RuntimeError" in line["exception"] and SECRET not in line["exception"] for line in told)


def test_a_stderr_that_is_gone_ends_nothing(monkeypatch):
    def closed(*_):
        raise BrokenPipeError

    configure({})
    monkeypatch.setattr(os, "write", closed)
    logging.getLogger("vidbatch").error("x", extra={"event": "tick_failed"})


# Secrets.


@pytest.fixture
def shown(lines):
    configure({"VIDBATCH_LOG_FORMAT": "json"})
    hide([SECRET, PASSWORD])

    def read():
        text = "\n".join(lines())
        assert text, "nothing was logged"
        for secret in (SECRET, PASSWORD, "pa55", "0123456789"):
            assert secret not in text
        return text

    return read


def test_a_secret_that_comes_in_parts_is_hidden(shown):
    log = logging.getLogger("vidbatch")
    log.error("%s%s", SECRET[:7], SECRET[7:], extra={"event": "tick_failed"})
    log.error("%r", SECRET.encode(), extra={"event": "tick_failed", "x": SECRET.encode(), "y": {"z": [SECRET]}})
    log.error({"message": SECRET, "args": [SECRET]}, extra={"event": "tick_failed", SECRET: 1})
    assert "[hidden]" in shown()


def test_what_clients_raise_is_hidden(shown):
    asyncio.run(_everything_fails())
    assert "Error" in shown()


async def _everything_fails():
    import aiohttp
    import httpx
    import redis.asyncio as aioredis

    log = logging.getLogger("vidbatch")
    signed = f"http://127.0.0.1:9/o?X-Amz-Signature={SECRET}&X-Amz-Credential=AKIA0123456789ABCDEF"
    urls = (signed, f"http://me:{SECRET}@127.0.0.1:9/x", f"http://me:{SECRET}@127.0.0.1:bad/")
    raised = 0
    for url in urls:
        async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {SECRET}"}) as client:
            raised += await _logged(log, client.get(url))
        async with aiohttp.ClientSession() as session:
            raised += await _logged(log, _asked(session, url))
    for url in ("redis://:pa55secret@127.0.0.1:9", "redis://:pa55secret@127.0.0.1:no/0"):
        raised += await _logged(log, _pinged(aioredis, url))
    assert raised == 8


async def _asked(session, url):
    async with session.get(url) as reply:
        return reply


async def _pinged(aioredis, url):
    client = aioredis.Redis.from_url(url)
    try:
        await client.ping()
    finally:
        await client.aclose()


async def _logged(log, work):
    try:
        await work
    except Exception as error:
        told = f"{error}, {error!r}"
        log.exception("failed: %s", told, extra={"event": "tick_failed", "error": error, "all": vars(error)})
        return 1
    return 0


def test_what_celery_says_of_its_broker_is_hidden(shown):
    from kombu import Connection
    from kombu.exceptions import OperationalError

    log = logging.getLogger("celery.worker.consumer.consumer")
    with Connection("redis://:pa55secret@127.0.0.1:9/0", transport_options={"socket_connect_timeout": 1}) as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=2)
        except OperationalError as error:
            told = connection.as_uri(include_password=True), str(error)
            log.exception("consumer: Cannot connect to %s: %s.", *told)
    shown()


def test_what_the_environment_gives_is_known(tmp_path):
    (tmp_path / "key").write_text(f"{SECRET}\n")
    told = {
        "VIDBATCH_API_KEY_FILE": str(tmp_path / "key"),
        "VIDBATCH_REDIS_PASSWORD_FILE": str(tmp_path / "gone"),
        "VIDBATCH_REDIS": "redis://default:p%40ss@host/0",
        "AWS_SECRET_ACCESS_KEY": "aws-secret",
        "AWS_SESSION_TOKEN": "aws-token",
        "AWS_ACCESS_KEY_ID": "aws-id",
        "VIDBATCH_NOTIFY_SECRET": "whsec_x",
        "VIDBATCH_ROLES": "submit",
    }
    secrets = set(secrets_of(told))
    assert secrets == {SECRET, "p%40ss", "p@ss", "aws-secret", "aws-token", "aws-id", "whsec_x"}


def test_text_is_for_people(lines):
    configure({})
    logging.getLogger("vidbatch.worker").info(
        "serving", extra={"event": "worker_started", "roles": ["a", "b"], "x": "two words", "y": 1}
    )
    [line] = lines()
    assert " INFO vidbatch.worker worker_started: serving pid=" in line
    assert line.endswith('roles=["a","b"] x="two words" y=1')
    assert io.StringIO(line).readline() == line
