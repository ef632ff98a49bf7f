"""What a Redis server, and the fleet that works on it, say of themselves, for whoever looks whether all is well."""

from collections.abc import Mapping
from contextlib import suppress
from time import perf_counter, time
from typing import Any
from urllib.parse import urlsplit

from pipeline.core.checkup_fleet import FleetFacts, WorkerSeen
from pipeline.core.checkup_redis import RedisFacts
from pipeline.core.errors import LedgerUnavailable
from pipeline.core.schedules import Book, Firing
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_keys import LEDGER_VERSION, LOCKS, QUEUES, ROLES
from pipeline.edges.redis_presence import RedisPresence
from pipeline.ports import Schedules

PINGS = 50
LOOKED_BACK = 20
"""Firings of a schedule among which its last one is looked for that was not merely skipped."""

CONFIGURED = ("appendfsync", "save")
LOCAL = {"localhost", "::1", ""}


async def facts(door: RedisDoor, url: str, environment: Mapping[str, str]) -> RedisFacts:
    """A server as it shows itself. LedgerUnavailable when it is away; what it may not be asked is left out."""
    told = await door.call("INFO")
    parts = urlsplit(url)
    host, socket = parts.hostname or "", parts.scheme in {"unix", "redis+socket"}
    given = bool(parts.password) or any(environment.get(f"VIDBATCH_REDIS_PASSWORD{end}") for end in ("", "_FILE"))
    return RedisFacts(
        info=read_info(told),
        config={name: value for name in CONFIGURED if (value := await _setting(door, name)) is not None},
        pings_s=[await _ping(door) for _ in range(PINGS)],
        ahead_s=await _ahead(door),
        user=_text(await _allowed(door, "ACL", "WHOAMI") or ""),
        password=given,
        encrypted=parts.scheme == "rediss",
        local=socket or host in LOCAL or host.startswith("127."),
        socket=socket,
    )


async def fleet(door: RedisDoor, key: str) -> FleetFacts:
    """Who is at work; `key` is the fingerprint of ours. LedgerUnavailable when Redis is away."""
    presence = RedisPresence(door)
    left_ms = int(await door.call("PTTL", f"{LOCKS}heartbeat"))
    return FleetFacts(
        workers=[
            WorkerSeen(
                worker.name,
                worker.ledger_version == LEDGER_VERSION,
                worker.roles,
                {role: worker.shifts_of(role) for role in worker.roles},
                worker.key_fingerprints,
                worker.media_roots,
            )
            for worker in await presence.workers()
        ],
        heartbeat=await presence.lock_holder("heartbeat"),
        heartbeat_age_s=max(0.0, (HEARTBEAT_LOCK_MS - left_ms) / 1000),
        queued={role: await presence.queued(f"{QUEUES}{role}") for role in ROLES},
        key=key,
    )


async def last_firings(schedules: Schedules) -> list[tuple[Book, Firing | None]]:
    """Each schedule with its last firing that came to an end of its own. LedgerUnavailable when Redis is away."""
    found: list[tuple[Book, Firing | None]] = []
    for book in await schedules.books():
        over = [firing for firing in book.firings if not firing.is_open]
        over += await schedules.history(book.schedule.name, LOOKED_BACK)
        ended = [firing for firing in over if firing.exit_code is not None]
        found.append((book, max(ended, key=lambda firing: firing.firing_id, default=None)))
    return found


HEARTBEAT_LOCK_MS = 3_000
"""How long the lock of the heartbeat that acts lives from its last tick on."""


async def _allowed(door: RedisDoor, *command: str) -> Any:  # noqa: ANN401 - what Redis returns
    """The answer to a command that a cautious server may refuse to us."""
    with suppress(LedgerUnavailable):
        return await door.call(*command)
    return None


async def _setting(door: RedisDoor, name: str) -> str | None:
    told = await _allowed(door, "CONFIG", "GET", name)
    if isinstance(told, dict):
        told = [part for pair in told.items() for part in pair]
    return _text(told[1]) if told else None


async def _ping(door: RedisDoor) -> float:
    begun = perf_counter()
    await door.call("PING")
    return perf_counter() - begun


async def _ahead(door: RedisDoor) -> float:
    before = time()
    seconds, micros = await door.call("TIME")
    return int(seconds) + int(micros) / 1e6 - (before + time()) / 2


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def read_info(told: Any) -> dict[str, Any]:  # noqa: ANN401 - the client has it as a dict, or as the server wrote it
    """A reply to INFO, by name."""
    return told if isinstance(told, dict) else _read(bytes(told))


def _read(text: bytes) -> dict[str, Any]:
    lines = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in lines if colon}
