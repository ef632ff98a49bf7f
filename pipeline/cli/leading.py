"""One command leads a run; the others watch it, and go on with it where that one ends."""

import socket
from collections.abc import Callable
from dataclasses import replace

from pipeline.cli.following import follow_run, holder_name
from pipeline.cli.operation import Operation, card_of
from pipeline.cli.preparing import Prepared
from pipeline.cli.screen import Screen
from pipeline.cli.sharing import live_card, pace_now, pace_unled, since
from pipeline.cli.watching import Stop, Stopped
from pipeline.core.bounds import given_words
from pipeline.core.lead import LEAD_S, lead_lock
from pipeline.core.limits import left_out
from pipeline.core.snapshot import RunState
from pipeline.core.spending import budget_words, goes_on
from pipeline.edges.embedded import alive
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.ports import RunCard


def _nothing() -> None:
    """Nothing is given up for watching."""


async def lead(
    prepared: Prepared,
    operation: Operation,
    ledger: RedisLedger,
    screen: Screen,
    give_up: Callable[[], None] = _nothing,
) -> RunCard | Stop:
    """Follow the run while another command leads it; its card once this one does, by what holds at that moment.

    A command that only watches will `give_up` what it does not need for that.
    """
    run_id = prepared.folder.run_id
    before, watched = await live_card(ledger, run_id), False
    card = card_of(prepared, operation, before)
    while not await take_lead(run_id, ledger):
        if operation.capped and not watched:
            await _cap_now(prepared, ledger, screen)
        give_up()
        watched = True
        stop = await follow_run(card, ledger, screen, None, leads=False, by=operation.by)
        if stop.why is not Stopped.ORPHANED:
            return stop
    if prepared.folder.summary() is not None:
        # the command that led it ended with it, a moment ago
        await ledger.unlock(lead_lock(run_id), holder_name())
        return Stop(Stopped.FINISHED, None)
    now = await live_card(ledger, run_id)
    if watched and now is not None:
        operation = replace(operation, share=since(operation.share, before or now, now))
    card = card_of(prepared, operation, now)
    if now is not None and (gone := given_words(left_out(now.limits, card.limits))):
        screen.say(f"limits that are not given again are found from here on; the run had {gone}")
    return card


async def take_lead(run_id: str, ledger: RedisLedger) -> bool:
    """Lead the run, unless another living command does."""
    await pace_unled(ledger, run_id)
    name = lead_lock(run_id)
    if await ledger.lock(name, holder_name(), LEAD_S):
        return True
    holder = await ledger.lock_holder(name)
    host, _, pid = holder.rpartition("-")
    if host == socket.gethostname() and pid.isdigit() and not alive(int(pid)):
        await ledger.unlock(name, holder)
        return await ledger.lock(name, holder_name(), LEAD_S)
    return False


async def _cap_now(prepared: Prepared, ledger: RedisLedger, screen: Screen) -> None:
    """Another command leads: caps that this one was given hold all the same, from the next claim on.

    A run that the caps before paused goes on where these leave room, if its command is still there.
    """
    run_id, budget = prepared.folder.run_id, prepared.folder.budget
    run, card = await ledger.snapshot(run_id), await live_card(ledger, run_id)
    if run is None or card is None:
        return
    if run.budget != budget:
        await ledger.set_budget(run_id, budget)
        screen.say(f"from now on the run has {budget_words(budget) or 'no cap'}")
    if goes_on(run, budget):
        await pace_now(ledger, card.account, card)
        await ledger.set_state(run_id, RunState.RUNNING, only_from=RunState.PAUSED)
