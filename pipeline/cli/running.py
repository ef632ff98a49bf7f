"""`vidbatch run`, put together: the plan, the stack, the ledger, and following the run to its end."""

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pipeline.cli.estimating import price_list
from pipeline.cli.following import follow_run, holder_name
from pipeline.cli.preparing import Prepared, begin
from pipeline.cli.screen import Screen
from pipeline.cli.sharing import Share, live_card, pace_now, shared
from pipeline.cli.watching import Stop, Stopped
from pipeline.core.account import Secret, key_fingerprint
from pipeline.core.bounds import given_words
from pipeline.core.budget import Budget, Settled
from pipeline.core.errors import KeyMissing, LedgerMismatch, StorageError
from pipeline.core.lead import LEAD_S, lead_lock, place_of
from pipeline.core.limits import left_out
from pipeline.core.policy import Policy
from pipeline.core.snapshot import RunState
from pipeline.core.spending import budget_words
from pipeline.edges.clock import time_of_day_us
from pipeline.edges.embedded import EmbeddedServer, alive, server_binary, state_folder, state_path
from pipeline.edges.embedded_worker import EmbeddedWorker
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.edges.spill import SpillFolder
from pipeline.flows.feed import known_from
from pipeline.flows.replay import Fate, replay_to_disk
from pipeline.ports import RunCard


@dataclass(frozen=True, slots=True)
class Operation:
    """How to run, as against what to ask: none of it changes which run it is.

    Without a policy, a budget or a share the run keeps its own. Without a key nothing can be sent or asked for: enough
    to end a run that waits for no answer. `by` is when it should be through.
    """

    redis_url: str | None
    workers: int
    policy: Policy | None
    detach: bool
    key: Secret | None
    environment: Mapping[str, str]
    budget: Budget | None = None
    by: datetime | None = None
    share: Share | None = None


def carry_out(prepared: Prepared, operation: Operation, screen: Screen) -> Stop:
    """Run it until it ends or stops; a run that was cancelled ends without sending more."""
    if operation.redis_url:
        return asyncio.run(_with_fleet(prepared, operation, operation.redis_url, screen))
    with _embedded_server(operation.environment) as server:
        return asyncio.run(_with_own_worker(prepared, operation, server, screen))


async def _with_fleet(prepared: Prepared, operation: Operation, url: str, screen: Screen) -> Stop:
    ledger = RedisLedger(url)
    try:
        begin(prepared, place_of(url), await ledger.identity())
        await _tell_cancelled(prepared, ledger)
        card = await _card(prepared, operation, ledger, screen)
        if (stop := await _follow_who_leads(card, operation, ledger, screen)) is not None:
            return stop
        await _replay_spilled(card, operation, ledger, url)
        card = await enter_ledger(card, prepared, ledger)
        if operation.detach:
            await ledger.unlock(lead_lock(card.run_id), holder_name())
            return Stop(Stopped.LEFT, await ledger.snapshot(card.run_id), "detached")
        return await follow_run(card, ledger, screen, None, by=operation.by)
    finally:
        await ledger.close()


async def _with_own_worker(prepared: Prepared, operation: Operation, server: EmbeddedServer, screen: Screen) -> Stop:
    ledger = RedisLedger(server.url)
    log = server.folder / "logs" / f"worker-{os.getpid()}.log"
    worker = EmbeddedWorker(server, operation.workers, log, worker_environment(operation))
    try:
        begin(prepared, place_of(server.url), await ledger.identity())
        await _tell_cancelled(prepared, ledger)
        card = await _card(prepared, operation, ledger, screen)
        if (stop := await _follow_who_leads(card, operation, ledger, screen)) is not None:
            return stop
        await _replay_spilled(card, operation, ledger, server.url)
        worker.start()
        card = await enter_ledger(card, prepared, ledger)
        stop = await follow_run(card, ledger, screen, _Supervision(server, worker), by=operation.by)
        if stop.why is not Stopped.INTERRUPTED or not stop.reason:
            await asyncio.to_thread(worker.stop)
    finally:
        worker.ask_to_leave()
        await ledger.close()
    return stop


@dataclass(frozen=True, slots=True)
class _Supervision:
    """What the leading command keeps alive: the private server first, since the worker needs it."""

    server: EmbeddedServer
    worker: EmbeddedWorker

    def __call__(self) -> None:
        self.server.keep_alive()
        self.worker.supervise()


def worker_environment(operation: Operation) -> dict[str, str]:
    """The environment of the private worker: the key, where there is one, and from no second place."""
    kept = {name: value for name, value in operation.environment.items() if not name.startswith("VIDBATCH_API_KEY")}
    return kept if operation.key is None else {**kept, "VIDBATCH_API_KEY": operation.key.reveal()}


def state_of(folder: LocalRunFolder) -> RunState:
    """The state that a person wants, by the run's folder."""
    if folder.abandoned:
        return RunState.ABANDONING
    return RunState.CANCELLING if folder.cancelled else RunState.RUNNING


async def _tell_cancelled(prepared: Prepared, ledger: RedisLedger) -> None:
    """Tell the ledger before anything else: another command may lead the run, and workers may be sending."""
    if prepared.folder.cancelled:
        await ledger.set_state(prepared.folder.run_id, state_of(prepared.folder))


async def _card(prepared: Prepared, operation: Operation, ledger: RedisLedger, screen: Screen) -> RunCard:
    """The run's card with the options of this command. KeyMissing where answers wait that only the key can fetch."""
    known = await live_card(ledger, prepared.folder.run_id)
    if operation.key is None:
        waiting = await _waiting_for_answers(prepared, operation, ledger)
        if waiting:
            raise KeyMissing(
                f"{waiting:,} rows of run {prepared.folder.run_id} wait for an answer that was paid for, and nothing "
                "more is sent: set VIDBATCH_API_KEY, or VIDBATCH_API_KEY_FILE, and give the command again to collect "
                "them; with --abandon it does not wait for them, and keeps their ids"
            )
    card = card_of(prepared, operation, known)
    if known is not None and (gone := given_words(left_out(known.limits, card.limits))):
        screen.say(f"limits that are not given again are found from here on; the run had {gone}")
    return card


async def _waiting_for_answers(prepared: Prepared, operation: Operation, ledger: RedisLedger) -> int:
    """Rows, late ids included, whose generation is still to be asked for with the key that this command lacks."""
    if prepared.folder.abandoned:
        return 0
    run = await ledger.snapshot(prepared.folder.run_id)
    if run is None:
        known = known_from(prepared.folder)
        return len(known.ids.keys() - known.ended)
    fleet_holds_it = operation.redis_url is not None
    return 0 if fleet_holds_it else run.pending + run.late + run.submitting - run.lapsed


async def _follow_who_leads(card: RunCard, operation: Operation, ledger: RedisLedger, screen: Screen) -> Stop | None:
    """Follow the run while another command leads it; nothing once this one does."""
    while not await take_lead(card, ledger):
        await _cap_now(card, operation, ledger, screen)
        stop = await follow_run(card, ledger, screen, None, leads=False, by=operation.by)
        if stop.why is not Stopped.ORPHANED:
            return stop
    return None


async def _cap_now(card: RunCard, operation: Operation, ledger: RedisLedger, screen: Screen) -> None:
    """Another command leads: caps that this one was given hold all the same, from the next claim on."""
    budget, run = operation.budget, await ledger.snapshot(card.run_id)
    if budget is not None and run is not None and run.budget != budget:
        await ledger.set_budget(card.run_id, budget)
        screen.say(f"from now on the run has {budget_words(budget) or 'no cap'}")


async def take_lead(card: RunCard, ledger: RedisLedger) -> bool:
    """Lead the run, unless another living command does."""
    name = lead_lock(card.run_id)
    if await ledger.lock(name, holder_name(), LEAD_S):
        return True
    holder = await ledger.lock_holder(name)
    host, _, pid = holder.rpartition("-")
    if host == socket.gethostname() and pid.isdigit() and not alive(int(pid)):
        await ledger.unlock(name, holder)
        return await ledger.lock(name, holder_name(), LEAD_S)
    return False


async def _replay_spilled(card: RunCard, operation: Operation, ledger: RedisLedger, url: str) -> None:
    """What a worker of this machine could not tell a ledger that is lost goes to the run's disk, which is read next.

    StorageError when the disk refuses ids that are known: without them their rows would be sent again. A file that
    can't be read stays, and the worker's log says so.
    """
    if await ledger.card(card.run_id) is not None:
        return
    told = replay_to_disk(SpillFolder(state_path(operation.environment)), card.run_id, card.out, place_of(url))
    refused = [one.why for one in told if one.fate is Fate.REFUSED]
    if refused:
        raise StorageError("; ".join(refused))


async def enter_ledger(card: RunCard, prepared: Prepared, ledger: RedisLedger) -> RunCard:
    """Make the run's ledger, or continue it; the card with the ledger's epoch."""
    known = await ledger.card(card.run_id)
    state = state_of(prepared.folder)
    if known is not None and known.token != card.token:
        raise LedgerMismatch(f"Redis holds a run {card.run_id} that is not the one in {card.out}")
    await pace_now(ledger, card.account, card)
    if known is None:
        card = replace(card, epoch=new_epoch())
        ended = prepared.folder.ended_rows() if prepared.resumed else []
        counts = Counter(outcome for _, outcome in ended)
        await ledger.open_run(
            card,
            recover_until=prepared.folder.fed(),
            ended=counts,
            done=[row_index for row_index, _ in ended],
            state=state,
            settled=prepared.folder.settled() if prepared.resumed else Settled(),
        )
        # who starts a run has seen to the key and the balance: the account's old block says nothing of them
        await ledger.reopen(card, state)
        return card
    card = replace(card, epoch=known.epoch)
    await ledger.reopen(card, state)
    return card


def new_epoch() -> str:
    """The name of a ledger that is made anew: no part of an earlier one has it, and parts sort by it."""
    return f"e{time_of_day_us():016}"


def card_of(prepared: Prepared, operation: Operation, known: RunCard | None = None) -> RunCard:
    """What the workers are told of this run. A ledger that is made anew gets a new epoch.

    `known` is the card that the ledger has: what this command does not give, policy, budget, share or key, is kept.
    """
    described: Mapping[str, Any] = prepared.described
    kept = "" if known is None else known.key_fingerprint
    fingerprint = kept if operation.key is None else key_fingerprint(operation.key.reveal())
    policy = operation.policy or (Policy() if known is None else known.policy)
    budget = operation.budget or (Budget() if known is None else known.budget)
    card = RunCard(
        run_id=prepared.folder.run_id,
        account="",
        base_url=described["base_url"],
        key_fingerprint=fingerprint,
        out=str(prepared.folder.out),
        token=described["token"],
        epoch=new_epoch(),
        total=described["requests"],
        policy=policy,
        detached=operation.detach,
        budget=budget,
        models=tuple(described["models"]),
        prices=price_list(described["prices"]),
    )
    return shared(card, operation.share, known)


@contextmanager
def _embedded_server(environment: Mapping[str, str]) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(state_folder(environment), server_binary(environment.get("PATH")))
    server.enter()
    try:
        yield server
    finally:
        server.leave()
