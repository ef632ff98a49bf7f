"""`vidbatch run`, put together: the plan, the stack, the ledger, and following the run to its end."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.cli.preparing import Prepared
from pipeline.cli.screen import Screen
from pipeline.cli.watching import Interrupts, Stop, Stopped, Watch, follow
from pipeline.core.account import Secret, account_id, key_fingerprint
from pipeline.core.errors import LedgerMismatch, RunConflict
from pipeline.core.policy import Policy
from pipeline.edges.clock import MachineClock
from pipeline.edges.embedded import EmbeddedServer, EmbeddedWorker, server_binary, state_folder
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.ports import RunCard


@dataclass(frozen=True, slots=True)
class Operation:
    """How to run, as against what to ask: none of it changes which run it is."""

    redis_url: str | None
    workers: int
    policy: Policy
    detach: bool
    key: Secret
    environment: Mapping[str, str]


def carry_out(prepared: Prepared, operation: Operation, screen: Screen) -> Stop:
    """Run it until it ends or stops."""
    if operation.redis_url:
        return asyncio.run(_with_fleet(prepared, operation, operation.redis_url, screen))
    with _embedded_server(operation.environment) as server:
        return asyncio.run(_with_own_worker(prepared, operation, server, screen))


async def _with_fleet(prepared: Prepared, operation: Operation, url: str, screen: Screen) -> Stop:
    ledger = RedisLedger(url)
    try:
        card = await enter_ledger(prepared, operation, ledger)
        if operation.detach:
            return Stop(Stopped.FINISHED, await ledger.snapshot(card.run_id), "detached")
        return await _follow(card, ledger, screen, None)
    finally:
        await ledger.close()


async def _with_own_worker(prepared: Prepared, operation: Operation, server: EmbeddedServer, screen: Screen) -> Stop:
    ledger = RedisLedger(server.url)
    log = server.folder / "logs" / f"worker-{os.getpid()}.log"
    environment = {**operation.environment, "VIDBATCH_API_KEY": operation.key.reveal()}
    environment.pop("VIDBATCH_API_KEY_FILE", None)
    worker = EmbeddedWorker(server, operation.workers, log, environment)
    try:
        worker.start()
        card = await enter_ledger(prepared, operation, ledger)
        stop = await _follow(card, ledger, screen, worker)
        if stop.why is Stopped.INTERRUPTED and stop.reason:
            worker.ask_to_leave()
        else:
            await asyncio.to_thread(worker.stop)
        return stop
    except BaseException:
        worker.ask_to_leave()
        raise
    finally:
        await ledger.close()


async def enter_ledger(prepared: Prepared, operation: Operation, ledger: RedisLedger) -> RunCard:
    """Make the run's ledger, or continue it. RunConflict when another command follows this very run."""
    card = card_of(prepared, operation)
    if not await ledger.lock(f"coordinator:{card.run_id}", _holder(), 10.0):
        raise RunConflict(
            f"another `vidbatch run` is at work on run {card.run_id}; look at it with `vidbatch status {card.run_id}`"
        )
    known = await ledger.card(card.run_id)
    if known is None:
        ended = prepared.folder.ended_rows() if prepared.resumed else []
        counts = {outcome: sum(one == outcome for _, one in ended) for outcome in {one for _, one in ended}}
        await ledger.open_run(
            card, recover_until=prepared.folder.fed(), ended=counts, done=[row_index for row_index, _ in ended]
        )
        return card
    if known.token != card.token:
        raise LedgerMismatch(f"Redis holds a run {card.run_id} that is not the one in {card.out}")
    card = replace(card, epoch=known.epoch)
    await ledger.reopen(card)
    return card


def card_of(prepared: Prepared, operation: Operation) -> RunCard:
    """What the workers are told of this run. A ledger that is made anew gets a new epoch."""
    described: Mapping[str, Any] = prepared.described
    fingerprint = key_fingerprint(operation.key.reveal())
    return RunCard(
        run_id=prepared.folder.run_id,
        account=account_id(described["base_url"], fingerprint),
        base_url=described["base_url"],
        key_fingerprint=fingerprint,
        out=str(prepared.folder.out),
        token=described["token"],
        epoch=f"e{prepared.folder.epochs() + 1}",
        total=described["requests"],
        policy=operation.policy,
    )


async def _follow(card: RunCard, ledger: RedisLedger, screen: Screen, worker: EmbeddedWorker | None) -> Stop:
    interrupts = Interrupts()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupts)
    watch = Watch(
        run_id=card.run_id,
        key_fingerprint=card.key_fingerprint,
        holder=_holder(),
        show=screen.show,
        say=screen.say,
        each_look=worker.supervise if worker else lambda: None,
        interrupts=interrupts,
    )
    try:
        stop = await follow(watch, ledger, MachineClock())
        await ledger.unlock(f"coordinator:{card.run_id}", watch.holder)
        if stop.why is Stopped.FINISHED and stop.run is not None:
            await ledger.forget(card.run_id)
        return stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _holder() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


@contextmanager
def _embedded_server(environment: Mapping[str, str]) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(state_folder(environment), server_binary(environment.get("PATH")))
    server.enter()
    try:
        yield server
    finally:
        server.leave()


def state_of(environment: Mapping[str, str]) -> Path:
    """The folder of the private server and the logs."""
    return state_folder(environment)
