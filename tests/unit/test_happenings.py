"""What an operator is told between two looks at the ledger: each thing once, and nothing that did not change."""

from dataclasses import replace

import pytest

from pipeline.core.happenings import PROGRESS_MS, THROTTLED_MS, UNSERVED_MS, Chronicle
from pipeline.core.lifecycle import Outcome
from pipeline.core.log_events import EVENTS
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.core.tickets import Capacity, Role

RUN = RunSnapshot(
    run_id="run-1",
    state=RunState.RUNNING,
    now_ms=1_000_000,
    total=100,
    fed=100,
    ready=40,
    ready_due=40,
    submitting=3,
    pending=7,
    pending_due=0,
    results=0,
    results_bytes=0,
    bodies_bytes=0,
    accepted_unsaved=0,
    lapsed=0,
    accepted=0,
    outcomes={Outcome.COMPLETED: 50},
    cost=1.5,
    account="api#key",
    key_fingerprint="key",
)
HANDS = Capacity(dict.fromkeys(Role, 2), {}, frozenset({"key"}), ((),))


class Log:
    """Looks on, and what each brought."""

    def __init__(self):
        self.chronicle = Chronicle()

    def __call__(self, *runs, hands=HANDS):
        news = self.chronicle(runs, hands)
        assert all(one.event in EVENTS for one in news)
        assert all("event" not in one.fields for one in news)
        return [one.event for one in news]


@pytest.fixture
def log():
    return Log()


def later(run, ms, **changes):
    return replace(run, now_ms=run.now_ms + ms, **changes)


def test_a_run_is_told_of_once(log):
    assert log(RUN) == ["run_seen"]
    assert log(later(RUN, 200)) == []
    assert log(later(RUN, 400), later(RUN, 400, run_id="run-2")) == ["run_opened"]
    assert log(later(RUN, 600, state=RunState.FINISHED)) == []


def test_a_pause_is_told_with_its_reason_and_so_is_its_end(log):
    log(RUN)
    paused = later(RUN, 200, state=RunState.PAUSED, reason="budget: all spent")
    [news] = log.chronicle([paused], HANDS)
    assert (news.event, news.level, news.fields["reason"]) == ("run_paused", "warning", "budget: all spent")
    assert log(later(paused, 200)) == []
    assert log(later(RUN, 600)) == ["run_resumed"]
    assert log(later(RUN, 800, state=RunState.CANCELLING)) == ["run_state"]


def test_a_run_that_is_paused_at_the_first_look_is_told_as_that(log):
    assert log(replace(RUN, state=RunState.PAUSED)) == ["run_seen", "run_paused"]


def test_progress_comes_once_a_minute_with_what_the_run_waits_for(log):
    log(RUN)
    assert log(later(RUN, PROGRESS_MS - 1)) == []
    stands = later(RUN, PROGRESS_MS, outcomes={Outcome.COMPLETED: 80}, led=False)
    [news] = log.chronicle([stands], HANDS)
    assert (news.event, news.fields["rows_per_minute"], news.fields["cost"]) == ("run_progress", 30, 1.5)
    assert "80 of 100 rows have ended; it waits for " in news.message
    assert log(later(stands, 200)) == []
    assert log(later(stands, 2 * PROGRESS_MS, state=RunState.PAUSED)) == ["run_paused"]


def test_a_clock_that_was_put_back_delays_progress_by_a_minute_at_most(log):
    log(RUN)
    back = later(RUN, -10 * PROGRESS_MS)
    assert log(back) == []
    assert log(later(back, PROGRESS_MS)) == ["run_progress"]


def test_an_account_that_is_refused_is_told_once_for_all_of_its_runs(log):
    other = replace(RUN, run_id="run-2")
    log(RUN, other)
    blocked = [later(run, 200, account_blocked="HTTP 401") for run in (RUN, other)]
    assert log(*blocked) == ["account_blocked"]
    assert log(*blocked) == []
    assert log(RUN, other) == ["account_unblocked"]


def test_an_account_that_is_held_back_again_and_again_is_told_every_ten_seconds(log):
    log(RUN)
    told = []
    for turn in range(30):  # each second a new back-off
        now = later(RUN, 1_000 * turn)
        told += log.chronicle([replace(now, account_wait_until_ms=now.now_ms + 500, trouble="HTTP 429")], HANDS)
    assert [news.event for news in told] == ["throttled"] * (30_000 // THROTTLED_MS)
    assert [news.fields["times"] for news in told] == [1, 10, 10]
    assert "waits for 0.5 s: HTTP 429" in told[0].message


def test_one_back_off_is_told_once(log):
    log(RUN)
    held = later(RUN, 200, account_wait_until_ms=RUN.now_ms + 60_000)
    assert log(held) == ["throttled"]
    assert log(later(held, THROTTLED_MS + 200)) == []


def test_a_role_that_nobody_serves_is_told_after_a_while_and_once(log):
    lacking = replace(HANDS, shifts={**HANDS.shifts, Role.WRITE: 0})
    assert log(RUN, hands=lacking) == ["run_seen"]
    assert log(later(RUN, UNSERVED_MS), hands=lacking) == ["role_unserved"]
    assert log(later(RUN, UNSERVED_MS + 200), hands=lacking) == []
    assert log(later(RUN, UNSERVED_MS + 400)) == ["role_served"]


def test_workers_that_are_replaced_within_seconds_are_not_told(log):
    lacking = replace(HANDS, shifts=dict.fromkeys(Role, 0))
    log(RUN, hands=lacking)
    log(later(RUN, UNSERVED_MS // 2))
    assert log(later(RUN, UNSERVED_MS), hands=lacking) == []


@pytest.mark.parametrize(
    ("run", "hands", "told"),
    [
        (RUN, replace(HANDS, keys=frozenset({"other"})), "no worker holds the API key of run-1"),
        (replace(RUN, media_roots=("/videos",)), HANDS, "no worker may read the files of run-1"),
    ],
)
def test_a_run_that_nobody_can_send_is_told_by_its_name(log, run, hands, told):
    log(run, hands=hands)
    [news] = log.chronicle([later(run, UNSERVED_MS)], hands)
    assert news.message.startswith(told)
    assert news.fields == {"run": "run-1"}
