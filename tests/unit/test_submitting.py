"""Rows whose end comes on their POST: what becomes of them, by the rules that hold after a poll."""

import pytest

from pipeline.core.answering import AnswerStatus, Verdict
from pipeline.core.answers import Accepted, Ambiguous, Answered, Completion, Failed, Problem
from pipeline.core.costs import Price
from pipeline.core.errors import SettingsError
from pipeline.core.lifecycle import Event, Outcome, State
from pipeline.core.modes import mode_for
from pipeline.core.policy import MODES, Policy
from pipeline.core.polling import parse_schedule
from pipeline.core.records import RowRecord
from pipeline.core.submitting import Sent, after_submit
from pipeline.core.wire import fox_body

NOW = 1_800_000_000_000
SENT = Sent(row_index=7, at_ms=NOW - 30_000, model="m", cap=100)
SCHEDULE = parse_schedule("fixed:5s")
GOOD = Completion(content="good", prompt_tokens=1_000_000, completion_tokens=0, usage="{}")
CUT = Completion(content="go", finish_reason="length", prompt_tokens=10, completion_tokens=100, usage="{}")
PRICES = {"m": Price(2.0, 10.0)}


def judge(completion):
    return Verdict(AnswerStatus.OK if completion is GOOD else AnswerStatus.TRUNCATED)


def submitted(answer, record=RowRecord(), mode="sync", **policy):  # noqa: B008 - a frozen value
    rules = Policy(mode=mode, **policy)
    common = {"now_ms": NOW, "troubles": 0, "chance": 0.0, "sent": SENT, "prices": PRICES, "judge": judge}
    return after_submit(answer, record, rules, SCHEDULE, **common)


def test_an_answer_on_the_post_ends_its_row_with_what_it_used():
    step = submitted(Answered(GOOD, "chatcmpl-1"))
    assert (step.event, step.state, step.ending.outcome) == (Event.COMPLETED, State.DONE, Outcome.COMPLETED)
    assert (step.used.prompt_tokens, step.cost_micro, step.answered, step.keeps) == (1_000_000, 2_000_000, True, 0)
    record = step.record
    assert (record.attempts, record.polls, record.submitted_at) == (1, 0, SENT.at_ms * 1000)
    assert (step.observed.low_ms, step.observed.high_ms, step.observed.model) == (0, 30_000, "m")


def test_its_id_is_of_this_post_alone_whatever_word_the_api_has_for_all_of_them():
    ids = {submitted(Answered(GOOD, "chatcmpl"), RowRecord(attempts=n)).record.generation_id for n in range(3)}
    assert ids == {"chatcmpl#7.1", "chatcmpl#7.2", "chatcmpl#7.3"}
    assert submitted(Answered(GOOD)).record.generation_id == "answer#7.1"


def test_an_unfit_answer_on_the_post_is_asked_for_again_and_the_better_one_is_kept():
    step = submitted(Answered(CUT, "first"), repairs=1)
    assert (step.event, step.state, step.answered, step.goes_first) == (Event.UNFIT, State.READY, True, True)
    assert (step.record.unfit.completion, step.used.completion_tokens) == (CUT, 100)
    last = submitted(Answered(GOOD, "second"), step.record, repairs=1)
    assert (last.ending.completion, last.record.generation_id) == (GOOD, "second#7.2")
    assert [(one.generation_id, one.content) for one in last.record.log] == [("first#7.1", "go")]
    assert not last.record.possible_duplicate


def test_a_worse_repair_leaves_the_row_its_first_answer():
    step = submitted(Answered(CUT, "first"), repairs=1)
    last = submitted(Failed(Problem("bad", "no"), retryable=False), step.record, repairs=1)
    assert (last.ending.outcome, last.ending.completion) == (Outcome.COMPLETED, CUT)
    assert (last.record.generation_id, last.record.possible_duplicate) == ("first#7.1", False)


def test_a_generation_that_failed_on_its_post_is_asked_for_again_as_often_as_any():
    record, problem = RowRecord(), Problem("generation_failed", "no")
    for attempt in (1, 2):
        step = submitted(Failed(problem, retryable=True), record)
        assert (step.event, step.state, step.keeps, step.answered) == (Event.FAILED_RETRY, State.READY, 1, True)
        record = step.record
        assert (record.attempts, len(record.log), record.possible_duplicate) == (attempt, attempt, False)
    step = submitted(Failed(problem, retryable=True), record)
    assert (step.event, step.ending.outcome, step.ending.problem) == (Event.FAILED_LAST, Outcome.FAILED, problem)


def test_a_connection_that_breaks_under_a_held_post_is_an_unknown_outcome():
    step = submitted(Ambiguous(Problem("no_answer", "reset")))
    assert (step.event, step.record.possible_duplicate, step.answered) == (Event.LOST_RESUBMIT, True, False)
    assert submitted(Ambiguous(Problem("no_answer", "reset")), on_unknown="hold").ending.outcome is Outcome.UNKNOWN


def test_a_generation_that_is_accepted_is_followed_at_once_where_it_streams_and_asked_for_later_else():
    assert submitted(Accepted("task-1", "/s/1"), mode="stream").wait_ms == 0
    assert submitted(Accepted("task-1", "/s/1"), mode="stream").record.stream == "/s/1"
    assert submitted(Accepted("task-1"), mode="async").wait_ms == 5_000
    assert submitted(Accepted("task-1"), mode="sync").wait_ms == 5_000


@pytest.mark.parametrize("mode", MODES)
def test_what_goes_over_the_wire_says_how_the_answer_is_to_come(mode):
    told = {"async": b"", "sync": b',"sync":true', "stream": b',"stream":true'}
    told["sync-stream"] = told["sync"] + told["stream"]
    assert fox_body(b'{"model":"nobody-knows"}', mode) == b'{"model":"nobody-knows"' + told[mode] + b"}"


def test_each_api_has_modes_of_its_own():
    assert [mode_for("foxapi", mode) for mode in (None, *MODES)] == ["async", *MODES]
    assert [mode_for("openai", mode) for mode in (None, "sync", "stream")] == ["sync", "sync", "sync-stream"]
    with pytest.raises(SettingsError, match="--mode: found async; allowed with --api openai are sync, stream"):
        mode_for("openai", "async")
