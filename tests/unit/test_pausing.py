"""Pausing and resuming as a person asks for it: what would change nothing says why."""

import asyncio
from dataclasses import replace

import pytest

from pipeline.cli.collect_command import collecting
from pipeline.cli.ledger_access import known_run
from pipeline.cli.pause_command import not_paused, pause
from pipeline.cli.resume_command import not_resumed
from pipeline.core.errors import UsageError
from pipeline.core.limits import Limits
from pipeline.core.policy import Policy
from pipeline.core.rows import Rows
from pipeline.core.snapshot import PERSON_PAUSED, RunState
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.ports import RunCard

CARD = RunCard("run-1", "api#key", "https://api", "key", "out", "secret", "e1", 3, Policy())


@pytest.fixture
def ledger():
    made = MemoryLedger(lambda: 1_000_000)
    asyncio.run(made.open_run(CARD, recover_until=0, ended={}, done=Rows()))
    return made


@pytest.fixture
def run(ledger):
    return asyncio.run(ledger.snapshot("run-1"))


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (RunState.RUNNING, None),
        (RunState.PAUSED, "is paused already: too many"),
        (RunState.STOPPING, "its command was interrupted"),
        (RunState.CANCELLING, "it is cancelling"),
        (RunState.ABANDONING, "it is abandoning"),
        (RunState.FINISHED, "is finished; there is nothing to pause"),
    ],
)
def test_only_a_run_at_work_is_paused(run, state, told):
    said = not_paused(replace(run, state=state, reason="too many"))
    assert (said is None) == (told is None)
    assert (told or "") in (said or "")


def test_a_run_at_work_is_paused_by_a_person(ledger):
    assert asyncio.run(pause(ledger, "run-1")).startswith("run run-1 is paused; 0 rows that were sent are collected")
    run = asyncio.run(ledger.snapshot("run-1"))
    assert (run.state, run.reason) == (RunState.PAUSED, PERSON_PAUSED)


def test_who_pauses_a_run_is_told_for_whom_its_limits_hold_no_more(ledger):
    async def act():
        free = replace(CARD, run_id="run-3", account="own", detached=True)
        limited = replace(free, run_id="run-2", limits=Limits(rpm=60.0))
        await ledger.open_run(limited, recover_until=0, ended={}, done=Rows())
        alone = await pause(ledger, "run-2")
        await ledger.reopen(limited)
        await ledger.open_run(free, recover_until=0, ended={}, done=Rows())
        return alone, await pause(ledger, "run-2"), await pause(ledger, "run-3")

    alone, beside, without = asyncio.run(act())
    told = "its limits, 60 POSTs a minute, do not hold for run-3 while it is paused: `vidbatch limits own`"
    assert told in beside
    assert not any("its limits" in said for said in (alone, without))


@pytest.mark.parametrize(
    ("meanwhile", "reason", "told"),
    [
        (RunState.STOPPING, "", "its command was interrupted"),
        (RunState.PAUSED, "too many", "is paused already: too many"),
        (RunState.FINISHED, "", "is finished; there is nothing to pause"),
    ],
)
def test_a_run_that_is_stopped_while_it_is_looked_at_is_not_paused_but_told(ledger, meanwhile, reason, told):
    class Overtaken:
        """Somebody else changes the run between the look at it and the pause."""

        snapshot, card = ledger.snapshot, ledger.card

        async def set_state(self, run_id, state, why, *, only_from):
            await ledger.set_state(run_id, meanwhile, reason)
            return await ledger.set_state(run_id, state, why, only_from=only_from)

    assert told in asyncio.run(pause(Overtaken(), "run-1"))
    run = asyncio.run(ledger.snapshot("run-1"))
    assert (run.state, run.reason) == (meanwhile, reason)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"state": RunState.PAUSED}, None),
        ({"account_blocked": "no balance"}, None),
        ({"led": False}, None),
        ({}, "is not paused"),
        ({"state": RunState.STOPPING}, "give that command again once it ended"),
        ({"state": RunState.CANCELLING}, "is cancelling, and is not resumed"),
        ({"state": RunState.ABANDONING}, "is abandoning, and is not resumed"),
        ({"state": RunState.FINISHED}, "is finished; there is nothing to resume"),
    ],
)
def test_only_a_run_that_stands_still_is_resumed(run, changes, told):
    said = not_resumed(replace(run, **{"led": True, **changes}))
    assert (said is None) == (told is None)
    assert (told or "") in (said or "")


def test_a_resumed_run_keeps_its_policy_and_key(ledger):
    async def act():
        await ledger.set_state("run-1", RunState.PAUSED, PERSON_PAUSED)
        _, card = await known_run(ledger, "run-1")
        await ledger.reopen(card)
        return await known_run(ledger, "run-1")

    run, card = asyncio.run(act())
    assert (run.state, run.reason, card) == (RunState.RUNNING, "", CARD)


def test_an_unknown_run_is_refused_with_those_that_there_are(ledger):
    with pytest.raises(UsageError, match="knows no run run-2; it knows run-1"):
        asyncio.run(known_run(ledger, "run-2"))


def test_a_collection_never_sends_a_row_again():
    policy = collecting("fixed:1s", 90.0)
    assert (policy.on_unknown, policy.max_attempts, policy.generation_deadline_s) == ("hold", 1, 90.0)
