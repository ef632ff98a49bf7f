"""What a person sees, in words: counts, rate, and what a run waits for."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from pipeline.cli.picture import picture
from pipeline.cli.screen import Rate, Screen, Speed, Speedometer, left, plain_line
from pipeline.core.budget import Budget, Reservation, Spending
from pipeline.core.lifecycle import Outcome
from pipeline.core.pacing import Pace
from pipeline.core.snapshot import PERSON_PAUSED, RunSnapshot, RunState

RUN = RunSnapshot(
    run_id="run-1",
    state=RunState.RUNNING,
    now_ms=1_000,
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
    outcomes={**dict.fromkeys(Outcome, 0), Outcome.COMPLETED: 49, Outcome.FAILED: 1},
    prompt_tokens=12_000,
    completion_tokens=345,
    cost=1.5,
)


def test_a_line_counts_what_ended_and_what_is_in_flight():
    line = plain_line(RUN, Speed(2.0))
    for told in ("50/100 rows", "49 completed, 1 failed", "10 in flight", "2.0 rows/s", "12,345 tokens", "$1.50"):
        assert told in line
    assert line.endswith("about 0 min 25 s left")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"trouble": "connect_failed: refused"}, "waiting: connect_failed: refused"),
        ({"account_blocked": "no balance"}, "the account is refused: no balance"),
        ({"state": RunState.PAUSED, "reason": "too many"}, "paused: too many"),
        ({"ready": 0, "ready_due": 0, "submitting": 0}, "waiting for nothing but 7 generations still running"),
        ({"state": RunState.PAUSED, "reason": PERSON_PAUSED}, "paused by a person; vidbatch resume run-1 goes on"),
        ({"state": RunState.CANCELLING, "trouble": "x: y"}, "cancelling · waiting: x: y"),
    ],
)
def test_a_line_ends_with_what_the_run_waits_for(changes, told):
    assert plain_line(replace(RUN, **changes), Speed(1.0)).endswith(told)


def drawn(run, speed):
    """The lines of the picture."""
    file = io.StringIO()
    Console(width=120, file=file).print(picture(run, speed))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_the_picture_has_every_line_of_its_own():
    lines = drawn(replace(RUN, trouble="connect_failed: refused"), Speed(2.0))
    assert len(lines) == 5
    assert lines[1].startswith("50 of 100 rows · 2.0 rows/s")
    assert lines[2].split()[:4] == ["unsent", "submitting", "pending", "completed"]
    assert lines[3].split()[:4] == ["40", "3", "7", "49"]
    assert lines[4] == "waiting: connect_failed: refused"


def test_the_rate_is_that_of_the_last_seconds():
    rate = Rate()
    assert rate.add(0.0, 0) == 0.0
    assert rate.add(10.0, 100) == 10.0
    assert rate.add(30.0, 100) == 0.0


def test_a_line_says_how_fast_rows_are_sent_and_what_bounds_that():
    paced = replace(RUN, bound="rate", pace=Pace(rate=9.72, why="found"))
    line = plain_line(paced, Speed(2.0, 580.4, 581.0))
    assert line.endswith("left · 580 POSTs a minute, bound by the account's rate limit (found: 583 a minute)")
    assert "POSTs a minute" not in plain_line(paced), "one look tells no speed"
    assert "rows/s" not in plain_line(paced)


def test_the_picture_has_a_line_for_sending_only_while_there_is_something_to_send():
    speed = Speed(2.0, 120.0, 240.0)
    sent = {"ready": 0, "submitting": 0, "pending": 0}
    assert drawn(replace(RUN, bound="first rows"), speed)[4] == (
        "sending: 120 POSTs a minute (240 of the account), bound by the first rows, which go alone"
    )
    assert len(drawn(replace(RUN, **sent), speed)) == 4


def test_the_speed_is_told_of_the_run_and_of_its_account():
    speedometer = Speedometer()
    assert speedometer.add(0.0, replace(RUN, accepted=10, account_answered=100)) == Speed()
    later = replace(RUN, accepted=30, account_answered=160, outcomes={**RUN.outcomes, Outcome.COMPLETED: 69})
    assert speedometer.add(10.0, later) == Speed(2.0, 120.0, 360.0)


def test_a_ledger_that_is_made_anew_does_not_count_backwards():
    rate = Rate()
    rate.add(0.0, 500)
    assert rate.add(1.0, 3) == 0.0
    assert rate.add(2.0, 5) == 2.0


def test_the_cost_is_told_of_what_is_expected_and_of_what_is_allowed():
    assert "$1.50 of about $3.00" in plain_line(RUN)
    spending = Spending(cost_micro=1_500_000, kept_cost_micro=250_000, reserved=Reservation(1, 500_000))
    told = plain_line(replace(RUN, budget=Budget(2.5, 90_000), spending=spending))
    assert "$3.00, at most $2.50 ($0.2500 of it kept for rows in doubt), at most 90,000 tokens" in told
    assert "345 tokens · unknown" in plain_line(replace(RUN, cost=0.0))


def test_a_run_that_nobody_leads_says_what_it_waits_for():
    assert "waiting for a command that leads it" in plain_line(replace(RUN, led=False))


def test_the_time_left_is_told_where_it_is_known():
    assert left(RUN, 0.0) == "time left unknown"
    assert left(RUN, 0.001) == "about 13 h 53 min left"
    assert left(replace(RUN, total=50), 1.0) == "finishing"


def test_plain_lines_go_to_stderr_now_and_then_and_never_twice(capsys):
    with Screen() as screen:
        screen.show(RUN)
        screen.show(replace(RUN, ready=39))
        screen.say("a word")
        screen.show(replace(RUN, trouble="connect_failed: refused"))
        screen.show(replace(RUN, trouble="connect_failed: refused", ready=38))
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 3
    assert said.err.endswith("waiting: connect_failed: refused\n"), "that a run begins to wait is told at once"


def test_a_quiet_screen_says_nothing(capsys):
    with Screen(quiet=True) as screen:
        screen.show(RUN)
        screen.say("a word")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")
