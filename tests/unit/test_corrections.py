"""What only the end of a run tells: generations beside a row's own, and ids that the API handed out twice."""

from dataclasses import replace
from datetime import timedelta

import pytest

from pipeline.core.annotations import time_of
from pipeline.core.answers import Completion, Problem
from pipeline.core.corrections import Bearer, Corrections, corrected, distrusted, first_rows, generations_of, with_late
from pipeline.core.costs import Price
from pipeline.core.ends import LOG
from pipeline.core.late import LateId
from pipeline.core.lifecycle import Outcome
from pipeline.core.records import Ending
from pipeline.edges.schemas import judging_of

SECOND = 1_000_000
AT = 1_800_000_000 * SECOND
PRICES = {"m": Price(input=1.0, output=2.0)}
ANSWER = Completion(content="A cat.", prompt_tokens=1_000, completion_tokens=10, model_answered="m-1")
COST = (1_000 * 1.0 + 10 * 2.0) / 1e6


def entry(generation_id, outcome="unknown", **billed):
    nothing = dict.fromkeys(LOG[3:])
    return {"generation_id": generation_id, "submitted_at": time_of(AT), "outcome": outcome, **nothing, **billed}


LOST = entry(None)


def row(*log, outcome="completed", generation_id="task-own", flagged=False, **values):
    return {
        "row_index": 3,
        "model": "m",
        "outcome": outcome,
        "generation_id": generation_id,
        "attempts": len(log),
        "attempt_log": list(log),
        "possible_duplicate": flagged,
        "finished_at": time_of(AT + 9 * SECOND),
        "content": "A dog." if outcome == "completed" else None,
        "error_code": None if outcome == "completed" else "x",
        **values,
    }


def late(generation_id="task-late", attempt=1, outcome=None, completion=None, at=AT):
    ending = None if outcome is None else Ending(outcome, AT + 60 * SECOND, completion, Problem("p", "problem"))
    return LateId(3, generation_id, at, attempt, 0, ending)


def answered(**values):
    return late(outcome=Outcome.COMPLETED, completion=ANSWER, **values)


def log_of(made):
    return [(one["generation_id"], one["outcome"], one["prompt_tokens"]) for one in made["attempt_log"]]


def test_a_row_without_late_ids_stays_as_it_is():
    before = row(entry("task-own", "completed"))
    assert with_late(before, [], PRICES) == before


def test_a_late_id_takes_the_place_of_the_post_that_it_answers():
    made = with_late(row(LOST, entry("task-own", "completed"), flagged=True), [answered()], PRICES)
    assert log_of(made) == [("task-late", "completed", 1_000), ("task-own", "completed", None)]
    assert made["attempt_log"][0]["cost"] == COST
    assert (made["attempts"], made["possible_duplicate"], made["content"]) == (2, True, "A dog.")


def test_a_late_id_of_an_attempt_that_the_row_does_not_know_is_one_more_attempt():
    made = with_late(row(entry("task-own", "completed")), [late()], PRICES)
    assert log_of(made) == [("task-own", "completed", None), ("task-late", "unknown", None)]
    assert (made["attempts"], made["possible_duplicate"]) == (2, True)


@pytest.mark.parametrize("outcome", ["failed", "expired", "unknown", "cancelled"])
def test_the_late_answer_of_a_row_without_one_is_its_answer(outcome):
    before = row(LOST, entry("task-own", outcome), outcome=outcome, flagged=True, polls=7)
    made = with_late(before, [answered()], PRICES)
    assert (made["outcome"], made["content"], made["model_answered"]) == ("completed", "A cat.", "m-1")
    assert (made["generation_id"], made["cost"], made["prompt_tokens"]) == ("task-late", COST, 1_000)
    assert (made["error_code"], made["error_message"], made["polls"]) == (None, None, None)
    assert (made["submitted_at"], made["finished_at"]) == (time_of(AT), time_of(AT + 60 * SECOND))
    assert made["latency_s"] == 60.0
    assert log_of(made) == [("task-late", "completed", 1_000), ("task-own", outcome, None)]
    assert made["possible_duplicate"]


def test_a_row_that_was_held_and_got_its_answer_late_was_sent_once():
    made = with_late(row(LOST, outcome="unknown", generation_id=None), [answered()], PRICES)
    assert (made["outcome"], made["possible_duplicate"], len(made["attempt_log"])) == ("completed", False, 1)


def test_of_two_late_answers_the_one_that_was_accepted_first_is_taken_and_both_are_counted():
    ids = [answered(generation_id="task-b", attempt=2, at=AT + SECOND), answered(generation_id="task-a")]
    made = with_late(row(LOST, LOST, outcome="unknown", generation_id=None), ids, PRICES)
    assert made["generation_id"] == "task-a"
    assert log_of(made) == [("task-a", "completed", 1_000), ("task-b", "completed", 1_000)]
    assert made["possible_duplicate"]


def test_a_late_generation_that_failed_too_leaves_the_row_without_an_answer():
    made = with_late(row(LOST, outcome="unknown", generation_id=None), [late(outcome=Outcome.FAILED)], PRICES)
    assert (made["outcome"], log_of(made)) == ("unknown", [("task-late", "failed", None)])


def test_an_id_that_the_log_knows_without_its_end_gets_it():
    before = row(entry("task-late", "failed"), entry("task-own", "completed"))
    made = with_late(before, [answered()], PRICES)
    assert log_of(made) == [("task-late", "completed", 1_000), ("task-own", "completed", None)]


def test_a_late_id_that_became_the_rows_own_changes_nothing():
    before = row(entry("task-own", "completed", prompt_tokens=5))
    made = with_late(before, [late("task-own"), answered(generation_id="task-own")], PRICES)
    assert (log_of(made), made["possible_duplicate"]) == ([("task-own", "completed", 5)], False)


def test_a_shared_id_is_of_the_row_that_was_accepted_first():
    at = time_of(AT)
    later = at + timedelta(seconds=91)
    bearers = [Bearer("t", 5, later, False), Bearer("t", 7, at, False), Bearer("u", 1, at, False)]
    assert first_rows(bearers) == {"t": 7, "u": 1}


def test_a_shared_id_is_of_the_row_that_is_published_whenever_it_was_accepted():
    at = time_of(AT)
    assert first_rows([Bearer("t", 7, at, False), Bearer("t", 9, None, True), Bearer("t", 5, None, False)]) == {"t": 9}


def test_a_shared_id_is_of_nobody_when_it_was_given_to_two_at_once():
    at = time_of(AT)
    soon = at + timedelta(seconds=90)
    assert first_rows([Bearer("t", 7, at, False), Bearer("t", 5, soon, False)]) == {"t": None}
    assert first_rows([Bearer("t", 7, None, False), Bearer("t", 5, None, False)]) == {"t": None}
    assert first_rows([Bearer("t", 7, at, False), Bearer("t", 7, soon, False)]) == {"t": 7}


def test_rows_that_were_given_one_id_at_once_are_both_not_believed():
    made = corrected(row(entry("task-own", "completed")), Corrections({}, {"task-own": None}, PRICES))
    assert (made["outcome"], made["content"]) == ("unknown", None)
    assert "at the same time" in made["error_message"]


def test_a_row_with_another_rows_id_has_no_answer_and_no_tokens_of_it():
    made = distrusted(row(entry("task-own", "completed", prompt_tokens=5, cost=0.5), prompt_tokens=5, cost=0.5), 8)
    assert (made["outcome"], made["error_code"]) == ("unknown", "duplicate_generation_id")
    assert (made["content"], made["prompt_tokens"], made["cost"], made["generation_id"]) == (None, None, None, None)
    assert log_of(made) == [("task-own", "unknown", None)]
    assert "task-own" in made["error_message"]
    assert "row 8" in made["error_message"]


def test_a_late_answer_under_another_rows_id_is_not_taken():
    before = row(LOST, outcome="unknown", generation_id=None)
    made = corrected(before, Corrections({3: [answered()]}, {"task-late": 8}, PRICES))
    assert (made["outcome"], made["content"]) == ("unknown", None)
    assert log_of(made) == [("task-late", "unknown", None)]


def test_an_earlier_answer_under_another_rows_id_is_counted_there_and_not_here():
    earlier = entry("task-x", "completed", prompt_tokens=9, content="A cat.", answer_status="invalid")
    made = corrected(row(earlier, entry("task-own", "completed")), Corrections({}, {"task-x": 8}, PRICES))
    assert log_of(made) == [("task-x", "unknown", None), ("task-own", "completed", None)]
    assert (made["attempt_log"][0]["content"], made["content"]) == (None, "A dog.")


def test_a_late_generation_tells_all_that_it_used_and_its_text_where_it_is_not_the_answer():
    told = Completion(content="A cow.", prompt_tokens=9, reasoning_tokens=2, video_tokens=7, credits=0.5, cost=0.25)
    one = late(outcome=Outcome.COMPLETED, completion=told)
    beside = with_late(row(LOST, entry("task-own", "completed"), flagged=True), [one], PRICES)["attempt_log"][0]
    assert (beside["reasoning_tokens"], beside["video_tokens"], beside["credits"]) == (2, 7, 0.5)
    assert (beside["cost"], beside["cost_told"], beside["content"], beside["answer_status"]) == (
        0.25,
        0.25,
        "A cow.",
        "ok",
    )
    taken = with_late(row(LOST, outcome="unknown", generation_id=None), [one], PRICES)
    assert (taken["content"], taken["attempt_log"][0]["content"]) == ("A cow.", None)


def test_the_row_that_an_id_is_of_keeps_its_answer():
    before = row(entry("task-own", "completed"))
    assert corrected(before, Corrections({}, {"task-own": 3}, PRICES)) == before


def test_what_a_second_annotation_of_a_row_was_billed_for_is_not_lost():
    second = row(
        entry("task-x", "failed"),
        LOST,
        entry("task-own", "completed", prompt_tokens=5, cost=0.5, cost_told=0.5),
        prompt_tokens=5,
    )
    copies = generations_of({**second, "cost": 0.5})
    assert [(one.generation_id, one.attempt, one.accepted_at) for one in copies] == [
        ("task-x", 1, AT),
        ("task-own", 3, AT),
    ]
    assert copies[1].ending.completion.content == "A dog."
    made = with_late(row(entry("task-y", "failed"), outcome="failed", generation_id="task-y"), copies, PRICES)
    assert (made["content"], made["cost"], made["generation_id"]) == ("A dog.", 0.5, "task-own")


SCHEMA = {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]}


@pytest.mark.parametrize(
    ("content", "status", "answer"),
    [('{"label": "cat"}', "ok", {"label": "cat"}), ("A cat.", "invalid", None), (None, "empty", None)],
)
def test_a_late_answer_is_judged_like_any_other(content, status, answer):
    judge = judging_of({"answer_schema": SCHEMA})
    before = row(LOST, outcome="unknown", generation_id=None)
    came = late(outcome=Outcome.COMPLETED, completion=replace(ANSWER, content=content))
    made = corrected(before, Corrections({3: [came]}, {}, PRICES, judge))
    assert (made["content"], made["answer_status"], made["answer"]) == (content, status, answer)
    assert (made["answer_error"] is not None) == (status == "invalid")


def test_a_row_that_is_not_believed_has_no_answer_of_any_status():
    before = row(entry("task-own", "completed"), answer={"label": "cat"}, answer_status="ok")
    made = distrusted(before, 8)
    assert (made["answer"], made["answer_status"], made["answer_error"]) == (None, None, None)


def test_a_refusal_in_a_second_annotation_stays_one():
    second = row(entry("task-own", "completed"), content=None, answer_status="refused", answer_error="I can't.")
    [copy] = generations_of(second)
    assert copy.ending.completion.refusal == "I can't."
