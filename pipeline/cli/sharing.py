"""What a run takes of its account, as its command gives it, and the account kept to it from the first row on."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.cli.ledger_access import ledger_url
from pipeline.cli.limit_options import limits_of
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
    """What a run allows its account, its part among other runs, and the account's name where a person gave one."""

    limits: Limits = Limits()
    priority: int = 10
    account: str | None = None


def share_of(given: Mapping[str, Any]) -> Share:
    """The share by the options of a command that sends."""
    return Share(limits_of(given), given["priority"], given["account"])


def shared(card: RunCard, share: Share | None, known: RunCard | None) -> RunCard:
    """The card with the share that its command gives; without one the run keeps what its ledger knows.

    An account that goes by address and key changes with the key; a name that a person gave stays.
    """
    by_key = account_id(card.base_url, card.key_fingerprint)
    if share is not None:
        return replace(card, limits=share.limits, priority=share.priority, account=share.account or by_key)
    if known is None:
        return replace(card, account=by_key)
    was_by_key = known.account == account_id(known.base_url, known.key_fingerprint)
    account = by_key if was_by_key else known.account
    return replace(card, limits=known.limits, priority=known.priority, account=account)


def found_before(given: Mapping[str, Any], base_url: str, key: Secret | None) -> float | None:
    """The POSTs a minute that the account allows, by its limits and what was found before; nothing while neither tells."""
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
