"""Steps as lines of a file: what an answer on the POST used is not forgotten with the ledger's absence."""

import pytest

from pipeline.core.answering import AnswerStatus, Verdict
from pipeline.core.answers import Answered, Completion
from pipeline.core.lifecycle import Event
from pipeline.core.policy import Policy
from pipeline.core.polling import parse_schedule
from pipeline.core.records import RowRecord
from pipeline.core.spilling import read_step, step_line
from pipeline.core.submitting import Sent, after_submit

ANSWER = Completion(content="{", prompt_tokens=900, completion_tokens=80, cost=0.5, usage="{}")


@pytest.mark.parametrize(("repairs", "event"), [(0, Event.COMPLETED), (1, Event.UNFIT)])
def test_a_step_comes_back_with_what_its_answer_used(repairs, event):
    policy = Policy(mode="sync", repairs=repairs)
    step = after_submit(
        Answered(ANSWER, "chatcmpl-1"),
        RowRecord(),
        policy,
        parse_schedule(policy.poll),
        now_ms=9_000,
        troubles=0,
        chance=0.0,
        sent=Sent(3, 1_000, "m"),
        judge=lambda _: Verdict(AnswerStatus.INVALID, "no"),
    )
    row, token, read = read_step(step_line(3, "t", step))
    assert (row, token, read.event, read.record, read.ending) == (3, "t", event, step.record, step.ending)
    assert (read.used, read.keeps, read.answered) == (step.used, step.keeps, True)
    assert read.used.cost_micro == 500_000
