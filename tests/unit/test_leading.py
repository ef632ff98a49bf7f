"""One command leads and others watch: whatever is given meanwhile holds, whoever leads next."""

import asyncio
from dataclasses import replace
from functools import partial
from unittest.mock import MagicMock

import pytest

from pipeline.cli import leading, sending
from pipeline.cli.interrupts import Interrupts
from pipeline.cli.leading import lead, take_lead
from pipeline.cli.operation import Operation, card_of
from pipeline.cli.preparing import Prepared
from pipeline.cli.running import enter_ledger
from pipeline.cli.sharing import Share, pace_unled
from pipeline.cli.watching import Stop, Stopped, Watch, follow, stopped
from pipeline.core.account import Secret
from pipeline.core.budget import Budget, Reservation, Settled
from pipeline.core.late import LateId
from pipeline.core.lead import lead_lock
from pipeline.core.limits import Limits
from pipeline.core.pacing import Pace
from pipeline.core.policy import Policy
from pipeline.core.rows import Rows
from pipeline.core.snapshot import BUDGET_REACHED, PERSON_PAUSED, RunState
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.ports import FedRow, RunCard

ACCOUNT = "api#key"
DESCRIBED = {"base_url": "https://api", "token": "secret", "requests": 500, "models": {}, "prices": {}}
OTHER = "elsewhere-1"
NOTHING_GIVEN = Share()


class Ledger(MemoryLedger):
    async def lock_holder(self, name):
        return self._locks.get(name, (0, ""))[1]


class Screen:
    def __init__(self):
        self.said = []

    def say(self, line):
        self.said.append(line)


class Scene:
    """A run that another command leads, and a command that was given meanwhile."""

    def __init__(self, out, monkeypatch):
        self.now = 1_800_000_000_000
        self.ledger, self.screen = Ledger(lambda: self.now), Screen()
        self.folder = LocalRunFolder(out, "run-1")
        self.folder.path.mkdir(parents=True)
        self.prepared = Prepared(self.folder, DESCRIBED, resumed=True, finished=False)
        self.card = RunCard(
            "run-1",
            ACCOUNT,
            "https://api",
            "key",
            str(out),
            "secret",
            "e1",
            500,
            Policy(first_rows=500),
            detached=False,
        )
        self.watched = []
        monkeypatch.setattr(leading, "follow_run", self._watch)

    async def _watch(self, *_, **__):
        return await self.watched.pop(0)()

    async def open(self, spent_micro=0, **changes):
        card, settled = replace(self.card, **changes), Settled(cost_micro=spent_micro)
        await self.ledger.open_run(card, recover_until=0, ended={}, done=Rows(), settled=settled)
        await self.ledger.feed(card.run_id, 0, 500, [FedRow(i, b"{}") for i in range(500)])
        self.folder.cap(card.budget)
        await self.ledger.lock(lead_lock(card.run_id), OTHER, 1e6)

    async def gone(self):
        """The command that led is gone."""
        await self.ledger.unlock(lead_lock("run-1"), OTHER)
        return Stop(Stopped.ORPHANED, None)

    async def closed(self):
        """Ctrl-C closes the view."""
        return Stop(Stopped.LEFT, None)

    async def cap_by_another(self, budget):
        self.folder.cap(budget)
        await self.ledger.set_budget("run-1", budget)

    async def lead(self, *, share=NOTHING_GIVEN, capped=False):
        operation = Operation(None, 1, Policy(), False, Secret("k"), {}, capped=capped, share=share)
        return await lead(self.prepared, operation, self.ledger, self.screen)

    async def run(self):
        return await self.ledger.snapshot("run-1")

    async def sent(self):
        """Rows that are let go within the fifth of a second in which no heartbeat looks."""
        count = 0
        for _ in range(20):
            count += len((await self.ledger.claim_submit("run-1", "worker", 96)).rows)
            self.now += 10
        return count


@pytest.fixture
def scene(tmp_path, monkeypatch):
    return Scene(tmp_path, monkeypatch)


# Caps


def test_a_cap_that_another_command_gave_outlives_the_lead_of_a_view_that_is_older(scene):
    async def act():
        await scene.open()

        async def capped_and_gone():
            await scene.cap_by_another(Budget(cost=5.0))
            return await scene.gone()

        scene.watched = [capped_and_gone]
        card = await scene.lead()
        await enter_ledger(card, scene.prepared, scene.ledger)
        return (await scene.run()).budget

    assert asyncio.run(act()) == Budget(cost=5.0)


def test_a_view_that_missed_the_lead_leaves_the_cap_alone_that_was_given_meanwhile(scene):
    async def act(*, capped):
        await scene.open(budget=Budget(cost=9.0))

        async def capped_and_led_by_another():
            await scene.cap_by_another(Budget(cost=5.0))
            return Stop(Stopped.ORPHANED, None)

        scene.watched = [capped_and_led_by_another, scene.closed]
        stop = await scene.lead(capped=capped)
        return stop.why, (await scene.run()).budget, scene.screen.said

    assert asyncio.run(act(capped=True)) == (Stopped.LEFT, Budget(cost=5.0), [])


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        (Budget(cost=50.0), "from now on the run has --max-cost 50"),
        (Budget(), "from now on the run has no cap"),
    ],
)
def test_a_cap_that_a_view_was_given_holds_at_once_and_is_said(scene, budget, told):
    async def act():
        await scene.open(budget=Budget(cost=5.0))
        scene.folder.cap(budget)
        scene.watched = [scene.closed]
        await scene.lead(capped=True)
        return (await scene.run()).budget

    assert asyncio.run(act()) == budget
    assert scene.screen.said == [told]


def test_a_view_that_was_given_no_cap_changes_none(scene):
    async def act():
        await scene.open(budget=Budget(cost=5.0))
        scene.folder.cap(Budget())
        scene.watched = [scene.closed]
        await scene.lead()
        return (await scene.run()).budget

    assert (asyncio.run(act()), scene.screen.said) == (Budget(cost=5.0), [])


def test_a_cap_that_came_to_the_disk_while_a_command_entered_the_ledger_holds(scene):
    async def act():
        await scene.open()
        scene.watched = [scene.gone]
        card = await scene.lead()
        scene.folder.cap(Budget(tokens=7))
        card = await enter_ledger(card, scene.prepared, scene.ledger)
        return card.budget, (await scene.run()).budget

    assert asyncio.run(act()) == (Budget(tokens=7), Budget(tokens=7))


SPENT = f"{BUDGET_REACHED}$5.00 of $5.00 is spent, and nothing is left"


@pytest.mark.parametrize(
    ("reason", "cap", "state"),
    [
        (SPENT, 50.0, RunState.RUNNING),
        (SPENT, None, RunState.RUNNING),
        (SPENT, 5.000001, RunState.PAUSED),
        (PERSON_PAUSED, 50.0, RunState.PAUSED),
    ],
    ids=["room", "no cap", "no room", "a person"],
)
def test_a_higher_cap_lifts_the_pause_of_the_budget_while_its_command_still_waits(scene, reason, cap, state):
    async def act():
        await scene.open(5_000_000, budget=Budget(cost=5.0), limits=Limits(max_in_flight=2))
        await scene.ledger.set_reservation("run-1", Reservation(1, 100_000))
        await scene.ledger.note_late("run-1", LateId(0, "task-late", 1, 1))
        await scene.ledger.set_state("run-1", RunState.PAUSED, reason)
        assert stopped(await scene.run()) is None, "the leader waits for the late id"
        scene.folder.cap(Budget(cost=cap))
        scene.watched = [scene.closed]
        await scene.lead(capped=True)
        run = await scene.run()
        return run.state, await scene.sent()

    assert asyncio.run(act()) == (state, 2 if state is RunState.RUNNING else 0)


def test_a_view_that_gets_the_lead_of_a_run_which_has_just_ended_does_not_begin_it_again(scene):
    async def act():
        await scene.open()

        async def done():
            scene.folder.finish({"outcomes": {}})
            stop = await scene.gone()
            await scene.ledger.forget("run-1")
            return stop

        scene.watched = [done]
        stop = await scene.lead()
        return stop, await scene.ledger.lock(lead_lock("run-1"), OTHER, 1.0)

    assert asyncio.run(act()) == (Stop(Stopped.FINISHED, None), True)


# Limits


def test_limits_that_are_left_out_are_said_by_who_leads_and_not_by_a_view(scene):
    async def act():
        await scene.open(limits=Limits(rpm=60.0))
        scene.watched = [scene.closed]
        await scene.lead()
        assert scene.screen.said == []
        await scene.gone()
        card = await scene.lead()
        return card.limits, scene.screen.said

    told = "limits that are not given again are found from here on; the run had 60 POSTs a minute"
    assert asyncio.run(act()) == (Limits(), [told])


def test_a_view_that_comes_to_lead_keeps_what_others_gave_and_what_it_left_out(scene):
    async def act():
        await scene.open(limits=Limits(rpm=60.0, max_in_flight=9), priority=30)

        async def slower_and_gone():
            await scene.ledger.set_limits("run-1", Limits(rpm=6.0, max_in_flight=9))
            return await scene.gone()

        scene.watched = [slower_and_gone]
        card = await scene.lead(share=Share(Limits(rpm=600.0, tpm=1e6)))
        await enter_ledger(card, scene.prepared, scene.ledger)
        return await scene.run()

    run = asyncio.run(act())
    assert (run.limits, run.priority) == (Limits(rpm=6.0, tpm=1e6, max_in_flight=9), 30)
    assert scene.screen.said == []


@pytest.mark.parametrize("by", ["its command", "a view"])
def test_a_given_limit_holds_from_the_moment_in_which_a_run_is_led_again(scene, by):
    async def act():
        await scene.open(limits=Limits(max_in_flight=2))
        await scene.gone()
        await scene.ledger.set_pace(ACCOUNT, b"", Pace(rate=1_000.0))  # what others of the account may
        if by == "a view":
            await follow(view(scene), scene.ledger, Still())
        else:
            assert await take_lead("run-1", scene.ledger)
        return await scene.sent()

    assert asyncio.run(act()) == 2


class Still:
    def monotonic(self):
        return 0.0


def view(scene):
    """Another view of the run."""

    def nothing(*_):
        return None

    before = partial(pace_unled, scene.ledger, "run-1")
    return Watch("run-1", "key", "here-1", nothing, nothing, nothing, Interrupts(), leads=False, before_lead=before)


def test_to_ask_for_a_lead_that_another_has_changes_no_pace(scene):
    async def act():
        await scene.open(limits=Limits(rpm=60.0))
        before = (await scene.run()).pace
        assert not await take_lead("run-1", scene.ledger)
        return before == (await scene.run()).pace

    assert asyncio.run(act())


# Repairs


def told(scene, monkeypatch, repairs):
    """How often the run asks again after a command that gave `repairs`, or nothing."""
    carried = []
    given = dict.fromkeys(("max_cost", "max_total_tokens", "redis_url", "by"))
    given |= {"yes": True, "workers": 1, "poll": "adaptive", "poll_cost": 1.0, "on_unknown": "hold", "detach": False}
    given |= {"media_root": (), "inline_limit": 0, "upload": False, "preflight": False, "max_duration": None}
    monkeypatch.setattr(sending, "api_key", lambda *_: Secret("k"))
    monkeypatch.setattr(sending, "share_of", lambda _: NOTHING_GIVEN)
    monkeypatch.setattr(sending, "carry_out", lambda _, operation, *__: carried.append(operation))
    monkeypatch.setattr(sending, "end", lambda *_, **__: 0)
    sending.send(scene.prepared, None, MagicMock(), {**given, "repairs": repairs}, as_json=False)
    return carried[0].policy.repairs


def test_a_run_keeps_its_repairs_until_others_are_given(scene, monkeypatch):
    assert [told(scene, monkeypatch, repairs) for repairs in (None, 2, None, 0, None)] == [0, 2, 2, 0, 0]


def test_a_command_without_a_policy_judges_and_repairs_as_the_run_does_though_its_ledger_is_lost(scene):
    scene.folder.repair(2)
    prepared = replace(scene.prepared, described={**DESCRIBED, "answer_schema": {"type": "object"}})
    operation = Operation(None, 1, None, False, Secret("k"), {})
    assert card_of(prepared, operation).policy.repairs == 2
    plain = replace(operation, policy=Policy())
    assert card_of(prepared, plain).answers == {"answer_schema": {"type": "object"}}
