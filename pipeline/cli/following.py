"""Follow a run in the foreground: the screen, Ctrl-C, what is said meanwhile, and who leads it afterwards."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial

from pipeline.cli.interrupts import counted
from pipeline.cli.screen import Screen
from pipeline.cli.sharing import pace_unled
from pipeline.cli.watching import Stop, Stopped, Watch, follow
from pipeline.core.deadline import Outlook
from pipeline.core.errors import LedgerUnavailable
from pipeline.core.lead import lead_lock
from pipeline.core.snapshot import RunSnapshot
from pipeline.edges.clock import MachineClock, local_now
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.ports import RunCard


async def follow_run(
    card: RunCard,
    ledger: RedisLedger,
    screen: Screen,
    stack: Callable[[], None] | None,
    *,
    leads: bool = True,
    by: datetime | None = None,
) -> Stop:
    """Follow a run on the screen until it stops; then this command leads it no more.

    `stack` is kept alive meanwhile; `by` is when a person wants the run to be through.
    """
    if not leads:
        screen.say(
            "another `vidbatch run` leads this run; watching it (Ctrl-C closes only this view; `vidbatch limits "
            f"{card.run_id}` changes its limits)"
        )
    with counted(screen.interrupts):
        watch = replace(
            _watch(card, screen, by),
            each_look=stack or (lambda: None),
            leads=leads,
            before_lead=partial(pace_unled, ledger, card.run_id),
        )
        stop = await follow(watch, ledger, MachineClock())
        if leads:
            await _give_up_lead(card, ledger, stop)
        return stop


async def watch_run(
    card: RunCard, ledger: RedisLedger, screen: Screen, show: Callable[[RunSnapshot], None], by: datetime | None
) -> Stop:
    """Follow a run that others lead, or nobody: whatever becomes of them, this view changes nothing."""
    screen.say(f"watching run {card.run_id} (Ctrl-C closes only this view)")
    with counted(screen.interrupts):
        watch = replace(_watch(card, screen, by), show=show, leads=False, takes_over=False)
        return await follow(watch, ledger, MachineClock())


def _watch(card: RunCard, screen: Screen, by: datetime | None) -> Watch:
    return Watch(
        run_id=card.run_id,
        key_fingerprint=card.key_fingerprint,
        media_roots=card.media_roots,
        holder=holder_name(),
        show=screen.show,
        say=screen.say,
        each_look=lambda: None,
        interrupts=screen.interrupts,
        news=_news_of(by),
    )


def _news_of(by: datetime | None) -> Callable[[RunSnapshot], str | None]:
    """What there is to say of the deadline, at a look at the run."""
    outlook = None if by is None else Outlook(by)
    return lambda run: None if outlook is None else outlook.news(run, local_now())


async def _give_up_lead(card: RunCard, ledger: RedisLedger, stop: Stop) -> None:
    with suppress(LedgerUnavailable):
        await ledger.unlock(lead_lock(card.run_id), holder_name())
        if stop.why is Stopped.FINISHED and stop.run is not None:
            await ledger.forget(card.run_id)


def holder_name() -> str:
    """By which name this command holds the lead of its run."""
    return f"{socket.gethostname()}-{os.getpid()}"
