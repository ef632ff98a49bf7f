"""When a run stops and asks a person."""

from dataclasses import replace

import pytest

from pipeline.core.guards import pause_due
from pipeline.core.lifecycle import Outcome
from pipeline.core.policy import Policy
from pipeline.core.snapshot import RunSnapshot, RunState

NOW = 1_800_000_000_000
POLICY = Policy(useless_for_s=600, doubtful_for_s=60)
TROUBLED = RunSnapshot(
    run_id="run-1",
    state=RunState.RUNNING,
    now_ms=NOW,
    total=1,
    fed=1,
    ready=1,
    ready_due=1,
    submitting=0,
    pending=0,
    pending_due=0,
    results=0,
    results_bytes=0,
    bodies_bytes=0,
    accepted_unsaved=0,
    lapsed=0,
    accepted=0,
    outcomes=dict.fromkeys(Outcome, 0),
    trouble="connect_failed: no route",
    trouble_since_ms=NOW - 600_000,
)


def test_an_api_that_was_of_no_use_for_long_pauses_the_run_and_says_why():
    reason = pause_due(TROUBLED, POLICY)
    assert reason is not None
    assert "600 s" in reason
    assert "connect_failed: no route" in reason


def test_a_shorter_trouble_is_waited_out():
    assert pause_due(replace(TROUBLED, trouble_since_ms=NOW - 599_999), POLICY) is None


def test_answers_that_may_each_have_been_billed_are_borne_for_a_shorter_time():
    doubtful = replace(TROUBLED, trouble_since_ms=NOW - 60_000, doubt_since_ms=NOW - 60_000)
    assert "60 s" in (pause_due(doubtful, POLICY) or "")
    assert pause_due(replace(doubtful, doubt_since_ms=NOW - 59_999), POLICY) is None


def test_by_default_a_throttled_night_is_waited_out_for_two_hours_and_doubtful_answers_for_ten_minutes():
    assert (Policy().useless_for_s, Policy().doubtful_for_s) == (7200, 600)


def test_a_run_that_has_sent_all_it_had_is_not_paused_but_waits_for_its_answers():
    assert pause_due(replace(TROUBLED, ready=0, ready_due=0, pending=1), POLICY) is None


def test_what_nobody_watched_was_no_patience():
    assert pause_due(TROUBLED, POLICY, watched_s=599.0) is None


def test_without_trouble_nothing_pauses():
    assert pause_due(replace(TROUBLED, trouble="", trouble_since_ms=0), POLICY) is None


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.STOPPING, RunState.FINISHED])
def test_only_a_running_run_is_paused(state):
    assert pause_due(replace(TROUBLED, state=state), POLICY) is None
