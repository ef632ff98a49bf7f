"""Answers that are not fit are asked for again; whatever becomes of that, no answer that came is lost."""

from dataclasses import replace

import orjson
import pytest

from pipeline.core.answering import AnswerStatus, Verdict
from pipeline.core.answers import (
    Accepted,
    Ambiguous,
    Completed,
    Completion,
    Failed,
    Missing,
    Problem,
    Refused,
    Running,
)
from pipeline.core.budget import Settled
from pipeline.core.cells import LONGEST_PROMPT
from pipeline.core.costs import Price
from pipeline.core.ends import columns_of
from pipeline.core.lifecycle import Event, Outcome, State
from pipeline.core.policy import Policy
from pipeline.core.polling import parse_schedule
from pipeline.core.records import Attempt, Ending, RowRecord, Unfit, ending_packed, pack, unpack
from pipeline.core.repairs import LEAST_CAP, MOST_CAP, after_fewer_repairs, repair_body, with_best
from pipeline.core.retries import after_query
from pipeline.core.steps import Step, abandoned, cancelled
from pipeline.core.submitting import Sent, after_lost_post, after_submit

NOW = 1_800_000_000_000
POLICY = Policy(repairs=2, max_attempts=2)
PLAIN = Policy()
SCHEDULE = parse_schedule("fixed:2s")
PRICES = {"m": Price(1.0, 10.0)}
WRONG = Problem("some_code", "some words", None, 400)
FIRST = RowRecord(attempts=1, polls=1, generation_id="task-1", submitted_at=5_000, looked_at_ms=NOW, model="m")
BAD = Completion(
    content="bad",
    prompt_tokens=100,
    completion_tokens=10,
    reasoning_tokens=4,
    cached_tokens=3,
    audio_tokens=2,
    video_tokens=1,
    credits=0.5,
    response='{"id":"1"}',
)
GOOD = Completion(content="good", prompt_tokens=120, completion_tokens=8, cost=0.25)
EMPTY = Completion(content=" ", prompt_tokens=50, completion_tokens=0)
BODY = orjson.dumps({"model": "m", "prompt": "Describe.", "video_urls": ["https://videos.example/1.mp4"]})


def judge(completion):
    """By its words alone."""
    text = (completion.content or "").strip()
    if completion.finish_reason == "length":
        return Verdict(AnswerStatus.TRUNCATED)
    status = {"good": "ok", "": "empty", "no": "refused"}.get(text, "invalid")
    return Verdict(AnswerStatus(status), error="$.kind: found bad" if status == "invalid" else None)


def query(answer, record=FIRST, policy=POLICY, judge=judge):
    common = {"now_ms": NOW, "troubles": 0, "chance": 0.0, "prices": PRICES}
    return after_query(answer, record, policy, SCHEDULE, **common, judge=judge)


def submit(answer, record, policy=POLICY, asked=("m", 0)):
    return after_submit(
        answer, record, policy, SCHEDULE, now_ms=NOW, troubles=0, chance=0.0, sent=Sent(model=asked[0], cap=asked[1])
    )


def asked_again(answer=BAD, policy=POLICY, record=FIRST):
    """The record of a row whose answer is asked for again."""
    step = query(Completed(answer), record, policy)
    assert step.event is Event.UNFIT
    return step.record


def repaired(answer=BAD, policy=POLICY, record=FIRST):
    """The same, its repair accepted."""
    return submit(Accepted("task-2"), asked_again(answer, policy, record), policy).record


# Whether


def test_an_answer_that_is_not_fit_is_asked_for_again_at_once_and_settled():
    step = query(Completed(BAD))
    assert (step.state, step.goes_first, step.ending, step.trouble) == (State.READY, True, None, None)
    assert step.used == Settled(100, 10, 200)
    assert (step.keeps, step.counts_as, step.observed.completed) == (0, "", True)
    assert (step.record.repairs, step.record.attempts, step.record.generation_id) == (1, 1, None)
    [entry] = step.record.log
    told = ("task-1", 5_000, Outcome.COMPLETED, 100, 10, 0.0002, 4, 3, 2, 1, 0.5, None, "invalid", None)
    assert entry == Attempt(*told)


@pytest.mark.parametrize(("content", "reason"), [("bad", None), ("", None), ("half", "length")])
def test_invalid_empty_and_truncated_answers_are_repaired(content, reason):
    assert query(Completed(Completion(content=content, finish_reason=reason))).event is Event.UNFIT


@pytest.mark.parametrize("content", ["good", "no"])
def test_a_fit_answer_and_a_refusal_are_the_end(content):
    step = query(Completed(Completion(content=content)))
    assert (step.event, step.record.repairs) == (Event.COMPLETED, 0)


def test_without_repairs_nothing_is_judged():
    def judged(_):
        raise AssertionError("nobody asked for it")

    assert query(Completed(BAD), policy=PLAIN, judge=judged).event is Event.COMPLETED
    assert query(Completed(BAD), judge=None).event is Event.COMPLETED


def test_the_last_repair_is_not_repaired():
    record = replace(repaired(), repairs=2)
    assert query(Completed(replace(BAD, content="worse")), record).event is Event.COMPLETED


def test_failures_and_repairs_are_counted_apart():
    step = query(Failed(WRONG, retryable=True), repaired())
    assert (step.event, step.record.unfit.completion) == (Event.FAILED_RETRY, BAD)
    third = submit(Accepted("task-3"), step.record).record
    assert third.attempts == 3
    assert query(Failed(WRONG, retryable=True), third).event is Event.FAILED_LAST
    assert query(Completed(BAD), third).event is Event.UNFIT


def test_after_the_loss_of_a_ledger_a_repair_may_be_the_second():
    step = query(Completed(BAD), replace(FIRST, recovered=True))
    assert (step.record.possible_duplicate, step.record.recovered) == (True, False)


def test_where_rows_in_doubt_are_held_none_is_repaired_whose_repair_may_have_been_under_way():
    held = replace(POLICY, on_unknown="hold")
    step = query(Completed(BAD), replace(FIRST, recovered=True), held)
    assert (step.event, step.ending.completion, step.record.possible_duplicate) == (Event.COMPLETED, BAD, True)
    assert step.used == Settled(100, 10, 200)
    good = query(Completed(GOOD), replace(FIRST, recovered=True), held)
    assert (good.event, good.record.possible_duplicate) == (Event.COMPLETED, False)
    assert query(Completed(BAD), FIRST, held).event is Event.UNFIT, "its ledger knows that nothing was sent"


# With what question


def asked_with(answer, cap=0, body=BODY):
    status = judge(answer).status
    return orjson.loads(repair_body(body, Unfit(answer, "task-1", 1, 2, status, "$.kind: found bad", cap)))


def capped(tokens):
    return orjson.dumps({**orjson.loads(BODY), "max_tokens": tokens})


def test_a_row_that_is_no_repair_is_asked_as_it_was_planned():
    assert repair_body(b"anything", None) == b"anything"


@pytest.mark.parametrize(
    ("cap", "used", "raised"), [(300, 300, 600), (0, 700, 1_400), (0, 10, LEAST_CAP), (0, None, LEAST_CAP)]
)
def test_a_cut_answer_is_asked_with_a_larger_cap(cap, used, raised):
    cut = Completion(content="ha", finish_reason="length", completion_tokens=used)
    made = asked_with(cut, cap)
    assert (made["max_tokens"], made["prompt"]) == (raised, "Describe.")


def test_a_cap_of_the_row_itself_is_doubled_too_though_nobody_remembers_what_was_asked():
    cut = Completion(content="ha", finish_reason="length")
    assert asked_with(cut, 0, capped(50))["max_tokens"] == 100


def test_no_cap_is_asked_twice():
    record, caps = FIRST, []
    cut = Completion(content="ha", finish_reason="length", completion_tokens=600)
    for number in range(2, 6):
        record = asked_again(cut, Policy(repairs=9), record)
        caps.append(orjson.loads(repair_body(BODY, record.unfit))["max_tokens"])
        record = submit(Accepted(f"task-{number}"), record, asked=("m", caps[-1])).record
    assert caps == [1_200, 2_400, 4_800, 9_600]


def test_a_cap_that_cannot_be_raised_is_not_asked_again():
    cut = Completion(content="ha", finish_reason="length")
    assert query(Completed(cut), replace(FIRST, cap=MOST_CAP)).event is Event.COMPLETED


def test_an_empty_answer_does_not_make_a_cap_be_asked_again():
    cut = Completion(content="ha", finish_reason="length", completion_tokens=600)
    record = submit(Accepted("task-2"), asked_again(cut), asked=("m", 1_200)).record
    again = asked_again(Completion(content=""), POLICY, record)
    assert again.unfit.completion == cut
    assert orjson.loads(repair_body(BODY, again.unfit))["max_tokens"] == 2_400


def test_an_invalid_answer_is_asked_with_what_was_wrong_with_it_and_the_same_cap():
    made = asked_with(BAD, 0, capped(50))
    assert made["prompt"].startswith("Describe.\n")
    assert "$.kind: found bad" in made["prompt"]
    assert "\nbad\n" in made["prompt"]
    assert (made["max_tokens"], made["video_urls"]) == (50, ["https://videos.example/1.mp4"])


@pytest.mark.parametrize("room", [0, 20, 150, 400, 3_000])
def test_the_note_fits_into_what_a_prompt_may_hold(room):
    body = orjson.dumps({"model": "m", "prompt": "p" * (LONGEST_PROMPT - room), "video_urls": []})
    made = asked_with(replace(BAD, content="\0bad" * 5_000), body=body)["prompt"]
    assert len(made) <= LONGEST_PROMPT
    assert made.startswith("p" * (LONGEST_PROMPT - room))
    assert "\0" not in made


def test_an_empty_answer_is_asked_again_as_it_was():
    assert asked_with(EMPTY) == orjson.loads(BODY)
    assert asked_with(Completion(content="", finish_reason="length"), 100)["max_tokens"] == 200


# What is kept


def test_a_fit_repair_is_the_answer_and_the_earlier_text_stays_in_the_log():
    step = query(Completed(GOOD), repaired())
    assert (step.event, step.ending.completion, step.record.unfit) == (Event.COMPLETED, GOOD, None)
    assert (step.record.generation_id, step.record.attempts, step.record.repairs) == ("task-2", 2, 1)
    assert [(one.generation_id, one.content, one.answer_status) for one in step.record.log] == [
        ("task-1", "bad", "invalid")
    ]
    assert step.used == Settled(120, 8, 250_000)


def test_of_two_that_are_not_fit_the_newest_with_text_is_kept():
    newer = replace(BAD, content="worse")
    step = query(Completed(newer), replace(repaired(), repairs=2))
    assert (step.ending.completion, step.record.generation_id) == (newer, "task-2")
    assert [one.content for one in step.record.log] == ["bad"]


@pytest.mark.parametrize("answer", [EMPTY, Completion(content="no", prompt_tokens=50, completion_tokens=0)])
def test_an_answer_outlives_a_repair_that_says_nothing(answer):
    step = query(Completed(answer), replace(repaired(), repairs=2))
    assert (step.ending.completion, step.record.generation_id, step.record.polls) == (BAD, "task-1", 2)
    assert step.ending.at == NOW * 1000
    last = step.record.log[-1]
    assert (last.generation_id, last.content, last.prompt_tokens) == ("task-2", answer.content, 50)
    assert step.used == Settled(50, 0, 50), "only the last answer is news to the sums"


@pytest.mark.parametrize("answer", [EMPTY, replace(BAD, content="worse")])
def test_an_answer_outlives_a_repair_that_nobody_can_judge(answer):
    step = query(Completed(answer), repaired(), judge=lambda _: None)
    assert (step.event, step.ending.completion) == (Event.COMPLETED, BAD)
    assert (step.record.log[-1].generation_id, step.record.log[-1].content) == ("task-2", answer.content)


def test_a_repair_under_way_is_judged_though_the_run_asks_no_more_answers_again():
    step = query(Completed(EMPTY), repaired(), PLAIN)
    assert (step.event, step.ending.completion) == (Event.COMPLETED, BAD)
    assert query(Completed(GOOD), repaired(), PLAIN).ending.completion == GOOD


@pytest.mark.parametrize(("repairs", "sent"), [(0, False), (1, True), (2, True)])
def test_a_repair_that_waits_is_not_sent_where_the_run_makes_fewer_of_them_now(repairs, sent):
    step = after_fewer_repairs(asked_again(), Policy(repairs=repairs), NOW)
    assert (step is None) == sent
    if step is not None:
        assert (step.state, step.ending.outcome, step.ending.completion) == (State.DONE, Outcome.COMPLETED, BAD)
        assert (step.record.generation_id, step.record.attempts, step.keeps) == ("task-1", 1, 0)
    assert after_fewer_repairs(FIRST, Policy(), NOW) is None, "it is no repair"


def test_a_second_repair_keeps_the_better_of_two_answers():
    step = query(Completed(EMPTY), repaired())
    assert (step.event, step.record.unfit.completion) == (Event.UNFIT, BAD)
    assert [(one.generation_id, one.content) for one in step.record.log] == [("task-1", None), ("task-2", " ")]
    better = query(Completed(replace(BAD, content="other")), repaired())
    assert (better.record.unfit.generation_id, better.record.log[0].content) == ("task-2", "bad")


def lost(record):
    return after_lost_post(record, POLICY, WRONG, now_ms=NOW, sent_at_ms=NOW, token=None)


@pytest.mark.parametrize(
    ("step", "logged"),
    [
        (lambda: query(Failed(WRONG, retryable=False), repaired()), [("task-2", "failed")]),
        (lambda: query(Running("x"), replace(repaired(), watched_ms=10**9)), [("task-2", "expired")]),
        (
            lambda: query(Missing(WRONG), replace(repaired(), missing=9, missing_since_ms=1, resubmits=1)),
            [("task-2", "unknown")],
        ),
        (lambda: submit(Refused(WRONG), asked_again()), []),
        (lambda: submit(Ambiguous(WRONG), replace(asked_again(), resubmits=1)), [(None, "unknown")]),
        (lambda: lost(replace(asked_again(), resubmits=1)), [(None, "unknown")]),
    ],
    ids=["failed", "expired", "gone", "refused", "unknown", "lost"],
)
def test_however_a_repair_ends_the_row_has_its_answer(step, logged):
    made = step()
    assert (made.state, made.ending.outcome, made.ending.completion) == (State.DONE, Outcome.COMPLETED, BAD)
    assert (made.record.generation_id, made.record.submitted_at, made.record.unfit) == ("task-1", 5_000, None)
    assert [(one.generation_id, one.outcome) for one in made.record.log[1:]] == logged
    assert (made.used, made.counts_as) == (Settled(), ""), "what it used was settled when it came"
    assert made.keeps == (made.event is not Event.REFUSED)


@pytest.mark.parametrize(
    ("answer", "doubtful"), [(Ambiguous(WRONG), True), (Refused(WRONG), False)], ids=["unknown", "refused"]
)
def test_where_rows_in_doubt_are_held_a_kept_answer_says_that_a_repair_may_have_been_billed(answer, doubtful):
    step = submit(answer, asked_again(), replace(POLICY, on_unknown="hold"))
    assert (step.ending.completion, step.record.generation_id) == (BAD, "task-1")
    assert step.record.possible_duplicate == doubtful


@pytest.mark.parametrize(
    ("record", "ending"), [(asked_again(), cancelled(NOW)), (repaired(), abandoned(NOW))], ids=["ready", "pending"]
)
def test_a_run_that_a_person_ends_has_its_answer_in_the_dataset(record, ending):
    item = orjson.dumps({"i": 3, "r": orjson.loads(pack(record)), "e": ending_packed(ending)})
    made = columns_of([item], [3], ["m"], PRICES, 9)
    told = {name: values[0] for name, values in made.cells.items()}
    assert (told["outcome"], told["content"], told["generation_id"], told["cost"]) == (
        "completed",
        "bad",
        "task-1",
        0.0002,
    )
    assert (told.get("error_code"), told["attempts"]) == (None, record.attempts)
    ids, outcomes = (list(made.log[name]) for name in ("generation_id", "outcome"))
    assert ids == ["task-1", "task-2"][: record.attempts]
    assert outcomes == ["completed", "cancelled"][: record.attempts]
    assert next(iter(made.log["prompt_tokens"])) == 100
    assert next(iter(made.log["content"])) is None, "the kept answer's text is the row's own"


def test_the_kept_answer_has_its_place_in_the_log():
    record, ending = with_best(repaired(), Ending(Outcome.FAILED, NOW, problem=WRONG))
    item = orjson.dumps({"i": 3, "r": orjson.loads(pack(record)), "e": ending_packed(ending)})
    other = orjson.dumps({"i": 4, "r": {"a": 1, "g": "task-9", "s": 1}, "e": ending_packed(Ending(Outcome.FAILED, 2))})
    made = columns_of([item, other], [3, 4], ["m", "m"], PRICES, 9)
    assert made.log_sizes == [2, 1]
    assert list(made.log["generation_id"]) == ["task-1", "task-2", "task-9"]
    assert list(made.log["answer_status"])[1:] == [None, None]


def test_a_row_that_was_never_repaired_ends_as_it_ends():
    ending = Ending(Outcome.FAILED, NOW, problem=WRONG)
    assert with_best(FIRST, ending) == (FIRST, ending)


@pytest.mark.parametrize("record", [asked_again(), repaired(), asked_again(Completion())])
def test_a_record_keeps_its_unfit_answer_whole(record):
    assert unpack(pack(record)) == record


def test_a_step_without_an_answer_used_nothing():
    assert Step(State.PENDING, Event.NOT_READY, FIRST).used == Settled()
