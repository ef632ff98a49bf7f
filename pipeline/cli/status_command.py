"""`vidbatch status`."""

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

import click
import orjson

from pipeline.cli import options
from pipeline.cli.ledger_access import known_run, ledger_url
from pipeline.cli.screen import plain_line
from pipeline.cli.watching import lacking
from pipeline.core.bounds import bound_of
from pipeline.core.errors import LedgerMismatch, UsageError
from pipeline.core.snapshot import RunSnapshot
from pipeline.core.spending import budget_object
from pipeline.core.summary import summary_of
from pipeline.core.waiting import waits_for
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.ports import Ledger


@dataclass(frozen=True, slots=True)
class Stand:
    """How a run stands, and what it waits for."""

    run: RunSnapshot
    lack: str
    waits: str


@click.command(name="status")
@click.argument("run_id", required=False, metavar="[RUN]")
@options.redis_url
@options.json_output
def command(run_id: str | None, redis_url: str | None, as_json: bool) -> None:
    """Show how runs that are not finished stand, or just RUN, and what they wait for."""
    with ledger_url(redis_url) as url:
        stands, others = asyncio.run(_look(url, run_id))
    if as_json:
        click.echo(orjson.dumps([as_object(stand.run, stand.lack, stand.waits) for stand in stands]))
        return
    if not stands and not others:
        click.echo("no run is unfinished")
    for stand in stands:
        click.echo(f"{stand.run.run_id}  {stand.run.state}  {plain_line(stand.run)}")
        if stand.waits:
            click.echo(f"  waits for {stand.waits}")
    for name in others:
        click.echo(f"{name}  belongs to another version of vidbatch: look at it with that one")


async def _look(url: str, run_id: str | None) -> tuple[list[Stand], list[str]]:
    """The runs asked for, and the names of those that another version keeps."""
    ledger = RedisLedger(url)
    found: list[Stand] = []
    others: list[str] = []
    try:
        for name in [run_id] if run_id else await ledger.active_runs():
            try:
                found.append(await _stand(ledger, name))
            except LedgerMismatch:
                if run_id:
                    raise
                others.append(name)
            except UsageError:  # it was forgotten between two looks
                if run_id:
                    raise
        return found, others
    finally:
        await ledger.close()


async def _stand(ledger: Ledger, run_id: str) -> Stand:
    run, card = await known_run(ledger, run_id)
    lack = await lacking(ledger, card.key_fingerprint, card.media_roots)
    return Stand(run, lack, waits_for(run, lack, card.policy.generation_deadline_s))


def as_object(run: RunSnapshot, lack: str, waits: str) -> dict[str, Any]:
    """A run under way for programs: counts, what it waits for, and what bounds its sending."""
    now = {"ready": run.ready, "submitting": run.submitting, "pending": run.pending, "fed": run.fed, "late": run.late}
    reasons = {"reason": run.reason, "trouble": run.trouble, "account_blocked": run.account_blocked}
    reasons |= {"lacking": lack, "waits_for": waits}
    paced = {"account": run.account, "priority": run.priority, "pace": asdict(run.pace), "limits": asdict(run.limits)}
    rates = {"rpm": run.pace.rate, "poll_rpm": run.pace.poll_rate}
    paced |= {name: None if rate is None else round(60 * rate, 3) for name, rate in rates.items()}
    bound = bound_of(run)
    paced |= {"bound": "" if bound is None else bound.kind, "budget": budget_object(run)}
    return {**summary_of(run), "state": run.state.value, **now, **reasons, **paced}
