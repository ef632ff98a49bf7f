"""`vidbatch run`, put together: the plan, the stack, the ledger, and following the run to its end."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from pipeline.cli.following import follow_run, holder_name
from pipeline.cli.leading import lead
from pipeline.cli.operation import Operation, new_epoch
from pipeline.cli.preparing import Prepared, begin
from pipeline.cli.screen import Screen
from pipeline.cli.sealing import seal_address
from pipeline.cli.sharing import pace_now
from pipeline.cli.watching import DETACHED, Stop, Stopped
from pipeline.core.errors import KeyMissing, LedgerMismatch, LedgerUnavailable, StorageError
from pipeline.core.lead import lead_lock, place_of
from pipeline.core.rows import Rows
from pipeline.core.scheduled import FIRING
from pipeline.core.snapshot import RunState
from pipeline.core.tickets import Role, wants_feed
from pipeline.edges.embedded import EmbeddedServer, new_token, server_binary, state_folder, state_path
from pipeline.edges.embedded_worker import EmbeddedWorker, Waiting
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.edges.spill import SpillFolder
from pipeline.flows.feed import feed
from pipeline.flows.replay import Fate, replay_to_disk
from pipeline.ports import RunCard


def carry_out(prepared: Prepared, operation: Operation, screen: Screen, waiting: Waiting | None = None) -> Stop:
    """Run it until it ends or stops; a run that was cancelled ends without sending more.

    A worker that waits already is told to serve, if this command comes to lead the run.
    """
    if operation.redis_url:
        return asyncio.run(_with_fleet(prepared, operation, operation.redis_url, screen))
    with _embedded_server(operation.environment) as server:
        return asyncio.run(_with_own_worker(prepared, operation, server, screen, waiting))


async def _with_fleet(prepared: Prepared, operation: Operation, url: str, screen: Screen) -> Stop:
    ledger = RedisLedger(url)
    try:
        await _seal(prepared, operation, url)
        begin(prepared, place_of(url), await ledger.identity())
        await _tell_cancelled(prepared, ledger)
        await _refuse_without_key(prepared, operation, ledger)
        card = await lead(prepared, operation, ledger, screen)
        if isinstance(card, Stop):
            return card
        await _replay_spilled(card, operation, ledger, url)
        card = await enter_ledger(card, prepared, ledger)
        if operation.detach:
            await ledger.unlock(lead_lock(card.run_id), holder_name())
            return Stop(Stopped.LEFT, await ledger.snapshot(card.run_id), DETACHED)
        return await follow_run(card, ledger, screen, None, by=operation.by)
    finally:
        await ledger.close()


async def _with_own_worker(
    prepared: Prepared, operation: Operation, server: EmbeddedServer, screen: Screen, waiting: Waiting | None
) -> Stop:
    ledger = RedisLedger(server.url)
    log = server.folder / "logs" / f"worker-{os.getpid()}.log"
    worker = EmbeddedWorker(server, operation.workers, log, worker_environment(operation), waiting)
    try:
        await _seal(prepared, operation, server.url)
        begin(prepared, place_of(server.url), await ledger.identity())
        await _tell_cancelled(prepared, ledger)
        await _refuse_without_key(prepared, operation, ledger)
        card = await lead(prepared, operation, ledger, screen, worker.drop_waiting)
        if isinstance(card, Stop):
            return card
        await _replay_spilled(card, operation, ledger, server.url)
        worker.start()
        card = await enter_ledger(card, prepared, ledger)
        await _feed_first(card, prepared, ledger)
        stop = await follow_run(card, ledger, screen, _Supervision(server, worker), by=operation.by)
        if stop.why is not Stopped.INTERRUPTED or not stop.reason:
            await asyncio.to_thread(worker.stop)
    finally:
        worker.ask_to_leave()
        await ledger.close()
    return stop


async def _seal(prepared: Prepared, operation: Operation, url: str) -> None:
    """Before workers can see the run's card: they send the key only to an address that is sealed."""
    scheduled = bool(operation.environment.get(FIRING))
    await seal_address(url, operation.key, prepared.described["base_url"], scheduled=scheduled)


async def _feed_first(card: RunCard, prepared: Prepared, ledger: RedisLedger) -> None:
    """Feed the ledger while the worker gets ready, so that it finds rows to send.

    What the disk, a file or Redis refuses here is met again, by those who can wait or pause the run; so is what a lost
    ledger left, which may take longer than a lead lasts.
    """
    with suppress(LedgerUnavailable):
        await _fed(card, prepared, ledger)


async def _fed(card: RunCard, prepared: Prepared, ledger: RedisLedger) -> None:
    run = await ledger.snapshot(card.run_id)
    holder = f"{holder_name()}-{new_token()[:8]}"
    if run is None or run.fed < run.recover_until or not wants_feed(run):
        return
    if not await ledger.begin_shift(card.run_id, Role.CONTROL, holder, 1):
        return
    try:
        with suppress(StorageError, OSError, ValueError):
            await feed(run, ledger, prepared.folder, card.policy)
    finally:
        await ledger.end_shift(card.run_id, Role.CONTROL, holder)


@dataclass(frozen=True, slots=True)
class _Supervision:
    """What the leading command keeps alive: the private server first, since the worker needs it."""

    server: EmbeddedServer
    worker: EmbeddedWorker

    def __call__(self) -> None:
        self.server.keep_alive()
        self.worker.supervise()


def worker_environment(operation: Operation) -> dict[str, str]:
    """The environment of the private worker: the key, where there is one, and from no second place; whose files."""
    kept = {name: value for name, value in operation.environment.items() if not name.startswith("VIDBATCH_API_KEY")}
    kept["VIDBATCH_MEDIA_ROOT"] = os.pathsep.join(operation.media_roots)
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


async def _refuse_without_key(prepared: Prepared, operation: Operation, ledger: RedisLedger) -> None:
    """KeyMissing where answers wait that only the key can fetch."""
    waiting = 0 if operation.key is not None else await _waiting_for_answers(prepared, operation, ledger)
    if waiting:
        raise KeyMissing(
            f"{waiting:,} rows of run {prepared.folder.run_id} wait for an answer that was paid for, and nothing "
            "more is sent: set VIDBATCH_API_KEY, or VIDBATCH_API_KEY_FILE, and give the command again to collect "
            "them; with --abandon it does not wait for them, and keeps their ids"
        )


async def _waiting_for_answers(prepared: Prepared, operation: Operation, ledger: RedisLedger) -> int:
    """Rows, late ids included, whose generation is still to be asked for with the key that this command lacks."""
    if prepared.folder.abandoned:
        return 0
    run = await ledger.snapshot(prepared.folder.run_id)
    if run is None:
        return len(Rows(line[0] for line in prepared.folder.open_ids(prepared.folder.ended().rows)))
    fleet_holds_it = operation.redis_url is not None
    return 0 if fleet_holds_it else run.pending + run.late + run.submitting - run.lapsed


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
        ended = prepared.folder.ended()
        await ledger.open_run(
            card,
            recover_until=prepared.folder.fed(),
            ended=ended.outcomes,
            done=ended.rows,
            state=state,
            settled=prepared.folder.settled(),
        )
        # who starts a run has seen to the key and the balance: the account's old block says nothing of them
    else:
        card = replace(card, epoch=known.epoch)
    await ledger.reopen(card, state)
    if (budget := prepared.folder.budget) != card.budget:
        # given by a command that found this one in the lead, and told the disk first
        await ledger.set_budget(card.run_id, budget)
        card = replace(card, budget=budget)
    return card


@contextmanager
def _embedded_server(environment: Mapping[str, str]) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(state_folder(environment), server_binary(environment.get("PATH")))
    server.enter()
    try:
        yield server
    finally:
        server.leave()
