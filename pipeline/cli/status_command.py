"""`vidbatch status`."""

import asyncio
from typing import Any

import click
import orjson

from pipeline.cli import options
from pipeline.cli.ledger_access import ledger_url
from pipeline.cli.screen import plain_line
from pipeline.cli.watching import lacking
from pipeline.core.errors import UsageError
from pipeline.core.snapshot import RunSnapshot
from pipeline.core.summary import summary_of
from pipeline.edges.redis_ledger import RedisLedger


@click.command(name="status")
@click.argument("run_id", required=False, metavar="[RUN]")
@options.redis_url
@options.json_output
def command(run_id: str | None, redis_url: str | None, as_json: bool) -> None:
    """Show how runs that are not finished stand, or just RUN, and what they wait for."""
    with ledger_url(redis_url) as url:
        runs = asyncio.run(_look(url, run_id))
    if as_json:
        click.echo(orjson.dumps([_as_object(run, lack) for run, lack in runs]))
        return
    if not runs:
        click.echo("no run is unfinished")
    for run, lack in runs:
        click.echo(f"{run.run_id}  {run.state}  {plain_line(run, 0.0)}")
        if lack:
            click.echo(f"  waits: {lack}")


async def _look(url: str, run_id: str | None) -> list[tuple[RunSnapshot, str]]:
    ledger = RedisLedger(url)
    try:
        wanted = [run_id] if run_id else await ledger.active_runs()
        found: list[tuple[RunSnapshot, str]] = []
        for one in wanted:
            run, card = await ledger.snapshot(one), await ledger.card(one)
            if run is None or card is None:
                raise UsageError(f"the ledger knows no run {one}; finished runs are in their OUT, under runs/")
            found.append((run, await lacking(ledger, card.key_fingerprint)))
        return found
    finally:
        await ledger.close()


def _as_object(run: RunSnapshot, lack: str) -> dict[str, Any]:
    now = {"ready": run.ready, "submitting": run.submitting, "pending": run.pending, "fed": run.fed}
    waits = {"reason": run.reason, "trouble": run.trouble, "account_blocked": run.account_blocked, "lacking": lack}
    return {**summary_of(run), "state": run.state.value, **now, **waits}
