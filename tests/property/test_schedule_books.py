"""Whatever is done to a schedule's book, in any order: one run is at work, and each time is told once."""

from collections import Counter
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.core import launches
from pipeline.core.firings import MOST_MISSED, MOST_QUEUED, added, by_hand, fired, paused, resumed
from pipeline.core.holds import Held, Hold
from pipeline.core.notices import over
from pipeline.core.schedule_times import times_between
from pipeline.core.schedules import FiringState, Missed, Overlap, Schedule

BEGIN = 1_774_440_000_000  # three days before clocks are put forward in Berlin
AT_WORK = {FiringState.LAUNCHING, FiringState.RUNNING}
WORKERS = st.sampled_from(["w1", "w2"])


class Book(RuleBasedStateMachine):
    @initialize(
        cron=st.sampled_from(["30 2 * * *", "*/20 * * * *", "0 */5 * * *"]),
        overlap=st.sampled_from(Overlap),
        missed=st.sampled_from(Missed),
    )
    def begin(self, cron, overlap, missed):
        schedule = Schedule("s", cron, "Europe/Berlin", (), "/", overlap, missed, notify="https://h.example")
        self.now = self.looked = BEGIN
        self.book = added(schedule, self.now)
        self.over, self.by_hand, self.expected, self.runs = {}, 0, [], 0

    def keep(self, after):
        """What whoever changes a book does: it is put, and what is over goes to the history."""
        if after is None or after is self.book:
            return
        assert after.revision > self.book.revision
        self.book, ended = over(after)
        for firing in ended:
            before = self.over.get(firing.firing_id)
            assert before is None or before.state is firing.state, "what is over stays as it ended"
            self.over[firing.firing_id] = firing

    def expect(self):
        """All times until now, unless they fell into a pause."""
        if not self.book.schedule.paused:
            times = list(times_between(self.book.schedule.cron, "Europe/Berlin", self.looked, self.now))
            self.expected += times[-MOST_MISSED - 1 :]  # one line tells of those before them
        self.looked = self.now

    def open(self, state):
        return next((one for one in self.book.firings if one.state is state), None)

    @rule(ms=st.sampled_from([1, 1000, 20_000, 59_000, 61_000, 600_000, 3_600_000, 30_000_000, 90_000_000]))
    def time_passes(self, ms):
        self.now += ms

    @rule()
    def the_heartbeat_looks(self):
        self.expect()
        self.keep(fired(self.book, self.now))

    @rule()
    def a_person_fires_it(self):
        self.now += 10  # nobody types two commands in the same ms
        self.by_hand += 1
        self.keep(by_hand(self.book, self.now))

    @precondition(lambda self: not self.book.schedule.paused)
    @rule()
    def a_person_pauses_it(self):
        self.expect()
        self.keep(paused(self.book, self.now))

    @precondition(lambda self: self.book.schedule.paused)
    @rule()
    def a_person_resumes_it(self):
        self.looked = self.now
        self.keep(resumed(self.book, self.now))

    @rule(worker=WORKERS)
    def a_worker_claims(self, worker):
        firing = launches.claimable(self.book, self.now)
        if firing is not None:
            self.keep(launches.claimed(self.book, firing.firing_id, worker, self.now))

    @precondition(lambda self: self.open(FiringState.LAUNCHING))
    @rule(worker=WORKERS, how=st.sampled_from(["renewed", "released", "failed", "ended", "handed over"]))
    def a_launch_goes_on(self, worker, how):
        which = self.open(FiringState.LAUNCHING).firing_id
        match how:
            case "renewed":
                self.keep(launches.renewed(self.book, which, worker, self.now))
            case "released":
                self.keep(launches.released(self.book, which, worker, self.now))
            case "failed":
                self.keep(launches.failed(self.book, which, worker, "no", self.now))
            case "ended":
                self.keep(launches.ended(self.book, which, 2, "no", self.now, holder=worker))
            case _:
                self.runs += 1
                self.keep(launches.handed_over(self.book, which, worker, f"run-{self.runs}", "/", self.now))

    @precondition(lambda self: self.open(FiringState.RUNNING))
    @rule(how=st.sampled_from(["held", "on", "lost", "ended"]))
    def a_run_goes_on(self, how):
        which = self.open(FiringState.RUNNING).firing_id
        match how:
            case "held":
                self.keep(launches.seen(self.book, which, Hold(Held.PAUSED, "a guard"), self.now))
            case "on":
                self.keep(launches.seen(self.book, which, None, self.now))
            case "lost":
                self.keep(launches.lost(self.book, which, self.now))
            case _:
                self.keep(launches.ended(self.book, which, 0, "", self.now))

    @rule()
    def all_messages_arrive(self):
        firings = [
            replace(one, notices=tuple(replace(notice, delivered_ms=self.now) for notice in one.notices))
            for one in self.book.firings
        ]
        self.keep(self.book.revised(firings=tuple(firings)))

    @invariant()
    def one_is_at_work(self):
        if not hasattr(self, "book"):
            return
        states = Counter(one.state for one in self.book.firings)
        assert states[FiringState.LAUNCHING] + states[FiringState.RUNNING] + states[FiringState.DUE] <= 1
        assert states[FiringState.QUEUED] <= MOST_QUEUED
        if states[FiringState.QUEUED]:
            assert states[FiringState.LAUNCHING] + states[FiringState.RUNNING] + states[FiringState.DUE] == 1

    @invariant()
    def each_time_is_told_once(self):
        if not hasattr(self, "book"):
            return
        told = {one.firing_id: one for one in self.book.firings if one.is_open}
        assert not told.keys() & self.over.keys()
        told |= self.over
        times = [one.at_ms for one in told.values() if "." not in one.firing_id]
        assert sorted(times) == self.expected
        assert len(told) - len(times) == self.by_hand


Book.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestAnyOrder = Book.TestCase
