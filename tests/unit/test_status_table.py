"""All runs at a glance: each row of the table, what is told of an account, and what nobody knows."""

from dataclasses import replace

import pytest

from pipeline.cli.screen import Speed
from pipeline.cli.status_table import Stand, hands, table
from pipeline.core.lifecycle import Outcome
from pipeline.core.pacing import Pace
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.ports import WorkerCard

RUN = RunSnapshot(
    run_id="20261128-020000-0a1b2c",
    state=RunState.RUNNING,
    now_ms=1_000_000,
    total=10_000,
    fed=10_000,
    ready=8_700,
    ready_due=8_700,
    submitting=10,
    pending=80,
    pending_due=0,
    results=0,
    results_bytes=0,
    bodies_bytes=0,
    accepted_unsaved=0,
    lapsed=0,
    accepted=0,
    outcomes={Outcome.COMPLETED: 1_200},
    prompt_tokens=1_200_000,
    completion_tokens=34_000,
    cost=1.5,
    account="api#key",
    pace=Pace(rate=10.0, why="found"),
)
OTHER = replace(RUN, run_id="20261128-030000-ffffff", pending=20, priority=30)
GOES = Stand(RUN, "", "", Speed(10.0, 600.0, 800.0), 1.0, 4.0)


def test_a_run_at_work_is_told_in_one_row():
    [account, heading, row] = table([GOES])
    assert account == "account api#key: 90 in flight, 800 POSTs a minute now, rate found: 600 a minute"
    assert " ".join(heading.split()) == "RUN STATE PRIORITY ROWS ROWS/S LEFT IN FLIGHT POSTS/MIN TOKENS COST"
    figures = ["running", "10", "1,200/10,000", "12%", "10.0", "15", "min", "90", "100%", "600", "1.2M", "$1.50"]
    assert row.split() == [RUN.run_id, *figures]


def test_runs_of_an_account_tell_their_share_and_each_what_it_waits_for():
    waits = Stand(OTHER, "", "its turn among other runs of the account")
    lines = list(table([GOES, waits]))
    assert len(lines) == 5
    assert "120 in flight" in lines[0]
    assert "75%" in lines[2]
    assert "25%" in lines[3]
    assert lines[4] == "    waits for its turn among other runs of the account"


def test_each_account_has_a_heading_of_its_own():
    lines = list(table([GOES, Stand(replace(OTHER, account="b#key"), "", "")]))
    begin = [line.partition(":")[0] for line in lines if line.startswith("account")]
    assert begin == ["account api#key", "account b#key"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"account_blocked": "HTTP 401"}, "refused: HTTP 401"),
        ({"account_wait_until_ms": 1_030_000}, "held back for 30 s more"),
    ],
)
def test_what_holds_an_account_up_is_told(change, told):
    assert told in next(table([Stand(replace(RUN, **change), "", "")]))


def test_few_ends_within_a_look_tell_no_speed():
    few = replace(GOES, speed=Speed(9.0), looked_s=1.0)
    assert (few.rows_per_s, GOES.rows_per_s) == (4.0, 10.0)
    assert replace(few, average=None).rows_per_s is None
    assert replace(few, average=None).left_s is None


@pytest.mark.parametrize("change", [{"state": RunState.PAUSED}, {"led": False}, {"account_blocked": "HTTP 402"}])
def test_a_run_that_stands_still_has_no_end_in_sight(change):
    assert replace(GOES, run=replace(RUN, **change)).left_s is None


def test_a_run_of_which_nothing_is_known_yet_is_shown():
    empty = replace(RUN, total=0, outcomes={}, prompt_tokens=0, completion_tokens=0, cost=0.0, submitting=0, pending=0)
    [_, _, row] = table([Stand(empty, "", "")])
    assert row.split() == [RUN.run_id, "running", "10", "0/0", "-", "-", "0", "-", "0", "-"]


def test_who_is_at_work_is_told_by_role():
    worker = WorkerCard("w", ("submit", "poll"), 1, (), 4)
    assert hands([worker, WorkerCard("x", (), 0, (), 3)], 4) == (
        "workers: 1, of which 1 for submit, 1 for poll, 0 for write, 0 for control; 1 of another version"
    )
    assert hands([], 4) == "workers: none"
    assert hands([worker], 5) == "workers: 1, all of another version"
