"""The API breaks while generations are asked for: polls are refused, lost, flooded or senseless, or never say the end.

A poll costs nothing, so none of it may cost a POST, but where the API itself ends a generation badly.
"""

import asyncio
from contextlib import suppress
from functools import partial

from pipeline.core.lifecycle import Outcome
from pipeline.faultlab import processes
from pipeline.faultlab.demands import (
    expired_where_endless,
    failed_after_attempts,
    failed_at_once,
    in_doubt,
    some_expired,
)
from pipeline.faultlab.fault import Family, Fault
from pipeline.faultlab.stage import Stage
from pipeline.faultlab.strikes import begin, settled, started_with, strike
from pipeline.faultlab.verdict import Rules, ambiguous_answers

OFTEN = 20
PATIENCE_S = 5.0
"""Above the 2 s or 3 s that a generation takes here."""

MEMORY_EVERY_S = 0.02
MOST_GROWTH = 200_000_000
"""Seven answers of 32 MB, the most that is read of one, pass it; without a bound on all of them dozens are held."""

FLOODS = 8
FAILING_S = 10.0
"""Long enough for a row to fail three times, with the waits between."""

RETRYABLE = ("timeout", "model_unavailable", "server_error", "generation_failed")
FINAL = ("content_policy_violation", "invalid_param")


async def _polls(stage: Stage, kind: str, rate: float) -> None:
    await begin(stage)
    await strike(stage, {f"{kind}_rate": rate}, kind, times=OFTEN, lasts_s=2.0)


async def _missing_everywhere(stage: Stage) -> None:
    """An outage, or another account's key: the run pauses before it takes a generation for gone and pays again."""
    await begin(stage)
    await strike(stage, {"query_missing_rate": 1.0}, "query_missing", ends=True)


async def _flood(stage: Stage) -> None:
    """No process may hold what it is flooded with."""
    await begin(stage)
    watch = asyncio.create_task(_watch_memory(stage))
    try:
        await strike(stage, {"flood_rate": 0.5, "submit_flood_rate": 1.0}, "flood", "submit_flood", times=FLOODS)
        await settled(stage)
    finally:
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch


async def _watch_memory(stage: Stage) -> None:
    """Complain of a process of the worker that grows by what it was sent."""
    first: dict[int, int] = {}
    most: dict[int, int] = {}
    try:
        while True:
            for pid, size in processes.memory_of(stage.crew()).items():
                first.setdefault(pid, size)
                most[pid] = max(size, most.get(pid, 0))
            await asyncio.sleep(MEMORY_EVERY_S)
    finally:
        grown = max((most[pid] - first[pid] for pid in most), default=0)
        if grown > MOST_GROWTH:
            stage.complaints.append(f"a process grew by {grown / 1e6:.0f} MB under floods of 60 MB")


async def _failing(stage: Stage, codes: tuple[str, ...], rate: float) -> None:
    await begin(stage)
    await strike(stage, {"fail_rate": rate, "fail_codes": list(codes)}, "failed", times=OFTEN, lasts_s=FAILING_S)


async def _endless(stage: Stage, switch: str) -> None:
    """The run gives such generations up by itself; a shorter patience stands in for the hour."""
    stage.program = started_with(generation_deadline_s=PATIENCE_S)
    await begin(stage)
    await strike(stage, {switch: 0.5}, "posts_accepted", times=OFTEN)


_POLLS_ONLY = (
    ("polls-reset", "query_cut", 0.3, "polls are reset in the middle of the answer"),
    ("polls-fail", "query_error", 0.5, "polls are answered with server errors"),
    ("missing-now-and-then", "query_missing", 0.2, "one poll in five is answered 404, which is not true"),
    ("null-results", "null_results", 0.5, "generations are completed with null results, for now"),
    ("unknown-status", "unknown_status", 0.5, "polls are answered with a status that nobody knows"),
)
"""Name, switch, share, meaning."""

FAULTS = (
    *(
        Fault(name, Family.API, meaning, partial(_polls, kind=kind, rate=rate))
        for name, kind, rate, meaning in _POLLS_ONLY
    ),
    Fault("missing-everywhere", Family.API, "every poll is answered 404: the run pauses", _missing_everywhere),
    Fault(
        "flood",
        Family.API,
        "POSTs and polls are answered with 60 MB",
        _flood,
        Rules(ambiguous_answers, frozenset({Outcome.COMPLETED, Outcome.UNKNOWN}), demand=in_doubt),
    ),
    Fault(
        "failing",
        Family.API,
        "generations fail in a way that may pass: each is asked for three times",
        partial(_failing, codes=RETRYABLE, rate=0.5),
        Rules(
            outcomes=frozenset({Outcome.COMPLETED, Outcome.FAILED}), resends_pending=True, demand=failed_after_attempts
        ),
    ),
    Fault(
        "failing-for-good",
        Family.API,
        "generations fail for good: none is asked for again",
        partial(_failing, codes=FINAL, rate=0.3),
        Rules(outcomes=frozenset({Outcome.COMPLETED, Outcome.FAILED}), demand=failed_at_once),
    ),
    Fault(
        "stuck",
        Family.API,
        "generations never end: their rows expire, and keep the id",
        partial(_endless, switch="stuck_rate"),
        Rules(outcomes=frozenset({Outcome.COMPLETED, Outcome.EXPIRED}), demand=expired_where_endless),
    ),
    Fault(
        "results-lost",
        Family.API,
        "generations are completed and never have results: their rows expire, and keep the id",
        partial(_endless, switch="lost_results_rate"),
        Rules(outcomes=frozenset({Outcome.COMPLETED, Outcome.EXPIRED}), demand=some_expired),
    ),
)
