"""`vidbatch resume`."""

import asyncio
from dataclasses import replace

import click

from pipeline.cli import options
from pipeline.cli.ledger_access import known_run, ledger_url
from pipeline.cli.sharing import pace_now
from pipeline.cli.wording import again_words
from pipeline.core.errors import StorageError, UsageError
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.edges.places import out_place
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.edges.run_folder import LocalRunFolder


@click.command(name="resume")
@click.argument("run_id", metavar="RUN")
@options.redis_url
def command(run_id: str, redis_url: str | None) -> None:
    """Go on with RUN after a pause: a person's, a guard's or the API's.

    A run that no command leads is resumed by its own command, which this one names.
    """
    with ledger_url(redis_url) as url:
        click.echo(asyncio.run(_resume(url, run_id)))


async def _resume(url: str, run_id: str) -> str:
    ledger = RedisLedger(url)
    try:
        run, card = await known_run(ledger, run_id)
        told = not_resumed(run)
        if told is not None:
            return told
        folder = LocalRunFolder(out_place(card.out), run_id)
        if not run.led:
            raise UsageError(
                f"no command leads run {run_id}, so it would send nothing; its own command goes on with "
                f"it: {_own_command(folder)}"
            )
        if folder.cancelled:
            raise UsageError(f"run {run_id} was cancelled; its own command ends it: {_own_command(folder)}")
        card = replace(card, limits=run.limits)  # those of by now, not those of its command
        await pace_now(ledger, card.account, card)  # a run that is paused binds nobody with them
        await ledger.reopen(card)
        return f"run {run_id} goes on"
    finally:
        await ledger.close()


def not_resumed(run: RunSnapshot) -> str | None:
    """Why there is nothing to resume; nothing where there is."""
    match run.state:
        case RunState.PAUSED:
            return None
        case RunState.RUNNING if run.led and not run.account_blocked:
            return f"run {run.run_id} is not paused"
        case RunState.FINISHED:
            return f"run {run.run_id} is finished; there is nothing to resume"
        case RunState.CANCELLING | RunState.ABANDONING:
            return f"run {run.run_id} is {run.state}, and is not resumed"
        case RunState.STOPPING if run.led:
            return f"run {run.run_id} stops, since its command was interrupted; give that command again once it ended"
    return None


def _own_command(folder: LocalRunFolder) -> str:
    """The run's command, as far as its folder tells it here."""
    try:
        return f"`{again_words(folder, folder.described())}`"
    except StorageError:
        return f"the `vidbatch run` whose --out is {folder.out}"
