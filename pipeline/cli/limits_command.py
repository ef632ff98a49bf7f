"""`vidbatch limits`."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click
import orjson

from pipeline.cli import options
from pipeline.cli.ledger_access import known_run, ledger_url
from pipeline.cli.limit_options import CHANGING, LIMITS, changed
from pipeline.cli.sharing import pace_now, runs_of
from pipeline.core.bounds import begins_words, bound_of, given_words, in_flight_words, poll_rate_words, rate_words
from pipeline.core.errors import LedgerMismatch, UsageError
from pipeline.core.limits import Limits, strictest
from pipeline.core.observations import tokens_a_row
from pipeline.core.pacing import AccountSeen, Pace, found_now
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.core.waiting import duration
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.ports import Ledger

IDLE = 5
"""So many accounts without a run are named; others had theirs long ago."""


@dataclass(frozen=True, slots=True)
class View:
    """An account, with its runs that are not finished, and what a row takes by what ended, where that is known."""

    account: str
    seen: AccountSeen
    runs: Sequence[RunSnapshot]
    tokens_a_row: float | None = None

    @property
    def limits(self) -> Limits:
        """What counts of all that was given."""
        return strictest([self.seen.limits, *(run.limits_in_force for run in self.runs)])

    @property
    def at_work(self) -> Sequence[RunSnapshot]:
        """Those that send, or would if they were allowed to: the limits of others are not in force."""
        return [run for run in self.runs if run.state is RunState.RUNNING and run.led]

    @property
    def pace(self) -> Pace | None:
        """What it keeps to, or would if a run came now; nothing where nothing was given, nor found."""
        if self.at_work:
            return self.at_work[0].pace
        _, pace = found_now(self.seen, self.seen.limits, self.tokens_a_row)
        return None if pace.why == "starting" else pace


def _changing_options(command: options.Command) -> options.Command:
    for option in reversed(CHANGING):
        command = option(command)
    return command


@click.command(name="limits")
@click.argument("name", required=False, metavar="[RUN|ACCOUNT]")
@_changing_options
@options.redis_url
@options.json_output
def command(name: str | None, redis_url: str | None, as_json: bool, **given: Any) -> None:  # noqa: ANN401 - click's options
    """Show what accounts are allowed, who allows it and what bounds their runs; or change that for RUN or ACCOUNT.

    A change holds within a second, for a run until its own command is given again. Of the limits of an account and
    its runs the lowest counts.
    """
    with ledger_url(redis_url) as url:
        told, views = asyncio.run(_with_ledger(url, name, given))
    if as_json:
        click.echo(orjson.dumps([as_object(view) for view in views]))
        return
    for line in [*told, *_lines(views, named=name is not None)]:
        click.echo(line)


def _lines(views: Sequence[View], *, named: bool) -> Iterator[str]:
    """All accounts for people; of those without a run and a limit the name is enough, unless it was asked for."""
    told = [view for view in views if named or view.runs or given_words(view.seen.limits)]
    for view in told:
        yield from view_lines(view)
    if idle := [view.account for view in views if view not in told]:
        more = f" and {len(idle) - IDLE:,} more" if len(idle) > IDLE else ""
        yield f"no run is at work on {', '.join(idle[:IDLE])}{more}"
    if not views:
        yield "no account is known: none had a run here"


async def _with_ledger(url: str, name: str | None, given: Mapping[str, Any]) -> tuple[list[str], list[View]]:
    ledger = RedisLedger(url)
    try:
        if name is None:
            return [], await _all(ledger, given)
        told, account = await change(ledger, name, given)
        return told, [await view_of(ledger, account)]
    finally:
        await ledger.close()


async def _all(ledger: Ledger, given: Mapping[str, Any]) -> list[View]:
    if any(given[limit] is not None for limit in LIMITS):
        raise UsageError("whose limits? Name a run or an account; `vidbatch limits` alone shows those that are known")
    return [await view_of(ledger, account) for account in await _accounts(ledger)]


async def view_of(ledger: Ledger, account: str) -> View:
    """An account as it is shown."""
    tokens = tokens_a_row(await ledger.observed(account))
    return View(account, await ledger.account_seen(account), await runs_of(ledger, account), tokens)


async def _accounts(ledger: Ledger) -> list[str]:
    """Accounts by name; one that a run went over to may be known by that run alone."""
    names = set(await ledger.accounts())
    for run_id in await ledger.active_runs():
        try:
            run = await ledger.snapshot(run_id)
        except LedgerMismatch:
            continue
        names |= {run.account} if run is not None else set()
    return sorted(names)


async def change(ledger: Ledger, name: str, given: Mapping[str, Any]) -> tuple[list[str], str]:
    """Change what was typed, and have the account keep to it at once; what is told of it, and the account.

    UsageError for a name that is not known, and for limits of a run that is finished.
    """
    changes = any(given[limit] is not None for limit in LIMITS)
    if name in await ledger.active_runs():
        account, limits = await _change_run(ledger, name, given, changes=changes)
        whose = f"run {name}"
    elif name in (known := await _accounts(ledger)):
        account, limits = name, changed(await ledger.account_limits(name), given)
        whose = f"account {name}"
        if changes:
            await ledger.set_account_limits(name, limits)
    else:
        raise UsageError(
            f"no run and no account {name} is known; runs: {', '.join(await ledger.active_runs()) or 'none'}; "
            f"accounts: {', '.join(known) or 'none'}"
        )
    if not changes:
        return [], account
    await pace_now(ledger, account)
    return [f"{whose} allows {given_words(limits) or 'anything: what the API accepts is found'}"], account


async def _change_run(ledger: Ledger, run_id: str, given: Mapping[str, Any], *, changes: bool) -> tuple[str, Limits]:
    run, _ = await known_run(ledger, run_id)
    limits = changed(run.limits, given)
    if changes and (run.state is RunState.FINISHED or not await ledger.set_limits(run_id, limits)):
        raise UsageError(f"run {run_id} is finished; it has no limits any more")
    return run.account, limits


def view_lines(view: View) -> Iterator[str]:
    """An account for people: what holds now, who set it, and what bounds each of its runs."""
    yield f"account {view.account}"
    seen = view.seen
    if view.runs:
        yield from (f"  {name:<10}{words}" for name, words in _holds(view, view.runs[0]))
    else:
        known = "" if view.pace is None else f"; the next one begins with {begins_words(view.pace)}"
        yield f"  no run is at work{known}"
    if given := given_words(seen.limits):
        yield f"  given to the account: {given}"
    for run in view.runs:
        yield f"  run {run.run_id}: {', '.join(_run_words(run))}"


def _holds(view: View, run: RunSnapshot) -> Iterator[tuple[str, str]]:
    """What the account keeps to; any of its runs tells that."""
    pace = view.pace or Pace()
    yield "POSTs", (rate_words(pace) or "not paced yet") if view.at_work else "none: no run sends"
    yield "polls", poll_rate_words(pace) or "not paced yet"
    if view.limits.tpm is not None:
        yield "tokens", f"given: {view.limits.tpm:,.0f} a minute"
    yield "in flight", f"{view.seen.in_flight:,} ({in_flight_words(pace)})"
    if run.account_wait_until_ms > run.now_ms:
        yield "back-off", f"{duration((run.account_wait_until_ms - run.now_ms) / 1000)} more"
    if run.account_blocked:
        yield "refused", run.account_blocked


def _run_words(run: RunSnapshot) -> Iterator[str]:
    yield run.state.value
    yield f"priority {run.priority}"
    yield f"{run.in_flight:,} in flight"
    if given := given_words(run.limits):
        yield f"allows {given}"
    if (bound := bound_of(run)) is not None:
        yield f"bound by {bound.name}"


def as_object(view: View) -> dict[str, Any]:
    """An account for programs; limits a minute, null where there is none."""
    run = view.runs[0] if view.runs else None
    back_off_ms = 0 if run is None else max(0, run.account_wait_until_ms - run.now_ms)
    return {
        "account": view.account,
        "given": asdict(view.seen.limits),
        "holds": None if view.pace is None else _held(view.pace, view.limits),
        "in_flight": view.seen.in_flight,
        "back_off_s": back_off_ms / 1000,
        "refused": "" if run is None else run.account_blocked,
        "runs": [
            {
                "run_id": run.run_id,
                "state": run.state.value,
                "priority": run.priority,
                "in_flight": run.in_flight,
                "given": asdict(run.limits),
                "bound": "" if (bound := bound_of(run)) is None else bound.kind,
            }
            for run in view.runs
        ],
    }


def _held(pace: Pace, limits: Limits) -> dict[str, Any]:
    return {
        "rpm": None if pace.rate is None else pace.rate * 60,
        "rpm_by": pace.why,
        "poll_rpm": None if pace.poll_rate is None else pace.poll_rate * 60,
        "poll_rpm_by": pace.poll_why,
        "tpm": limits.tpm,
        "max_in_flight": min((bound for bound in (pace.cap, pace.most) if bound is not None), default=None),
    }
