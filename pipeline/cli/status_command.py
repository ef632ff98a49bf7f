"""`vidbatch status`."""

import asyncio
from collections import defaultdict
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import click
import orjson

from pipeline.cli import options
from pipeline.cli.ledger_access import known_run, ledger_url
from pipeline.cli.screen import Speedometer
from pipeline.cli.status_table import Stand, hands, table
from pipeline.cli.watching import lacking
from pipeline.core.bounds import bound_of
from pipeline.core.errors import LedgerMismatch, UsageError
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.core.spending import budget_object
from pipeline.core.summary import summary_of
from pipeline.core.waiting import waits_for
from pipeline.edges.redis_keys import LEDGER_VERSION
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.ports import Ledger, WorkerCard

LOOK_S = 1.0
"""Between the two looks that tell how fast runs go."""


@click.command(name="status")
@click.argument("run_id", required=False, metavar="[RUN]")
@options.redis_url
@options.json_output
def command(run_id: str | None, redis_url: str | None, as_json: bool) -> None:
    """Show how runs that are not finished stand, or just RUN: their speed, their share, and what they wait for."""
    with ledger_url(redis_url) as url:
        seen = asyncio.run(_look(url, run_id, twice=not as_json))
    if as_json:
        click.echo(orjson.dumps([_object_of(stand) for stand in seen.stands]))
        return
    if not seen.stands and not seen.others:
        click.echo("no run is unfinished")
    for line in table(seen.stands):
        click.echo(line)
    for name in seen.others:
        click.echo(f"{name}  belongs to another version of vidbatch: look at it with that one")
    if redis_url and not run_id:
        click.echo(hands(seen.workers, LEDGER_VERSION))


@dataclass(slots=True)
class _Seen:
    """What was found: runs, names of those that another version keeps, and workers."""

    stands: list[Stand] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    workers: list[WorkerCard] = field(default_factory=list)


async def _look(url: str, run_id: str | None, *, twice: bool) -> _Seen:
    """Look at the runs asked for; a second time, where some are at work, to see how fast they go."""
    ledger = RedisLedger(url)
    speeds: dict[str, Speedometer] = defaultdict(Speedometer)
    try:
        seen = await _once(ledger, run_id, speeds)
        if twice and any(stand.run.state is RunState.RUNNING for stand in seen.stands):
            await asyncio.sleep(LOOK_S)
            seen = await _once(ledger, run_id, speeds)
        return seen
    finally:
        await ledger.close()


async def _once(ledger: Ledger, run_id: str | None, speeds: dict[str, Speedometer]) -> _Seen:
    seen = _Seen(workers=await ledger.workers())
    for name in [run_id] if run_id else await ledger.active_runs():
        try:
            stand = await _stand(ledger, name)
        except LedgerMismatch:
            if run_id:
                raise
            seen.others.append(name)
        except UsageError:  # it was forgotten between two looks
            if run_id:
                raise
        else:
            again = name in speeds
            speed = speeds[name].add(stand.run.now_ms / 1000, stand.run)
            seen.stands.append(replace(stand, speed=speed, looked_s=LOOK_S) if again else stand)
    return seen


async def _stand(ledger: Ledger, run_id: str) -> Stand:
    run, card = await known_run(ledger, run_id)
    lack = await lacking(ledger, card.key_fingerprint, card.media_roots)
    waits = waits_for(run, lack, card.policy.generation_deadline_s)
    return Stand(run, lack, waits, average=_average(run, card.epoch))


def _average(run: RunSnapshot, epoch: str) -> float | None:
    """Rows a second since the ledger was made, which its epoch tells in µs."""
    begun = epoch.removeprefix("e")
    if not begun.isdecimal() or not run.ended:
        return None
    seconds = run.now_ms / 1000 - int(begun) / 1e6
    return run.ended / seconds if seconds >= LOOK_S else None


def _object_of(stand: Stand) -> dict[str, Any]:
    left = None if stand.left_s is None else round(stand.left_s)
    average = None if stand.average is None else round(stand.average, 3)
    told = {"ended": stand.run.ended, "in_flight": stand.run.in_flight, "average_rows_per_s": average, "left_s": left}
    return {**as_object(stand.run, stand.lack, stand.waits), **told}


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
