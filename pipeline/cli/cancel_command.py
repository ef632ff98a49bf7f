"""`vidbatch cancel`."""

import asyncio
import sys

import click

from pipeline.cli import options
from pipeline.cli.configuration import Configuration, api_key
from pipeline.cli.ending import end
from pipeline.cli.family import the_run
from pipeline.cli.ledger_access import ledger_url
from pipeline.cli.operation import Operation
from pipeline.cli.preparing import Prepared, begin, found
from pipeline.cli.running import carry_out
from pipeline.cli.screen import Screen
from pipeline.cli.watching import Stopped
from pipeline.core.account import Secret
from pipeline.core.errors import KeyMissing
from pipeline.core.lead import place_of
from pipeline.edges.environment import process_environment
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.places import Place
from pipeline.edges.redis_ledger import RedisLedger


@click.command(name="cancel")
@click.argument("run_id", metavar="RUN")
@options.out
@click.option(
    "--abandon",
    is_flag=True,
    help="Do not wait for answers that are under way: their rows become cancelled, and keep the ids by which "
    "`vidbatch collect` fetches them later.",
)
@options.redis_url
@options.json_output
@click.pass_obj
def command(
    configuration: Configuration, run_id: str, out: Place, redis_url: str | None, *, abandon: bool, as_json: bool
) -> None:
    """End RUN without sending more: what was paid for is collected, the other rows become cancelled.

    OUT is free for another run afterwards. A key is needed only where answers are still to be collected.
    """
    folder = the_run(OutFolder(out), run_id)
    screen = Screen(quiet=as_json)
    if folder.summary() is not None:
        screen.say(f"run {run_id} is finished; there is nothing to cancel")
        return
    if not folder.begun:
        folder.discard()
        screen.say(f"nothing of run {run_id} was sent; its plan is removed")
        return
    operation = Operation(
        redis_url=redis_url,
        workers=1,
        policy=None,
        detach=False,
        key=_key(configuration),
        environment=process_environment(),
    )
    prepared = found(folder)
    with ledger_url(redis_url) as url, screen:
        asyncio.run(refuse_elsewhere(prepared, url))
        folder.cancel(abandon=abandon)
        stop = carry_out(prepared, operation, screen)
    code = end(stop, prepared, screen, as_json=as_json)
    sys.exit(0 if stop.why is Stopped.FINISHED else code)


async def refuse_elsewhere(prepared: Prepared, url: str) -> None:
    """RunConflict when the run is another ledger's: a mark would end it behind the back of the one that has it.

    Its own ledger may be away: the mark waits for it.
    """
    if prepared.folder.begun_in().get("place") == place_of(url):
        return
    ledger = RedisLedger(url)
    try:
        begin(prepared, place_of(url), await ledger.identity())
    finally:
        await ledger.close()


def _key(configuration: Configuration) -> Secret | None:
    try:
        return api_key(configuration, process_environment())
    except KeyMissing:
        return None
