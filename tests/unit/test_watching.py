"""Following a run: why it stops, what is said meanwhile, and what Ctrl-C asks for."""

import asyncio
from dataclasses import replace

import pytest

from pipeline.cli.interrupts import Interrupts
from pipeline.cli.watching import AWAY_S, LONELY_S, Stopped, Watch, follow, lacking, lead_lock, stopped
from pipeline.core.errors import LedgerUnavailable
from pipeline.core.lifecycle import Outcome
from pipeline.core.policy import Policy
from pipeline.core.rows import Rows
from pipeline.core.snapshot import BUDGET_REACHED, PERSON_PAUSED, RunSnapshot, RunState
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.edges.redis_keys import LEDGER_VERSION
from pipeline.ports import FedRow, RunCard, WorkerCard

RUN = RunSnapshot(
    run_id="run-1",
    state=RunState.RUNNING,
    now_ms=1_000,
    total=10,
    fed=10,
    ready=4,
    ready_due=4,
    submitting=0,
    pending=0,
    pending_due=0,
    results=0,
    results_bytes=0,
    bodies_bytes=0,
    accepted_unsaved=0,
    lapsed=0,
    accepted=0,
    outcomes={**dict.fromkeys(Outcome, 0), Outcome.COMPLETED: 6},
)
CARD = RunCard("run-1", "api#key", "https://api", "key", "out", "secret", "e1", 3, Policy())


def why(**changes):
    stop = stopped(replace(RUN, **changes))
    return stop and stop.why


def test_a_run_at_work_is_waited_for():
    assert why() is None


def test_a_finished_run_is_over():
    assert why(state=RunState.FINISHED) is Stopped.FINISHED


def test_a_paused_run_is_left_once_what_it_asked_is_collected_and_written():
    assert why(state=RunState.PAUSED, pending=1) is None
    assert why(state=RunState.PAUSED, results=1) is None
    assert why(state=RunState.PAUSED) is Stopped.PAUSED


def test_a_run_that_its_budget_stopped_is_left_once_what_it_asked_is_collected_and_written():
    reached = {"state": RunState.PAUSED, "reason": f"{BUDGET_REACHED}nothing is left"}
    assert why(**reached, pending=1) is None
    assert why(**reached, results=1) is None
    assert why(**reached) is Stopped.BUDGET


def test_a_disk_that_refused_is_left_at_once():
    stop = stopped(replace(RUN, state=RunState.PAUSED, reason="storage: no space left", results=5))
    assert stop is not None
    assert (stop.why, stop.reason) == (Stopped.STORAGE, "no space left")


def test_an_empty_balance_is_left_when_what_is_pending_was_collected():
    assert why(account_blocked="insufficient_quota", pending=2) is None
    assert why(account_blocked="insufficient_quota") is Stopped.PAUSED


def test_a_refused_key_is_left_though_generations_are_pending_since_nobody_can_ask_for_them():
    assert why(account_blocked="authentication_error", account_polls=False, pending=2) is Stopped.PAUSED
    assert why(account_blocked="authentication_error", account_polls=False, submitting=1) is None


def test_a_run_that_is_being_cancelled_needs_no_balance_but_a_key_for_what_is_pending():
    cancelling = {"state": RunState.CANCELLING, "account_blocked": "no"}
    assert why(**cancelling) is None
    assert why(**cancelling, account_polls=False) is None
    assert why(**cancelling, account_polls=False, pending=1) is Stopped.PAUSED


def test_a_run_that_a_person_paused_is_waited_for_until_that_person_resumes_it():
    paused = {"state": RunState.PAUSED, "reason": PERSON_PAUSED}
    assert why(**paused) is None
    assert why(**paused, trouble_since_ms=1, now_ms=10**9, pending=1) is None


def test_a_run_that_is_being_abandoned_needs_neither_balance_nor_key():
    assert why(state=RunState.ABANDONING, account_blocked="no", account_polls=False, pending=1) is None


def test_an_interrupted_run_is_left_when_quiet_unless_all_have_ended():
    assert why(state=RunState.STOPPING, pending=1) is None
    assert why(state=RunState.STOPPING) is Stopped.INTERRUPTED
    assert why(state=RunState.STOPPING, ready=0) is None


class Clock:
    """Time that passes by sleeping; deeds are done at their seconds."""

    def __init__(self):
        self.now = 0.0
        self.deeds = []

    def monotonic(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds
        while self.deeds and self.deeds[0][0] <= self.now:
            await self.deeds.pop(0)[1]()
        await asyncio.sleep(0)


class Scene:
    """A ledger with one run of three rows, and someone who follows it."""

    def __init__(self):
        self.clock = Clock()
        self.ledger = MemoryLedger(lambda: round(self.clock.now * 1000) + 1_000_000)
        self.interrupts = Interrupts()
        self.said = []
        self.news = []
        self.looks = []

    def watch(self, *, leads=True, holder="here-1"):
        each, news = (lambda: None), (lambda _run: self.news.pop() if self.news else None)
        return Watch("run-1", "key", holder, self.looks.append, self.said.append, each, self.interrupts, leads, news)

    async def open(self):
        await self.ledger.open_run(CARD, recover_until=0, ended={}, done=Rows())
        await self.ledger.feed("run-1", 0, 3, [FedRow(i, b"{}") for i in range(3)])

    def run(self, script, *, leads=True, there=True):
        """Follow the run while `script` changes things at the seconds that it names."""

        async def act():
            if there:
                await self.open()
            self.clock.deeds = script
            return await asyncio.wait_for(follow(self.watch(leads=leads), self.ledger, self.clock), 20)

        return asyncio.run(act())

    async def finish(self):
        await self.ledger.set_state("run-1", RunState.FINISHED)

    async def interrupt(self):
        self.interrupts()


def test_one_interrupt_stops_sending_and_waits_a_second_one_leaves():
    scene = Scene()

    async def again():
        assert (await scene.ledger.snapshot("run-1")).state is RunState.STOPPING
        scene.interrupts()

    async def claimed():
        await scene.ledger.claim_submit("run-1", "worker", 1)

    stop = scene.run([(0.5, claimed), (1, scene.interrupt), (3, again)])
    assert stop.why is Stopped.INTERRUPTED
    assert stop.reason
    assert [line for line in scene.said if "(1 in flight; Ctrl-C again" in line]


def test_news_of_a_run_are_said_once():
    scene = Scene()
    scene.news = ["by 06:00: every row is done"]
    scene.run([(1, scene.finish)])
    assert scene.said == ["by 06:00: every row is done"]


def test_an_interrupt_of_a_quiet_run_leaves_when_the_ledger_has_stopped():
    scene = Scene()
    stop = scene.run([(1, scene.interrupt)])
    assert (stop.why, stop.reason) == (Stopped.INTERRUPTED, "")


def test_an_interrupt_leaves_a_run_that_a_person_paused():
    scene = Scene()

    async def pause():
        await scene.ledger.set_state("run-1", RunState.PAUSED, PERSON_PAUSED)

    stop = scene.run([(1, pause), (5, scene.interrupt)])
    assert (stop.why, stop.run.state) == (Stopped.INTERRUPTED, RunState.STOPPING)
    assert scene.clock.now > 5


def test_a_second_view_changes_nothing_and_leaves_at_an_interrupt():
    scene = Scene()

    async def lead():
        await scene.ledger.lock(lead_lock("run-1"), "here-0", 1000)

    scene.interrupts()
    asyncio.run(lead())
    stop = scene.run([], leads=False)
    assert stop.why is Stopped.LEFT


def test_a_second_view_takes_over_when_the_first_command_is_gone():
    scene = Scene()
    assert scene.run([], leads=False).why is Stopped.ORPHANED


def test_a_view_waits_for_the_ledger_that_the_command_which_leads_is_about_to_make():
    scene, looks = Scene(), []

    async def make():
        looks.append(len(scene.looks))
        await scene.open()

    async def forget():
        await scene.ledger.forget("run-1")

    asyncio.run(scene.ledger.lock(lead_lock("run-1"), "another", 1000))
    stop = scene.run([(5, make), (6, forget)], leads=False, there=False)
    assert (stop.why, stop.run, looks) == (Stopped.FINISHED, None, [0])
    asyncio.run(scene.ledger.unlock(lead_lock("run-1"), "another"))
    assert scene.run([], leads=False, there=False).why is Stopped.ORPHANED


def test_a_view_of_a_run_that_is_not_there_yet_is_closed_by_an_interrupt():
    scene = Scene()
    asyncio.run(scene.ledger.lock(lead_lock("run-1"), "another", 1000))
    scene.interrupts()
    assert scene.run([], leads=False, there=False).why is Stopped.LEFT


def test_a_view_that_never_takes_over_goes_on_though_nobody_leads_and_takes_no_lead():
    scene = Scene()
    locks = []

    async def look():
        locks.append(await scene.ledger.lock(lead_lock("run-1"), "another", 1))

    watch = scene.watch
    scene.watch = lambda **given: replace(watch(**given), takes_over=False)
    stop = scene.run([(5, look), (6, scene.finish)], leads=False)
    assert (stop.why, stop.run.state) == (Stopped.FINISHED, RunState.FINISHED)
    assert locks == [True]


def test_a_run_that_nobody_serves_says_so_after_a_while():
    scene = Scene()
    stop = scene.run([(LONELY_S + 2, scene.finish)])
    assert stop.why is Stopped.FINISHED
    assert [line for line in scene.said if "no worker is running" in line] == scene.said


def worker(*roles, keys=("key",), version=LEDGER_VERSION):
    return WorkerCard("-".join(roles), roles, 1, keys, version)


@pytest.mark.parametrize(
    ("cards", "told"),
    [
        ([], "no worker is running"),
        ([worker("submit", "poll")], "no worker serves write, control"),
        ([worker("submit", "poll", keys=()), worker("write", "control")], "no worker holds this run's API key"),
        ([worker("submit", "poll"), worker("write", "control", keys=())], ""),
        ([worker("submit", "poll", version=LEDGER_VERSION - 1)], "the living workers are of another version"),
        ([worker("write", "control"), worker("submit", "poll", version=0)], "no worker serves submit, poll"),
    ],
)
def test_what_the_workers_lack_is_said_in_one_sentence(cards, told):
    async def act():
        ledger = MemoryLedger(lambda: 0)
        for card in cards:
            await ledger.register_worker(card)
        return await lacking(ledger, "key")

    said = asyncio.run(act())
    assert said.startswith(told)
    assert bool(said) == bool(told)


def test_a_run_whose_files_nobody_may_read_says_which_folders_are_needed():
    async def act(*roots):
        ledger = MemoryLedger(lambda: 0)
        await ledger.register_worker(replace(worker("submit", "poll", "write", "control"), media_roots=roots))
        return await lacking(ledger, "key", ("/films",))

    assert "--media-root /films" in asyncio.run(act("/more"))
    assert asyncio.run(act("/more", "/films")) == ""


def test_redis_away_for_long_is_given_up():
    scene = Scene()

    async def away(*_, **__):
        raise LedgerUnavailable("gone")

    async def break_off():
        scene.ledger.lock = scene.ledger.snapshot = away

    with pytest.raises(LedgerUnavailable, match="120 s"):
        scene.run([(1, break_off)])
    assert scene.clock.now > AWAY_S
