"""What a person sees, in words: counts, rate, and what a run waits for."""

from dataclasses import replace

import pytest
from rich.console import Console

from pipeline.cli.screen import Rate, Screen, left, money, picture, plain_line
from pipeline.core.lifecycle import Outcome
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
    line = plain_line(RUN, 2.0)
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
    assert plain_line(replace(RUN, **changes), 1.0).endswith(told)


def test_the_picture_has_every_line_of_its_own():
    console = Console(width=120, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    console.print(picture(replace(RUN, trouble="connect_failed: refused"), 2.0))
    console.file.close()
    lines = console.export_text().splitlines()
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


@pytest.mark.parametrize(("cost", "told"), [(0.0, "$0.0000"), (0.12345, "$0.1235"), (1234.5, "$1,234.50")])
def test_money_has_the_digits_that_matter(cost, told):
    assert money(cost) == told


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
