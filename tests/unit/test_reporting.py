"""A report says in words what a run came to, and for each cause what to do: as the end of a run says it."""

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.core.advice import advice_for, remains_lines
from pipeline.core.lifecycle import Outcome
from pipeline.core.reporting import Facts, Group, causes, headline, leaves, remains_in, rest_words, seconds, segments
from pipeline.core.standing import End

AT = datetime(2026, 3, 1, tzinfo=UTC)


def group(outcome, rows, status=None, code="", generation_id=None, doubtful=False):
    return Group(End(-1, Outcome(outcome), code, generation_id, doubtful=doubtful), status, rows)


def facts(*groups, rows, finished=True, rejections=0, cost=None, **more):
    described = {"run_id": "run-1", "rows": rows, "requests": rows - rejections, "rejections": rejections, **more}
    usage = [{"model": "m", "cost": cost}]
    return Facts(described, "out", finished, groups, usage=usage, began_at=AT, ended_at=AT + timedelta(minutes=72))


def test_a_run_without_a_fault_is_one_sentence():
    told = facts(group("completed", 500, "ok"), rows=500, cost=3.5)
    assert headline(told) == "All 500 rows have their answer, after 1 h 12 min and for $3.50."
    assert rest_words(told) == ""


def test_rows_without_a_usable_answer_are_told_by_why_the_most_frequent_first():
    told = facts(
        group("completed", 90, "ok"), group("completed", 4, "invalid"), group("failed", 5), rows=100, rejections=1
    )
    assert headline(told) == "90 of 100 rows have an answer that can be used, after 1 h 12 min."
    assert rest_words(told) == "10 do not: 5 failed, 4 answers invalid, 1 rejected."


def test_every_row_is_in_one_segment():
    told = facts(
        group("completed", 50, "ok"),
        group("completed", 10),
        group("completed", 3, "truncated"),
        group("expired", 2),
        rows=100,
        rejections=5,
        reused_outcomes={"completed": 20, "refused": 1},
    )
    found = segments(told)
    assert sum(one.rows for one in found) == 100
    assert {one.name: one.rows for one in found} == {
        "usable": 60,
        "answer truncated": 3,
        "completed, answered before": 20,
        "refused, answered before": 1,
        "expired": 2,
        "rejected": 5,
        "not ended yet": 9,
    }


def test_a_run_under_way_says_so_first():
    told = facts(group("completed", 9, "ok"), rows=10, finished=False)
    assert headline(told).startswith("Not finished: 9 of 10 rows have an answer that can be used so far")


@pytest.mark.parametrize(
    ("end", "command"),
    [
        (End(0, Outcome.FAILED, "server_error"), "vidbatch retry run-1 --out out --code server_error"),
        (End(0, Outcome.CANCELLED), "vidbatch retry run-1 --out out"),
        (End(0, Outcome.CANCELLED, generation_id="g"), "vidbatch collect run-1 --out out"),
        (End(0, Outcome.CANCELLED, doubtful=True), "vidbatch retry run-1 --out out --unknown"),
        (End(0, Outcome.EXPIRED, generation_id="g"), "vidbatch collect run-1 --out out"),
        (End(0, Outcome.EXPIRED), "vidbatch retry run-1 --out out --outcome expired"),
        (End(0, Outcome.UNKNOWN), "vidbatch retry run-1 --out out --unknown"),
        (End(0, Outcome.REFUSED, "bad_url"), "vidbatch retry run-1 --out out --outcome refused --code bad_url"),
        (
            End(0, Outcome.REFUSED, "preflight_dead"),
            "vidbatch retry run-1 --out out --outcome refused --code preflight_dead --preflight",
        ),
        (End(0, Outcome.COMPLETED), ""),
    ],
)
def test_each_end_has_the_command_that_helps_it(end, command):
    assert advice_for(end, None, "run-1", "out").command == command


@pytest.mark.parametrize(
    ("status", "told"), [("truncated", "max_tokens"), ("invalid", "schema"), ("empty", "no text"), ("news", "Nothing")]
)
def test_each_status_of_an_answer_has_its_advice(status, told):
    assert told in advice_for(End(0, Outcome.COMPLETED), status, "run-1", "out").text


def test_rows_that_ended_alike_are_one_cause_whatever_else_differs():
    told = facts(
        group("failed", 3, code="x", generation_id="g"), group("failed", 4, code="x"), group("failed", 1), rows=8
    )
    assert [(cause.what, cause.code, cause.rows) for cause in causes(told)] == [("failed", "x", 7), ("failed", "", 1)]


def test_what_remains_is_counted_from_groups():
    left = remains_in(facts(group("expired", 2, generation_id="g"), group("failed", 3), group("refused", 4), rows=9))
    assert (left.collectable, left.again, left.refused) == (2, 3, 4)


def test_a_file_that_changed_is_planned_anew_and_not_retried():
    told = facts(group("refused", 2, code="video_changed"), group("refused", 1, code="x"), group("failed", 4), rows=7)
    again, changed = remains_lines(remains_in(told), "run-1", "out")
    assert again.endswith("(4 failed or cancelled, 1 refused: --outcome refused)")
    assert changed.startswith("rows whose files had changed or were gone: 2. The run's own command")
    advice = advice_for(End(0, Outcome.REFUSED, "video_changed"), None, "run-1", "out")
    assert (advice.command, "own command" in advice.text) == ("", True)


def test_answers_that_do_not_fit_have_one_command_with_the_statuses_that_there_are():
    told = facts(
        group("completed", 5, "ok"),
        group("completed", 2, "truncated"),
        group("completed", 3, "invalid"),
        group("completed", 4, "refused"),
        rows=14,
    )
    command = "vidbatch retry run-1 --out out --answer invalid --answer truncated --repair 1"
    [line] = remains_lines(remains_in(told), "run-1", "out")
    assert line == f"5 answers can't be used as they are: `{command}` asks for them again, at your cost"
    assert [cause.headline for cause in causes(told)] == [
        "4 answers refused",
        "3 answers invalid",
        "2 answers truncated",
    ]
    [one] = remains_lines(remains_in(facts(group("completed", 1, "empty"), rows=1)), "run-1", "out")
    assert one.startswith("1 answer can't be used as it is: ")


@pytest.mark.parametrize("status", ["invalid", "truncated", "empty"])
def test_an_answer_that_does_not_fit_is_asked_for_again_by_another_run(status):
    told = advice_for(End(0, Outcome.COMPLETED), status, "run-1", "out")
    assert told.command == f"vidbatch retry run-1 --out out --answer {status} --repair 1"
    assert "same run" not in told.text


def test_fields_are_called_by_their_paths_and_lists_are_wholes():
    answer = {"a": {"b": 1, "c": [1, {"d": 2}]}, "e": None, "f": {}}
    assert dict(leaves(answer)) == {"a.b": 1, "a.c": [1, {"d": 2}], "e": None, "f": {}}


@pytest.mark.parametrize(("value", "words"), [(None, "-"), (0.25, "250 ms"), (8.26, "8.26 s"), (4000.0, "1 h 7 min")])
def test_times_have_the_digits_that_matter(value, words):
    assert seconds(value) == words
