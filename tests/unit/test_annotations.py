"""An annotation, put together: names, times, what was billed, and what went wrong."""

from datetime import UTC, datetime

from pipeline.core.annotations import annotation
from pipeline.core.answers import Completion, Problem
from pipeline.core.columns import NAMES, carried_names
from pipeline.core.costs import Price
from pipeline.core.lifecycle import Outcome
from pipeline.core.records import Attempt, Ending, Result, RowRecord
from pipeline.core.requests import Request

SECOND = 1_000_000
AT = 1_800_000_000 * SECOND
REQUEST = Request(
    row_index=3,
    row_id="row-3",
    line=5,
    model="m",
    prompt="Describe.",
    video_urls=("https://videos.example/1.mp4",),
    carried={"shelf": "a", "answer": "b"},
)
NAMED = carried_names(["shelf", "answer"])
PRICES = {"m": Price(input=1.0, output=2.0)}
COMPLETION = Completion(content="A cat.", prompt_tokens=1_000, completion_tokens=10, model_answered="m-1")


def put_together(record, ending):
    return annotation(REQUEST, Result(3, record, ending), PRICES, NAMED, AT + 9 * SECOND)


def test_a_completed_row_has_its_answer_its_times_and_its_cost():
    record = RowRecord(attempts=1, polls=2, generation_id="task-1", submitted_at=AT)
    row = put_together(record, Ending(Outcome.COMPLETED, AT + 5 * SECOND, completion=COMPLETION))
    assert (row["row_id"], row["row_index"], row["outcome"]) == ("row-3", 3, "completed")
    assert (row["content"], row["model_answered"], row["generation_id"]) == ("A cat.", "m-1", "task-1")
    assert row["submitted_at"] == datetime.fromtimestamp(AT / SECOND, UTC)
    assert row["latency_s"] == 5.0
    assert row["cost"] == (1_000 * 1.0 + 10 * 2.0) / 1e6
    assert row["attempt_log"] == [
        {
            "generation_id": "task-1",
            "submitted_at": row["submitted_at"],
            "outcome": "completed",
            "prompt_tokens": 1_000,
            "completion_tokens": 10,
            "cost": row["cost"],
        }
    ]


def test_every_name_is_a_column_or_a_carried_one():
    row = put_together(RowRecord(attempts=1), Ending(Outcome.COMPLETED, AT, completion=COMPLETION))
    assert set(row) <= NAMES | set(NAMED.values())
    assert (row["shelf"], row["manifest_answer"]) == ("a", "b")
    assert "answer" not in row


def test_a_refused_row_says_what_was_wrong_and_was_never_billed():
    problem = Problem("model_not_supported", "No such model.", "invalid_request_error", 422)
    row = put_together(RowRecord(), Ending(Outcome.REFUSED, AT, problem=problem))
    told = (row["error_code"], row["error_type"], row["error_message"], row["http_status"])
    assert told == ("model_not_supported", "invalid_request_error", "No such model.", 422)
    assert (row["attempt_log"], row["submitted_at"]) == ([], None)
    assert "latency_s" not in row
    assert "content" not in row


def test_attempts_that_came_before_are_kept_with_the_last_one():
    earlier = (Attempt("task-1", AT, Outcome.FAILED), Attempt(None, AT + SECOND, Outcome.UNKNOWN))
    record = RowRecord(
        attempts=3, generation_id="task-3", submitted_at=AT + 2 * SECOND, possible_duplicate=True, log=earlier
    )
    row = put_together(record, Ending(Outcome.COMPLETED, AT + 3 * SECOND, completion=COMPLETION))
    assert [(entry["generation_id"], entry["outcome"]) for entry in row["attempt_log"]] == [
        ("task-1", "failed"),
        (None, "unknown"),
        ("task-3", "completed"),
    ]
    assert row["possible_duplicate"]
