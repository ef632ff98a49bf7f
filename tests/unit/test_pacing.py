"""The finder: what it makes of refusals, what it never exceeds, and how it goes on where another ended."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.finding import FLOOR
from pipeline.core.limits import Limits
from pipeline.core.pacing import POLL_START, ROW_TOKENS, START, AccountSeen, LaneSeen, Pace, found_now
from pipeline.core.spells import marked, rate_over

STEP_MS = 200
WAIT_MS = 1_200
BEGAN_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
NONE = Limits()


class Api:
    """An API, and rows without end that the finder paces: requests flow evenly, and all answers come at once."""

    def __init__(
        self, rate=math.inf, burst=math.inf, most=math.inf, lasts_s=0.0, limits=NONE, demand=True, wait_ms=WAIT_MS
    ):
        self.rate, self.burst, self.most, self.lasts_s = rate, burst, most, lasts_s
        self.limits, self.demand, self.wait_ms = limits, demand, wait_ms
        self.seen = AccountSeen(now_ms=BEGAN_MS)
        self.level, self.credit, self.until_ms = burst, 0.0, 0
        self.open, self.refused, self.accepted = [], 0, 0
        self.pace = Pace()
        self.step()

    @property
    def seconds(self):
        return (self.seen.now_ms - BEGAN_MS) / 1000

    def step(self):
        """Let the finder look once."""
        found, self.pace = found_now(self.seen, self.limits, None)
        self.seen = replace(self.seen, found=found)

    def passes(self, seconds):
        """So many seconds of requests; those accepted meanwhile."""
        before = self.accepted
        for _ in range(round(seconds * 1000 / STEP_MS)):
            self.seen = replace(self.seen, now_ms=self.seen.now_ms + STEP_MS)
            self.level = min(self.burst, self.level + self.rate * STEP_MS / 1000)
            self.open = [end for end in self.open if end > self.seen.now_ms]
            if self.demand and self.seen.now_ms >= self.until_ms:
                self._send()
            self.seen = replace(self.seen, in_flight=len(self.open))
            self.step()
        return self.accepted - before

    def _send(self):
        self.credit += self.pace.rate * STEP_MS / 1000
        sent = 0
        while self.credit >= 1 and (self.pace.cap is None or len(self.open) < self.pace.cap):
            self.credit -= 1
            sent += 1
            if not self._asked():
                return
        if not sent and self.pace.tests and len(self.open) >= (self.pace.cap or 0):
            self.test()
        full = self.pace.cap is not None and len(self.open) >= self.pace.cap
        self.credit = min(self.credit, 1.0)
        if not full:
            self.seen = replace(self.seen, posts=replace(self.seen.posts, bound=self.seen.posts.bound + 1))

    def _asked(self):
        if self.level < 1 or len(self.open) >= self.most:
            self.refuse()
            return False
        self.level -= 1
        self.accept()
        return True

    def accept(self, count=1):
        self.accepted += count
        if self.lasts_s:
            self.open += [self.seen.now_ms + self.lasts_s * 1000] * count
        self.seen = replace(self.seen, posts=replace(self.seen.posts, answered=self.seen.posts.answered + count))

    def refuse(self, in_flight=None, wait_ms=None):
        """One congestion event."""
        wait_ms = self.wait_ms if wait_ms is None else wait_ms
        self.refused += 1
        self.credit, self.until_ms = 0.0, self.seen.now_ms + wait_ms
        posts = self.seen.posts
        posts = replace(
            posts,
            events=posts.events + 1,
            event_at_ms=self.seen.now_ms,
            event_answered=posts.answered,
            event_wait_ms=wait_ms,
        )
        self.seen = replace(self.seen, posts=posts, event_in_flight=len(self.open) if in_flight is None else in_flight)

    def test(self):
        """A tester goes, and is answered."""
        pending = len(self.open)
        how = "accepted" if self._asked() else "refused"
        self.seen = replace(self.seen, tests=self.seen.tests + 1, tested=how, tested_in_flight=pending)


def full_at(limit, rate=math.inf):
    """An account whose limit in flight was just met, at a high rate."""
    api = Api(rate=rate, burst=1e9, most=limit, lasts_s=10.0)
    while not api.refused:
        api.passes(0.2)
    return api


# While nothing was refused


def test_an_unlimited_api_is_asked_more_than_1500_times_a_second_within_5_seconds():
    api = Api()
    api.passes(5)
    assert api.pace.rate > 1500
    assert api.pace.why == "starting"


def test_time_without_demand_raises_nothing():
    api = Api(demand=False)
    api.passes(600)
    assert api.pace.rate == START
    assert api.pace.poll_rate == POLL_START


def test_the_rate_waits_for_slow_answers():
    api = Api()
    for _ in range(50):
        posts = replace(api.seen.posts, bound=api.seen.posts.bound + 1)
        api.seen = replace(api.seen, now_ms=api.seen.now_ms + STEP_MS, posts=posts)
        api.step()
    assert api.pace.rate == START


# After a refusal


def test_the_first_refusal_leaves_at_least_almost_half_of_the_rate():
    api = Api()
    api.passes(3)
    before = api.pace.rate
    api.refuse()
    api.step()
    assert before / 2 * 0.97 <= api.pace.rate < before
    assert api.pace.why == "searching"


def test_many_refusals_of_one_event_cut_the_rate_once():
    api = Api()
    api.passes(3)
    api.refuse()
    api.step()
    cut = api.pace.rate
    for _ in range(5):
        api.step()
    assert api.pace.rate == cut


@pytest.mark.parametrize(("rate", "burst"), [(1, 10), (1, 60), (10, 10), (10, 60), (100, 60)])
def test_an_unknown_limit_is_found_within_a_minute_and_used_from_then_on(rate, burst):
    api = Api(rate=rate, burst=burst)
    api.passes(50)
    assert api.passes(10) >= 0.9 * rate * 10 - 1
    before, asked = api.refused, api.accepted
    assert api.passes(300) >= 0.95 * rate * 300
    assert (api.refused - before) / (api.accepted - asked) <= 0.015


@pytest.mark.parametrize(("rate", "burst"), [(10, 5), (50, 25), (100, 50)])
def test_a_bucket_that_overflows_while_a_back_off_lasts_is_used_all_the_same(rate, burst):
    api = Api(rate=rate, burst=burst, wait_ms=2_000)
    api.passes(60)
    before, asked = api.refused, api.accepted
    assert api.passes(300) >= 0.95 * rate * 300
    assert (api.refused - before) / (api.accepted - asked) <= 0.005


@pytest.mark.parametrize("burst", [10, 200])
def test_a_refusal_after_a_long_probe_moves_the_rate_by_little(burst):
    api = Api(rate=10, burst=burst)
    api.passes(400)
    known = api.pace.rate
    refused = api.refused
    while api.refused == refused:
        api.passes(0.2)
        assert api.seconds < 2_000
    api.passes(30)
    assert api.pace.rate == pytest.approx(known, rel=0.15)


@pytest.mark.parametrize("rate", [10, 100])
def test_a_limit_that_halves_is_found_within_30_seconds(rate):
    api = Api(rate=rate, burst=rate)
    api.passes(300)
    api.rate = rate / 2
    api.passes(20)
    assert api.passes(10) >= 0.9 * rate / 2 * 10


def test_a_limit_that_doubles_is_found_within_minutes():
    api = Api(rate=10, burst=10)
    api.passes(300)
    api.rate = 20
    api.passes(400)
    assert api.passes(60) >= 0.9 * 20 * 60


def test_a_limit_that_was_lifted_is_left_behind():
    api = Api(rate=10, burst=10)
    api.passes(120)
    api.rate = api.burst = math.inf
    while api.pace.rate <= 100:
        api.passes(1)
        assert api.seconds < 600


def test_an_unchanged_limit_is_probed_ever_more_rarely():
    api = Api(rate=10, burst=10)
    api.passes(300)
    first = api.refused
    api.passes(300)
    assert api.refused - first <= first / 2


def test_after_ten_idle_minutes_the_limit_is_probed_at_once():
    api = Api(rate=10, burst=10)
    api.passes(300)
    api.rate, api.demand = 20, False
    api.passes(601)
    api.demand = True
    api.passes(60)
    assert api.pace.rate > 15


def test_a_long_back_off_does_not_count_as_time_in_which_little_was_accepted():
    api = Api(rate=10, burst=10)
    api.passes(300)
    api.refuse(wait_ms=60_000)
    api.passes(70)
    api.refuse()
    api.step()
    assert api.pace.rate > 5


def test_refusals_with_nothing_accepted_between_are_one_long_refusal():
    api = Api(rate=10, burst=10)
    api.passes(300)
    before = api.pace.rate
    for _ in range(3):
        api.refuse()
        api.passes(WAIT_MS / 1000 - 0.2)
    assert api.pace.rate >= before / 8
    api.passes(30)
    assert api.passes(30) >= 0.8 * 10 * 30


def test_refusals_without_end_leave_a_floor():
    api = Api(rate=0, burst=0)
    api.passes(600)
    assert FLOOR <= api.pace.rate < 0.2


# What was given


def test_a_given_rate_is_kept_exactly_from_the_first_moment():
    api = Api(limits=Limits(rpm=600, poll_rpm=1200))
    assert (api.pace.rate, api.pace.poll_rate, api.pace.why) == (10, 20, "given")
    api.passes(60)
    assert (api.pace.rate, api.pace.why) == (10, "given")


def test_one_refusal_at_a_given_rate_costs_little_for_seconds_only():
    api = Api(limits=Limits(rpm=600))
    api.passes(60)
    api.refuse()
    api.step()
    assert 9 <= api.pace.rate < 10
    api.passes(15)
    assert api.pace.rate == 10


def test_a_limit_below_the_given_one_is_found():
    api = Api(rate=5, burst=10, limits=Limits(rpm=600))
    api.passes(60)
    assert api.pace.rate == pytest.approx(5, rel=0.15)
    assert api.pace.why == "found"


def test_tokens_a_minute_bound_the_rate_by_what_a_row_costs():
    seen = AccountSeen(now_ms=BEGAN_MS)
    limits = Limits(rpm=600, tpm=60_000)
    assert found_now(seen, limits, 1000.0)[1].rate == 1
    assert found_now(seen, limits, 1000.0)[1].why == "tokens"
    assert found_now(seen, limits, None)[1].rate == pytest.approx(1000 / ROW_TOKENS)
    assert found_now(seen, limits, 10.0)[1].why == "given"


def test_a_changed_limit_counts_at_the_next_step():
    api = Api(limits=Limits(rpm=600))
    api.passes(10)
    api.limits = Limits(rpm=60, max_in_flight=7)
    api.step()
    assert (api.pace.rate, api.pace.most) == (1, 7)


def test_polls_are_paced_by_their_own_refusals():
    api = Api()
    polls = LaneSeen(answered=500, bound=9, events=1, event_at_ms=BEGAN_MS + 5000, event_answered=500)
    api.seen = replace(api.seen, now_ms=BEGAN_MS + 5000, polls=polls)
    api.step()
    assert api.pace.poll_rate < POLL_START
    assert (api.pace.rate, api.pace.cap) == (START, None)


# In flight


def test_a_refused_tester_proves_a_limit_in_flight_and_gives_the_rate_back():
    api = full_at(50)
    before = api.pace.rate
    api.step()
    assert (api.pace.cap, api.pace.tests) == (50, True)
    api.passes(3)
    assert (api.pace.cap, api.pace.tests) == (50, False)
    assert api.pace.rate >= before
    api.passes(30)
    assert api.passes(60) >= 0.95 * 5 * 60


def test_an_accepted_tester_clears_the_number_in_flight_and_the_cut_rate_stands():
    api = Api(lasts_s=10.0)
    api.passes(3)
    before = api.pace.rate
    api.refuse()
    api.passes(WAIT_MS / 1000 + 1)
    assert api.pace.cap is None
    assert api.pace.rate < before


def test_a_suspicion_that_does_not_bind_is_dropped():
    api = Api(lasts_s=10.0)
    api.passes(3)
    api.refuse(in_flight=10_000)
    api.demand = False
    api.step()
    assert api.pace.cap == 10_000
    api.passes(10)
    assert api.pace.cap is None


def test_a_refusal_with_nothing_in_flight_suspects_no_limit_in_flight():
    api = Api()
    api.refuse()
    api.step()
    assert api.pace.cap is None


def test_a_proven_limit_is_probed_above_and_a_higher_one_is_found():
    api = full_at(50)
    api.passes(60)
    api.most = 100
    api.passes(300)
    assert api.passes(60) >= 0.9 * 10 * 60


def test_probing_an_unchanged_limit_in_flight_costs_few_refusals():
    api = full_at(50)
    accepted = api.passes(300)
    assert api.refused / accepted <= 0.01
    assert api.pace.cap == 50


def test_a_limit_in_flight_that_halves_is_found_within_30_seconds():
    api = full_at(50)
    api.passes(60)
    api.most = 25
    api.passes(20)
    assert api.passes(10) >= 0.9 * 2.5 * 10
    assert api.pace.cap == pytest.approx(25, abs=2)


def test_a_refusal_well_below_a_proven_limit_is_about_the_rate():
    api = full_at(50)
    api.passes(30)
    before = api.pace.rate
    api.accept(5)
    api.refuse(in_flight=20)
    api.step()
    assert api.pace.rate < before
    assert api.pace.cap != 50


def test_a_given_limit_in_flight_is_told_apart_from_a_found_one():
    api = full_at(50)
    api.limits = Limits(max_in_flight=80)
    api.step()
    assert (api.pace.cap, api.pace.most) == (50, 80)


# Memory


@pytest.mark.parametrize("found", [b"", b"{", b"null", b"[]", b"[1,[],[],[],null,0,0]", b'[2,"a",[],[],null,0,0]'])
def test_a_memory_that_cannot_be_read_begins_gently(found):
    seen = AccountSeen(now_ms=BEGAN_MS, posts=LaneSeen(answered=99, events=7), tests=3, found=found)
    assert found_now(seen, NONE, None)[1] == Pace(START, POLL_START, why="starting", poll_why="starting")


def test_counters_that_began_anew_begin_a_new_search():
    api = Api(rate=10, burst=10)
    api.passes(60)
    api.seen = replace(api.seen, posts=LaneSeen(), polls=LaneSeen())
    api.step()
    assert api.pace.rate == START


def test_the_memory_stays_small():
    api = Api(rate=100, burst=100, lasts_s=1.0)
    api.passes(300)
    assert len(api.seen.found) < 2_000


def put_back(api, ms):
    """The clock, and what the ledger tells of the past."""
    events = [replace(lane, event_at_ms=lane.event_at_ms - ms) for lane in (api.seen.posts, api.seen.polls)]
    api.seen = replace(api.seen, now_ms=api.seen.now_ms - ms, posts=events[0], polls=events[1])
    api.until_ms -= ms


@pytest.mark.parametrize("back_s", [5, 300, 3_600])
@pytest.mark.parametrize(("rate", "burst"), [(2, 2), (10, 10), (100, 20)])
def test_a_clock_that_goes_back_harms_nothing(rate, burst, back_s):
    steady, api = Api(rate, burst), Api(rate, burst)
    for one in (steady, api):
        one.passes(60)
    before = api.pace.rate
    put_back(api, back_s * 1000)
    api.step()
    assert api.pace.rate == pytest.approx(before, rel=0.01)
    for one in (steady, api):
        one.passes(120)
    assert api.accepted == pytest.approx(steady.accepted, rel=0.01)
    assert api.refused == pytest.approx(steady.refused, abs=3)


def test_marks_that_lie_ahead_are_dropped():
    """A memory that nobody put back: what was seen before would leave no place for what is seen now."""
    marks = ()
    for second in range(40):
        marks = marked(marks, BEGAN_MS + 1_000 * second, 2 * second)
    for step in range(1, 150):
        marks = marked(marks, BEGAN_MS - HOUR_MS + 200 * step, 80 + step)
    now_ms = BEGAN_MS - HOUR_MS + 200 * 149
    assert all(now_ms - 31_000 < at_ms <= now_ms for at_ms, _ in marks)
    assert rate_over(marks, now_ms, 80 + 149, 5.0, 20) == pytest.approx(5.0)


COUNTS = st.integers(0, 50)
MOVES = st.tuples(
    st.sampled_from([0, 1, 200, 1000, 700_000, -5000]),  # ms since the last look
    *(COUNTS, st.integers(0, 2), st.booleans()),  # posts: answered, bound, an event
    *(COUNTS, st.integers(0, 2), st.booleans()),  # polls
    *(COUNTS, st.booleans(), st.sampled_from(["accepted", "refused"])),  # in flight, a tester, how it came back
    st.integers(0, 100_000),  # the wait of an event
)
RATES = st.none() | st.floats(0.01, 1e7)
LIMITS = st.builds(Limits, rpm=RATES, poll_rpm=RATES, tpm=RATES, max_in_flight=st.none() | st.integers(1, 1000))


def lane(was, now_ms, answered, bound, event, wait_ms):
    was = replace(was, answered=was.answered + answered, bound=was.bound + bound)
    if not event:
        return was
    events = was.events + 1
    return replace(was, events=events, event_at_ms=now_ms, event_answered=was.answered, event_wait_ms=wait_ms)


@settings(deadline=None, max_examples=60)  # a busy machine takes its time
@given(st.lists(MOVES, max_size=30), LIMITS, st.none() | st.floats(0, 1e6))
def test_whatever_comes_the_pace_is_within_what_was_given(moves, limits, tokens):
    seen = AccountSeen(now_ms=BEGAN_MS)
    most = limits.rpm / 60 if limits.rpm is not None else math.inf
    for passed, answered, bound, event, polled, poll_bound, poll_event, in_flight, tester, how, wait_ms in moves:
        now_ms = seen.now_ms + passed
        seen = replace(
            seen,
            now_ms=now_ms,
            posts=lane(seen.posts, now_ms, answered, bound, event, wait_ms),
            polls=lane(seen.polls, now_ms, polled, poll_bound, poll_event, wait_ms),
            in_flight=in_flight,
            event_in_flight=in_flight if event else seen.event_in_flight,
            tests=seen.tests + tester,
            tested=how if tester else seen.tested,
            tested_in_flight=in_flight if tester else seen.tested_in_flight,
        )
        found, pace = found_now(seen, limits, tokens)
        assert (found, pace) == found_now(seen, limits, tokens)
        assert 0 < pace.rate <= most
        assert 0 < pace.poll_rate <= (math.inf if limits.poll_rpm is None else limits.poll_rpm / 60)
        assert math.isfinite(pace.rate + pace.poll_rate)
        assert pace.cap is None or pace.cap >= 1
        assert pace.most == limits.max_in_flight
        assert len(found) < 2_000
        seen = replace(seen, found=found)
