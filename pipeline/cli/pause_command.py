"""`vidbatch pause`."""

import asyncio

import click

from pipeline.cli import options
from pipeline.cli.ledger_access import known_run, ledger_url
from pipeline.cli.sharing import runs_of
from pipeline.core.bounds import given_words
from pipeline.core.snapshot import PERSON_PAUSED, RunSnapshot, RunState
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.ports import Ledger


@click.command(name="pause")
@click.argument("run_id", metavar="RUN")
@options.redis_url
def command(run_id: str, redis_url: str | None) -> None:
    """Send nothing more for RUN until `vidbatch resume`; what was sent is collected and written.

    The command that leads it goes on watching; the run's own command, given again, lifts the pause, too.
    """
    with ledger_url(redis_url) as url:
        click.echo(asyncio.run(_pause(url, run_id)))


async def _pause(url: str, run_id: str) -> str:
    ledger = RedisLedger(url)
    try:
        return await pause(ledger, run_id)
    finally:
        await ledger.close()


async def pause(ledger: Ledger, run_id: str) -> str:
    """Pause a run that is at work, and only such a one; how it stands then."""
    run, _ = await known_run(ledger, run_id)
    if (told := not_paused(run)) is not None:
        return told
    if await ledger.set_state(run_id, RunState.PAUSED, PERSON_PAUSED, only_from=RunState.RUNNING):
        return (
            f"run {run_id} is paused; {run.in_flight:,} rows that were sent are collected; `vidbatch resume {run_id}` "
            f"goes on{await _freed(ledger, run)}"
        )
    run, _ = await known_run(ledger, run_id)  # somebody else was faster
    return not_paused(run) or f"run {run_id} is not paused: it stood otherwise just now, and goes on by now"


async def _freed(ledger: Ledger, run: RunSnapshot) -> str:
    """What others may do now that the run's limits do not hold for them any more; a person pauses to calm things."""
    given = given_words(run.limits)
    at_work = [one.run_id for one in await runs_of(ledger, run.account) if one.state is RunState.RUNNING and one.led]
    others = [name for name in at_work if name != run.run_id]
    if not given or not others:
        return ""
    return (
        f"\nits limits, {given}, do not hold for {', '.join(others)} while it is paused: "
        f"`vidbatch limits {run.account}` gives the account its own"
    )


def not_paused(run: RunSnapshot) -> str | None:
    """Why a pause would change nothing; nothing where it would."""
    match run.state:
        case RunState.RUNNING:
            return None
        case RunState.PAUSED:
            return f"run {run.run_id} is paused already: {run.reason}"
        case RunState.FINISHED:
            return f"run {run.run_id} is finished; there is nothing to pause"
        case RunState.STOPPING:
            return f"run {run.run_id} sends nothing: its command was interrupted"
    return f"run {run.run_id} sends nothing: it is {run.state}"
