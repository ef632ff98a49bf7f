"""Real servers that are set wrongly in several ways, and what the doctor says of each."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis

from pipeline.core.checkup import Level
from pipeline.core.checkup_fleet import of_fleet
from pipeline.core.checkup_redis import of_clocks, of_redis, unreachable
from pipeline.core.errors import LedgerUnavailable
from pipeline.edges.embedded import server_binary
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_facts import facts, fleet
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.ports import WorkerCard


@contextmanager
def server(eventually, *options):
    """A server with these options on a Unix socket; its URL."""
    folder = Path(tempfile.mkdtemp(prefix="vb-", dir="/tmp"))
    words = ["--port", "0", "--unixsocket", str(folder / "s"), "--dir", str(folder), "--logfile", str(folder / "log")]
    with subprocess.Popen([server_binary(os.environ.get("PATH")), *words, *options]) as process:
        try:
            eventually(lambda: _pings(folder / "s"), "the server answers")
            yield f"unix://{folder / 's'}"
        finally:
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def _pings(socket):
    with suppress(redis.RedisError, OSError), redis.Redis(unix_socket_path=str(socket)) as client:
        try:
            return client.ping()
        except redis.AuthenticationError:
            return True
    return False


def look(url, key="mine", before=None):
    """Everything that the doctor finds, by name."""

    async def all_of_it():
        door = RedisDoor(url)
        try:
            if before is not None:
                await before()
            told = await facts(door, url, {})
            return [*of_redis(told), *of_clocks(told.ahead_s, None), *of_fleet(await fleet(door, key))]
        finally:
            await door.close()

    return {finding.name: finding for finding in asyncio.run(all_of_it())}


def test_a_server_that_is_set_well(faults):
    with server(faults.eventually, "--save", "", "--appendonly", "yes", "--appendfsync", "always") as url:
        found = look(url)
    wrong = {name for name, finding in found.items() if finding.level is not Level.OK}
    assert wrong == {"workers"}
    assert "synced with each write" in found["persistence"].found
    assert "as default, over a Unix socket" in found["access"].found
    assert "in step" in found["clocks"].found


@pytest.mark.parametrize(
    ("options", "name", "level"),
    [
        (("--appendonly", "no", "--save", ""), "persistence", Level.WARNING),
        (("--appendonly", "yes", "--appendfsync", "no"), "persistence", Level.WARNING),
        (("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"), "eviction", Level.ERROR),
        (("--maxmemory", "64mb"), "memory", Level.OK),
        (("--maxmemory", "1mb"), "memory", Level.ERROR),
        (("--replicaof", "127.0.0.1", "1"), "replication", Level.ERROR),
        (("--rename-command", "CONFIG", ""), "persistence", Level.WARNING),
    ],
)
def test_a_server_that_is_set_wrongly(faults, options, name, level):
    with server(faults.eventually, *options) as url:
        assert look(url)[name].level is level


def test_a_server_that_wants_a_password_says_so(faults):
    with server(faults.eventually, "--requirepass", "pa55word-0123") as url:
        with pytest.raises(LedgerUnavailable) as refused:
            look(url)
        assert "user and password" in unreachable(str(refused.value)).todo
        guarded = url.replace("unix://", "unix://:wr0ng-0123@")
        with pytest.raises(LedgerUnavailable) as refused:
            look(guarded)
        assert "right user and password" in unreachable(str(refused.value)).todo
        assert "wr0ng" not in str(refused.value)
        assert look(url.replace("unix://", "unix://:pa55word-0123@"))["access"].level is Level.OK


def test_a_fleet_is_seen_as_it_registered(faults):
    with server(faults.eventually, "--save", "") as url:

        async def register():
            ledger = RedisLedger(url)
            await ledger.register_worker(WorkerCard("w-1", ("submit", "poll"), 1, ("mine",), 4))
            await ledger.register_worker(WorkerCard("w-2", (), 1, (), 3))
            assert await ledger.lock("heartbeat", "w-1", 3.0)
            await ledger.close()

        found = look(url, before=register)
    names = ("workers", "roles", "workers' keys", "heartbeat", "queues")
    assert [found[name].level.value for name in names] == ["warning", "error", "ok", "ok", "ok"]
    assert found["heartbeat"].found.startswith("w-1 acts, 0.")
    assert "write, control" in found["roles"].found
