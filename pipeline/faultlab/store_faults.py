"""Redis goes away, freezes, is full or loses everything; Celery's queues lose or repeat their messages."""

import asyncio
import signal
import time
from dataclasses import replace

from pipeline.core.tickets import Role
from pipeline.edges import redis_keys
from pipeline.faultlab import processes
from pipeline.faultlab.fault import Family, Fault
from pipeline.faultlab.stage import Stage
from pipeline.faultlab.verdict import Evidence, Rules, what_was_in_flight

QUEUES = tuple(f"{redis_keys.QUEUES}{role}" for role in Role)
"""The lists in which Celery keeps its messages."""

FROZEN_S = 30.0
FULL_S = 6.0
EMPTYING_S = 5.0
AWAY_S = 1.0
UNSYNCED_S = 2.0
"""What `appendfsync everysec` may lose: a second, and another when the disk is slow."""

SYSTEM_TROUBLE = 5


async def _restart_redis(stage: Stage) -> None:
    await stage.mid_run()
    stage.struck(await stage.moment())
    processes.tell(stage.server(), signal.SIGTERM)


async def _kill_redis(stage: Stage) -> None:
    await stage.mid_run()
    stage.struck(await stage.moment())
    processes.kill([stage.server()])
    await asyncio.sleep(AWAY_S)
    if stage.fleet is not None:
        await stage.fleet.start_server()


async def _freeze_redis(stage: Stage) -> None:
    await stage.mid_run()
    server = stage.server()
    stage.struck(await stage.moment())
    processes.freeze([server])
    await asyncio.sleep(FROZEN_S)
    processes.thaw([server])


async def _empty_redis(stage: Stage) -> None:
    """What the disk knows must not be sent again; the rest of what was sent is the price of a ledger that is lost."""
    await stage.mid_run()
    moment = await stage.moment()
    await stage.ledger.command("FLUSHALL")
    if (code := await stage.ended()) != SYSTEM_TROUBLE:
        stage.complaints.append(f"the command whose ledger was lost ended with {code} instead of {SYSTEM_TROUBLE}")
    folder = stage.run_folder
    saved = {line[0] for line in folder.saved_ids()} if folder else set()
    ended = set(folder.ended().rows) if folder else set()
    by_prompt = stage.question.by_prompt()
    sent = {by_prompt[post["prompt_sha256"]] for post in await stage.books.posts()}
    known = frozenset(saved | ended)
    stage.struck(replace(moment, at=time.time(), pending=known, in_flight=len(sent - known)))


async def _fill_redis(stage: Stage) -> None:
    await stage.mid_run()
    stage.struck(await stage.moment())
    await stage.ledger.command("CONFIG", "SET", "maxmemory", "1")
    await asyncio.sleep(FULL_S)
    await stage.ledger.command("CONFIG", "SET", "maxmemory", "0")


async def _empty_queues(stage: Stage) -> None:
    await stage.mid_run()
    stage.struck(await stage.moment())
    until = time.monotonic() + EMPTYING_S
    while time.monotonic() < until:
        await stage.ledger.command("DEL", *QUEUES)
        await asyncio.sleep(0)


async def _repeat_tickets(stage: Stage) -> None:
    await stage.mid_run()
    stage.struck(await stage.moment())
    stage.sabotage(tickets=2)


def _what_was_not_synced(evidence: Evidence) -> int:
    """POSTs whose intent or id may have been in the part of the append-only file that was not on disk yet."""
    return sum(
        0 <= moment.at - post.received_at <= UNSYNCED_S
        for moment in evidence.moments
        for posts in evidence.posts.values()
        for post in posts
    )


FAULTS = (
    Fault(
        "redis-restarted",
        Family.STORE,
        "the private Redis is stopped in good order and started again",
        _restart_redis,
    ),
    Fault(
        "redis-killed",
        Family.STORE,
        "kill -9 of a fleet's Redis that syncs once a second, started again after a second",
        _kill_redis,
        Rules(_what_was_not_synced),
        fleet=True,
    ),
    Fault(
        "redis-frozen",
        Family.STORE,
        "Redis does not answer for 30 s",
        _freeze_redis,
    ),
    Fault(
        "redis-emptied",
        Family.STORE,
        "Redis loses all its data; the command goes on from disk",
        _empty_redis,
        Rules(what_was_in_flight),
    ),
    Fault(
        "redis-full",
        Family.STORE,
        "Redis is at maxmemory and refuses every write for some seconds",
        _fill_redis,
    ),
    Fault(
        "queues-emptied",
        Family.STORE,
        "Celery's queues lose every message for some seconds",
        _empty_queues,
    ),
    Fault(
        "tickets-twice",
        Family.STORE,
        "Celery delivers every message twice from here on",
        _repeat_tickets,
        fleet=True,
        program=processes.SABOTAGE,
    ),
)
