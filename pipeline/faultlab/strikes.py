"""Breaking the simulated API in mid-run: its switches are turned, and its own counts tell whether that struck.

A fault that met no request shows nothing, so each strike is counted, and one that did not happen is a complaint.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from pipeline.faultlab.demands import ENOUGH
from pipeline.faultlab.stage import LOOK_S, Stage

STRIKES_WITHIN_S = 40.0
SETTLED_WITHIN_S = 110.0
"""Silence is borne for 60 s; twice that on a busy machine."""

PAUSED = 4
AFTER_BACKOFFS_S = 45.0
"""To recover from several strikes one after another: the back-off has doubled each time, and alone takes up to 24 s."""


async def begin(stage: Stage) -> None:
    """Bring the run to its middle, and note how it stands as the fault begins."""
    await stage.mid_run()
    stage.struck(await stage.moment())


@asynccontextmanager
async def switched(stage: Stage, switches: Mapping[str, object]) -> AsyncIterator[None]:
    """The API with these switches turned; afterwards they are as before."""
    before = await stage.books.switches()
    await stage.books.switch(**switches)
    try:
        yield
    finally:
        await stage.books.switch(**{name: before[name] for name in switches})


async def strike(
    stage: Stage,
    switches: Mapping[str, object],
    *counted: str,
    times: int = ENOUGH,
    lasts_s: float = 0.0,
    ends: bool = False,
) -> None:
    """Turn switches until the API has counted so many strikes of each kind, and for `lasts_s` at least, then back.

    Kinds are the API's names of faults, or `POST 402` and `GET 404` for its answers by status; without any, something
    else is broken meanwhile. With `ends` the fault pauses the run: its command must end, and say so, while the API is
    still broken.
    """
    before, since = await tally(stage), time.monotonic()
    hit: set[int] = set()
    async with switched(stage, switches):
        while stage.running and time.monotonic() - since < STRIKES_WITHIN_S:
            hit |= await _on_the_wire_or_back(stage)
            if time.monotonic() - since >= lasts_s and not await _missing(stage, before, counted, times):
                break
            await asyncio.sleep(LOOK_S)
        if ends and (code := await stage.ended()) != PAUSED:
            stage.complaints.append(f"the command ended with {code} where the run had to pause with {PAUSED}")
        for kind, count in (await _missing(stage, before, counted, times)).items():
            stage.complaints.append(f"did not strike: {kind} {count} times, of {times}")
    await _note_hit(stage, hit)


async def _on_the_wire_or_back(stage: Stage) -> frozenset[int]:
    folder = stage.run_folder
    back = await stage.ledger.held_back(folder.run_id) if folder else frozenset()
    return back | await stage.rows("submitting")


async def _note_hit(stage: Stage, rows: Iterable[int]) -> None:
    """From now on the run recovers: it is over the fault once these rows are on their way again, and others ended."""
    run = await stage.look()
    if stage.moments and run is not None:
        began = stage.moments[-1]
        stage.moments[-1] = replace(began, submitting=began.submitting.union(rows), fed=run.fed, ended=run.ended)


async def settled(stage: Stage) -> None:
    """Wait until every POST that is on the wire now has its answer or is given up: only then the fault is over."""
    now = await stage.rows("submitting")

    async def gone() -> bool:
        return not now & await stage.rows("submitting")

    await stage.until(gone, "POSTs on the wire are answered or given up", SETTLED_WITHIN_S)


async def tally(stage: Stage) -> Counter[str]:
    """How often the API did what: its faults by name, its answers by method and status, and ends of generations."""
    summary = await stage.books.summary()
    answers = {f"POST {status}": count for status, count in summary["post_answers"].items()}
    queries = {f"GET {status}": count for status, count in summary["query_answers"].items()}
    ends = {name: summary[name] for name in ("posts_accepted", "completed", "failed")}
    return Counter({**summary["faults"], **answers, **queries, **ends})


async def _missing(stage: Stage, before: Counter[str], counted: Iterable[str], times: int) -> dict[str, int]:
    now: Counter[str] = await tally(stage)
    return {kind: now[kind] - before[kind] for kind in counted if now[kind] - before[kind] < times}


def started_with(**policy: Any) -> tuple[str, ...]:  # noqa: ANN401 - bounds of `core.policy`
    """The command with other bounds, which are no option of it: real ones outlast any patience with the lab."""
    return (
        "-c",
        f"""
import functools
from pipeline.cli import main, sending
from pipeline.core.policy import Policy
sending.Policy = functools.partial(Policy, **{policy!r})
main.run()
""",
    )
