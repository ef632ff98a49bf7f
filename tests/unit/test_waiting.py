"""What a run waits for: one honest sentence in every state, and silence only when it is finished."""

from dataclasses import replace
from itertools import product

import pytest

from pipeline.core.budget import Budget
from pipeline.core.lifecycle import Outcome
from pipeline.core.pacing import Pace
from pipeline.core.snapshot import BUDGET_REACHED, PERSON_PAUSED, RESULTS_BYTES, RunSnapshot, RunState
from pipeline.core.waiting import duration, waits_for

QUIET = RunSnapshot(
    run_id="run-1",
    state=RunState.RUNNING,
    now_ms=10_000,
    total=10,
    fed=10,
    ready=0,
    ready_due=0,
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
)
PACE = Pace(rate=9.72, cap=50, why="found")
LACK = "no worker is running: start some with `vidbatch worker`"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "the dataset to be published"),
        ({"fed": 4}, "6 rows to be fed"),
        ({"ready": 3, "ready_due": 3}, "3 rows to be sent"),
        ({"ready": 3}, "3 rows that may not be sent yet"),
        ({"submitting": 1}, "the answers to 1 POST"),
        ({"pending": 2}, "nothing but 2 generations still running; each is given up after 1 h of asking"),
        ({"pending": 1, "trouble": "HTTP 500: x"}, "the API's last trouble: HTTP 500: x"),
        ({"late": 1}, "1 late id to be asked for"),
        ({"results": 5}, "5 results to be written"),
        ({"accepted_unsaved": 2}, "2 accepted ids to be saved"),
        ({"ready": 2, "ready_due": 2, "pending": 1}, "2 rows to be sent, 1 generation still running"),
        ({"ready": 2, "led": False}, "a command that leads it, to send 2 rows"),
        ({"ready": 2, "account_wait_until_ms": 52_000}, "the account's back-off, 42 s more"),
        ({"ready": 2, "results": 9, "results_bytes": RESULTS_BYTES}, "the writer: 9 results must be on disk"),
        ({"ready": 2, "bound": "rate", "pace": PACE}, "the account's rate limit (found: 583 a minute)"),
        ({"ready": 2, "bound": "in flight", "pace": PACE, "pending": 1}, "a generation to end: 50 are in flight"),
        ({"ready": 2, "bound": "budget", "pending": 1}, "the budget; meanwhile: 2 rows that may not be sent yet"),
        ({"ready": 2, "bound": "turn"}, "its turn among other runs of the account"),
        ({"ready": 2, "account_blocked": "no money"}, "a balance, then the run's command again: no money"),
        ({"ready": 2, "account_blocked": "no", "account_polls": False}, "a key that the API accepts"),
        (
            {"state": RunState.PAUSED, "reason": PERSON_PAUSED, "ready": 1},
            "a person, who paused it; vidbatch resume run-1 goes on",
        ),
        ({"state": RunState.PAUSED, "reason": PERSON_PAUSED, "pending": 1}, "meanwhile: nothing but 1 generation"),
        ({"state": RunState.PAUSED, "reason": "4 like ends", "ready": 1}, "a person, since it is paused: 4 like ends"),
        (
            {"state": RunState.PAUSED, "reason": f"{BUDGET_REACHED}$5 are spent", "budget": Budget(5.0), "ready": 1},
            "a person: budget: $5 are spent; its command with a higher --max-cost goes on",
        ),
        (
            {"pending": 50, "pending_due": 45, "pace": Pace(poll_rate=20.0, poll_why="found")},
            "45 generations to be polled (polls found: 1,200 a minute), 5 generations still running",
        ),
        (
            {"pending": 50, "pending_due": 40, "pace": Pace(poll_rate=20.0, poll_why="found")},
            "nothing but 50 generations still running",
        ),
        ({"state": RunState.STOPPING, "pending": 3}, "what was sent, since its command was interrupted"),
        ({"state": RunState.STOPPING, "ready": 3}, "its command, which was interrupted"),
        ({"state": RunState.CANCELLING, "pending": 3}, "what was sent, since it is being cancelled"),
        ({"state": RunState.ABANDONING, "pending": 3}, "its rows to be ended"),
    ],
)
def test_each_wait_is_named(changes, told):
    assert told in waits_for(replace(QUIET, **changes), "", 3600.0)


def test_a_lack_of_workers_is_named_before_what_they_would_do():
    assert waits_for(replace(QUIET, ready=3, ready_due=3), LACK).startswith(LACK)
    assert waits_for(QUIET, LACK) == LACK


def test_a_person_is_named_before_a_lack_of_workers():
    paused = replace(QUIET, state=RunState.PAUSED, reason=PERSON_PAUSED, ready=1)
    assert waits_for(paused, LACK).startswith("a person, who paused it")


def test_polls_that_are_held_are_not_told_as_going_on():
    held = replace(QUIET, state=RunState.PAUSED, reason="not found", pending=2, polls_held=True)
    assert "meanwhile" not in waits_for(held, "")


def test_a_finished_run_waits_for_nothing():
    assert waits_for(replace(QUIET, state=RunState.FINISHED), LACK) == ""


def test_no_run_waits_without_saying_for_what():
    counts = ("fed", "ready", "ready_due", "submitting", "pending", "late", "results", "accepted_unsaved")
    states = [state for state in RunState if state is not RunState.FINISHED]
    for state, led, blocked, *values in product(states, (True, False), ("", "no"), *[(0, 3)] * len(counts)):
        changes = dict(zip(counts, values, strict=True))
        changes["ready_due"] = min(changes["ready_due"], changes["ready"])
        run = replace(QUIET, state=state, led=led, account_blocked=blocked, total=3, **changes)
        told = waits_for(run, "")
        assert told, run
        assert not told.endswith((" ", ":", ";", ",")), told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.2, "1 s"), (119.4, "119 s"), (120, "2 min"), (600, "10 min"), (3600, "1 h"), (5400, "1 h 30 min")],
)
def test_a_duration_reads_well(seconds, told):
    assert duration(seconds) == told
