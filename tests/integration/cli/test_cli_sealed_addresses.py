"""Who may write to our keys in Redis gets no key for it: workers send it only where its holders said."""

import asyncio
import socket
import threading
from contextlib import suppress
from dataclasses import replace

import orjson
import pytest
import redis

from pipeline.cli.sealing import may_send, seal_address
from pipeline.core.account import Secret, key_fingerprint
from pipeline.core.errors import SystemTrouble
from pipeline.core.providers import FOXAPI_URL
from pipeline.core.seals import seal_of
from pipeline.edges.redis_ledger import RedisLedger

KEY, OTHER = "sk-fleet-0123456789", "sk-the-attackers-own"
OURS = Secret(KEY)


class Listener:
    """The attacker's address: it counts who comes, and answers nobody."""

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.came = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        with suppress(OSError):
            while True:
                taken, _ = self._socket.accept()
                with taken:
                    taken.settimeout(5)
                    self.came.append(taken.recv(65536))

    def close(self):
        self._socket.close()


@pytest.fixture
def evil():
    listeners = Listener(), Listener()
    yield listeners
    for listener in listeners:
        listener.close()


def redirected(url, run_id, base_url, **changed):
    """What an attacker does: the run's card names another address."""

    async def rewrite():
        ledger = RedisLedger(url)
        card = await ledger.card(run_id)
        await ledger.reopen(replace(card, base_url=base_url, **changed))
        await ledger.close()

    asyncio.run(rewrite())


@pytest.mark.slow
def test_a_run_whose_address_was_changed_is_not_served_and_goes_on_once_its_command_is_repeated(
    alone, redis_url, simulator, manifest, evil
):
    api = simulator(latency="0.5s")
    alone.environment |= {"VIDBATCH_REDIS": redis_url, "VIDBATCH_POLL": "fixed:200ms"}
    command = ("run", manifest(30).path, "--out", "out", "--base-url", api.base_url, "--yes")
    handed = alone(*command, "--detach", "--max-in-flight", 3, "--json")
    assert handed.code == 0, handed.err
    run = orjson.loads(handed.out)["run_id"]
    mine = f"vidbatch:seals:{key_fingerprint(KEY)}"
    with redis.Redis.from_url(redis_url) as client:
        assert client.hgetall(mine) == {api.base_url.encode(): seal_of(OURS, api.base_url).encode()}
        # all that he can write: a seal of his own making, one that was made for another address, and a chain of keys
        first, second = evil
        client.hset(mine, first.url, seal_of(Secret(OTHER), first.url))
        client.hset(mine, second.url, seal_of(OURS, api.base_url))
        client.hset("vidbatch:keys:replaced", key_fingerprint(OTHER), key_fingerprint(KEY))
        client.hset(f"vidbatch:seals:{key_fingerprint(OTHER)}", second.url, seal_of(Secret(OTHER), second.url))
    redirected(redis_url, run, first.url)
    worker = alone.starts("worker", "--workers", 1, "--log-format", "json")

    def told_of(listener):
        lines = [orjson.loads(line) for line in worker.said.splitlines() if "base_url_unsealed" in line]
        return [line for line in lines if line["base_url"] == listener.url and line["run"] == run]

    worker.until(lambda: told_of(first), "it says that the address is not sealed")
    redirected(redis_url, run, second.url, key_fingerprint=key_fingerprint(OTHER))
    worker.until(lambda: told_of(second), "it says so of a run that a forged chain has it serve")
    assert api.summary()["posts_received"] == 0
    redirected(redis_url, run, first.url, key_fingerprint=key_fingerprint(KEY))
    said = alone("doctor", "--base-url", api.base_url)
    assert f"run {run} asks {first.url}, which nobody who holds your key has sealed" in said.out
    ended = alone(*command)
    assert ended.code == 0, ended.err
    assert api.summary()["posts_accepted"] == 30
    worker.process.terminate()
    assert worker.ends().code == 0
    assert (first.came, second.came) == ([], [])


def test_a_schedules_command_seals_no_address_and_what_redis_names_gets_no_key(redis_url):
    async def scene():
        with pytest.raises(SystemTrouble, match="nobody who holds the key"):
            await seal_address(redis_url, OURS, "http://127.0.0.1:9", scheduled=True)
        assert not await may_send(redis_url, OURS, "http://127.0.0.1:9")
        await seal_address(redis_url, OURS, FOXAPI_URL, scheduled=True)
        assert await may_send(redis_url, OURS, FOXAPI_URL)
        await seal_address(redis_url, OURS, "http://127.0.0.1:9")
        await seal_address(redis_url, OURS, "http://127.0.0.1:9", scheduled=True)
        assert await may_send(redis_url, OURS, "http://127.0.0.1:9")
        assert not await may_send(redis_url, Secret(OTHER), "http://127.0.0.1:9")

    asyncio.run(scene())
