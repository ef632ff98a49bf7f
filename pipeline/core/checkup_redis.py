"""What `doctor` makes of a Redis server: whether it is one to keep a ledger in. What it does not tell is no fault."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.checkup import Finding, error, ok, warning

OLDEST_REDIS = (6, 2)
SLOW_S, VERY_SLOW_S = 0.005, 0.05
"""A claim and a commit are one round trip each: from the first on, a shift waits for Redis as for the API."""

STALLS_S = 0.25
"""A round trip of so long, now and then, is a server that is stopped from time to time."""

FULL, NEARLY_FULL = 0.95, 0.8
"""Shares of a server's bound on memory."""

SKEWED_S = 5.0
"""What a signed URL or a webhook bears is minutes; below this nothing is amiss."""


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What a server told: its INFO, its settings where it lets us see them, and how it was reached."""

    info: Mapping[str, Any]
    config: Mapping[str, str] = field(default_factory=dict)
    pings_s: Sequence[float] = ()
    ahead_s: float | None = None
    """By how much its clock is ahead of this machine's."""
    user: str = ""
    """Who we are there."""
    password: bool = False
    """Whether we gave one."""
    encrypted: bool = False
    local: bool = False
    """Whether nothing goes over a network: a Unix socket, or this machine itself."""
    socket: bool = False


_REFUSALS = {
    "NOAUTH": "give user and password, with VIDBATCH_REDIS_PASSWORD_FILE",
    "WRONGPASS": "give the right user and password, with VIDBATCH_REDIS_PASSWORD_FILE",
    "invalid username-password": "give the right user and password, with VIDBATCH_REDIS_PASSWORD_FILE",
    "Authentication required": "give user and password, with VIDBATCH_REDIS_PASSWORD_FILE",
    "already authenticated": "give user and password, with VIDBATCH_REDIS_PASSWORD_FILE",
    "NOPERM": "give the user the commands and keys that SECURITY.md names",
    "no permissions": "give the user the commands and keys that SECURITY.md names",
    "CERTIFICATE": "give the authority of its certificate, with VIDBATCH_REDIS_CA_FILE",
    "MISCONF": "see its log, and make room on its disk: it refuses writes",
    "OOM": "raise maxmemory: it refuses writes",
}


def unreachable(told: str) -> Finding:
    """A server that can't be looked at, and what to do, by its own words."""
    usual = "see that it runs, and give its address with --redis"
    return error("Redis", told, next((todo for word, todo in _REFUSALS.items() if word in told), usual))


def of_redis(facts: RedisFacts) -> Iterator[Finding]:
    """Everything that is to be said of a server."""
    info = facts.info
    yield _version_of(info)
    yield from _persistence(info, facts.config)
    yield from _memory(info)
    yield from _replication(info)
    if facts.pings_s:
        yield _latency(sorted(facts.pings_s))
    yield _access(facts)


def _version_of(info: Mapping[str, Any]) -> Finding:
    version = str(info.get("redis_version", ""))
    name = f"{info.get('server_name', 'redis')} {info.get('valkey_version', version)}"
    if str(info.get("loading", "0")) == "1":
        return error("Redis", f"{name} is still loading its data", "wait until it has loaded them")
    if str(info.get("cluster_enabled", "0")) == "1" or info.get("redis_mode") == "sentinel":
        return error(
            "Redis", f"{name} is a cluster's or a sentinel", "give one server: scripts touch several keys at once"
        )
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < OLDEST_REDIS:
        return error("Redis", f"{name} answers", f"use {'.'.join(map(str, OLDEST_REDIS))} or newer")
    return ok("Redis", f"{name} answers")


def _persistence(info: Mapping[str, Any], config: Mapping[str, str]) -> Iterator[Finding]:
    failed = [
        what
        for what, name in (("append-only file", "aof_last_write_status"), ("snapshot", "rdb_last_bgsave_status"))
        if str(info.get(name, "ok")) != "ok" and (what != "snapshot" or config.get("save", "") != "")
    ]
    if failed:
        found = f"the last write of its {' and '.join(failed)} failed: it refuses what it is told"
        yield error("persistence", found, "see its log, and make room on its disk")
        return
    if str(info.get("aof_enabled", "1")) == "0":
        lost = "what it loses is recovered from OUT, and rows in doubt may be billed twice"
        yield warning("persistence", f"its append-only file is off: {lost}", "set appendonly yes")
        return
    fsync = config.get("appendfsync", "")
    if fsync == "no":
        lost = "a power failure may lose half a minute, and rows of it may be sent again"
        yield warning("persistence", f"its append-only file is never synced: {lost}", "set appendfsync everysec")
    elif fsync == "everysec":
        yield ok("persistence", "its append-only file is on, synced every second: a power failure may lose that second")
    else:
        yield ok("persistence", f"its append-only file is on{', synced with each write' if fsync == 'always' else ''}")


def _memory(info: Mapping[str, Any]) -> Iterator[Finding]:
    policy, most = str(info.get("maxmemory_policy", "noeviction")), _number(info.get("maxmemory"))
    if policy != "noeviction" and most:
        yield error("eviction", f"{policy}, at {most:,} bytes: it may drop rows in flight", "set it to noeviction")
    else:
        yield ok("eviction", f"{policy}" if most else f"{policy}, without a bound on memory")
    used = _number(info.get("used_memory"))
    if most and used:
        found, todo = f"{used / most:.0%} of {_size(most)} in use", "raise maxmemory, or see who else fills it"
        if used >= FULL * most:
            yield error("memory", f"{found}: it refuses, or soon will, what it is told", todo)
        elif used >= NEARLY_FULL * most:
            yield warning("memory", found, todo)
        else:
            yield ok("memory", found)


def _replication(info: Mapping[str, Any]) -> Iterator[Finding]:
    copies = _number(info.get("connected_slaves"))
    if info.get("role") in {"slave", "replica"}:
        yield error("replication", "this server is a replica, and takes no writes", "give the address of its primary")
    elif copies:
        lost = "one that takes its place may lack the last moments, and nothing recognises that: rows may be sent again"
        todo = "set min-replicas-to-write 1 and min-replicas-max-lag 2; after a failover, let `vidbatch verify` look"
        yield warning("replication", f"{copies} {'copy' if copies == 1 else 'copies'}: {lost}", todo)


def _latency(pings: Sequence[float]) -> Finding:
    middle, late = pings[len(pings) // 2], pings[min(len(pings) - 1, round(0.99 * len(pings)))]
    found = f"{_ms(middle)} a round trip, {_ms(late)} at worst (p50 and p99 of {len(pings)})"
    if middle > VERY_SLOW_S:
        return warning("latency", f"{found}: a worker waits for it more than it works", "run workers near it")
    if middle > SLOW_S:
        return warning("latency", f"{found}: more workers are needed for the same rate", "run workers nearer to it")
    if late > STALLS_S:
        return warning("latency", f"{found}: it stalls", "see SLOWLOG and its disk, or give it a core of its own")
    return ok("latency", found)


def _access(facts: RedisFacts) -> Finding:
    who = f"as {facts.user or 'somebody'}"
    how = "over a Unix socket" if facts.socket else "over TLS" if facts.encrypted else "unencrypted"
    found = f"{who}, {how}{'' if facts.password else ', without a password'}"
    if not facts.encrypted and not facts.local:
        told = "who sees that network reads prompts and answers, and the password"
        return warning("access", f"{found}: {told}", "use rediss:// with VIDBATCH_REDIS_CA_FILE")
    if not facts.password and not facts.socket:
        todo = "set a password, and give it with VIDBATCH_REDIS_PASSWORD_FILE"
        return warning("access", f"{found}: whoever reaches it can change what is sent", todo)
    return ok("access", found)


def of_clocks(redis_s: float | None, api_s: float | None) -> Iterator[Finding]:
    """Whether clocks agree: how far ahead of this machine's are Redis's and the API's, where they are known.

    The ledger goes by Redis's alone, so a wrong one here harms only what bears a time: signed URLs, webhooks, dates.
    """
    known = [(name, ahead) for name, ahead in (("Redis", redis_s), ("the API", api_s)) if ahead is not None]
    if not known:
        return
    found = ", ".join(f"{name} is {_ahead(ahead)}" for name, ahead in known)
    if any(abs(ahead) > SKEWED_S for _, ahead in known):
        yield warning("clocks", f"{found}: signed URLs and webhooks may be refused", "set the clocks by NTP")
    else:
        yield ok("clocks", found)


def _ahead(seconds: float) -> str:
    if abs(seconds) < 1:
        return "in step with this machine"
    return f"{abs(seconds):,.0f} s {'ahead of' if seconds > 0 else 'behind'} this machine"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _size(count: int) -> str:
    return f"{count / 1024**3:,.1f} GB" if count >= 1024**3 else f"{count / 1024**2:,.0f} MB"


def _number(value: object) -> int:
    text = str(value or 0)
    return int(text) if text.isdecimal() else 0
