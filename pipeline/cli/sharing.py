"""What a run takes of its account, as its command gives it, and the account kept to it from the first row on."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.cli.ledger_access import ledger_url
from pipeline.cli.limit_options import AUTO, LIMITS, PRIORITY, limits_of
from pipeline.core.account import Secret, account_id, key_fingerprint
from pipeline.core.errors import LedgerMismatch
from pipeline.core.limits import Limits
from pipeline.core.observations import tokens_a_row
from pipeline.core.pacing import AccountSeen, found_now
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.flows.pacing import pace_account
from pipeline.ports import Ledger, RunCard


@dataclass(frozen=True, slots=True)
class Share:
    """What a run allows its account, its part among other runs, and the account's name, where a person gave them.

    `found` names the limits that are to be found, as was said: `auto`.
    """

    limits: Limits = Limits()
    priority: int | None = None
    account: str | None = None
    found: frozenset[str] = frozenset()


def share_of(given: Mapping[str, Any]) -> Share:
    """The share by the options of a command that sends."""
    found = frozenset(name for name in LIMITS if given[name] == AUTO)
    return Share(limits_of(given), given["priority"], given["account"], found)


def shared(card: RunCard, share: Share | None, known: RunCard | None) -> RunCard:
    """The card with the share that its command gives; without one the run keeps what its ledger knows.

    An account that goes by address and key changes with the key; a name that a person gave stays.
    """
    by_key = account_id(card.base_url, card.key_fingerprint)
    if share is not None:
        priority = PRIORITY if share.priority is None else share.priority
        return replace(card, limits=share.limits, priority=priority, account=share.account or by_key)
    if known is None:
        return replace(card, account=by_key)
    return replace(card, limits=known.limits, priority=known.priority, account=_name_of(known) or by_key)


def _name_of(card: RunCard) -> str | None:
    """The name that a person gave the account of a run; nothing where it goes by address and key."""
    return None if card.account == account_id(card.base_url, card.key_fingerprint) else card.account


def since(share: Share | None, before: RunCard, now: RunCard) -> Share | None:
    """The share of a command that watched its run first: what others gave meanwhile counts, and what it left out stays.

    `before` is the run's card as the command began, `now` that of the moment in which it leads.
    """
    if share is None:
        return None
    limits = {}
    for name in LIMITS:
        was, holds, given = (getattr(one.limits, name) for one in (before, now, share))
        typed = given is not None or name in share.found
        limits[name] = given if typed and holds == was else holds
    theirs = share.priority is None or now.priority != before.priority
    return Share(Limits(**limits), now.priority if theirs else share.priority, share.account or _name_of(now))


def found_before(given: Mapping[str, Any], base_url: str, key: Secret | None) -> float | None:
    """The POSTs a minute that the account allows, by its limits and what earlier runs found; nothing without either."""
    share = share_of(given)
    if key is None and share.account is None:
        return None
    account = share.account or account_id(base_url, "" if key is None else key_fingerprint(key.reveal()))
    with ledger_url(given["redis_url"]) as url:
        return asyncio.run(_found(url, account))


async def _found(url: str, account: str) -> float | None:
    ledger = RedisLedger(url)
    try:
        seen, tokens = await ledger.account_seen(account), tokens_a_row(await ledger.observed(account))
    finally:
        await ledger.close()
    _, pace = found_now(seen, seen.limits, tokens)
    return None if pace.rate is None or pace.why == "starting" else 60 * pace.rate


async def live_card(ledger: Ledger, run_id: str) -> RunCard | None:
    """A run's card with the limits that it has by now; a person may have changed them while it was at work."""
    run, card = await ledger.snapshot(run_id), await ledger.card(run_id)
    return card if run is None or card is None else replace(card, limits=run.limits)


async def pace_unled(ledger: Ledger, run_id: str) -> None:
    """Have the account keep to the limits of a run before it is led: from that moment on its rows are sent.

    Nothing happens where a command leads it: then they hold anyway.
    """
    run, card = await ledger.snapshot(run_id), await ledger.card(run_id)
    if run is not None and card is not None and not run.led:
        await pace_now(ledger, card.account, replace(card, limits=run.limits))


async def runs_of(ledger: Ledger, account: str) -> list[RunSnapshot]:
    """The account's runs that are not finished; those of another version of vidbatch have an account of their own."""
    found: list[RunSnapshot] = []
    for run_id in await ledger.active_runs():
        try:
            run = await ledger.snapshot(run_id)
        except LedgerMismatch:
            continue
        if run is not None and run.account == account and run.state is not RunState.FINISHED:
            found.append(run)
    return found


async def pace_now(ledger: Ledger, account: str, entering: RunCard | None = None) -> AccountSeen:
    """Pace an account at once by all that was given, a run included that is about to begin or to go on."""
    runs = [run for run in await runs_of(ledger, account) if entering is None or run.run_id != entering.run_id]
    others = [run.limits_in_force for run in runs]
    return await pace_account(ledger, account, [*others, *([entering.limits] if entering else [])])
