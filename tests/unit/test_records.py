"""Records and endings survive their way through the ledger unchanged."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.answers import Completion, Problem
from pipeline.core.lifecycle import Outcome
from pipeline.core.records import (
    Attempt,
    Ending,
    Result,
    RowRecord,
    Unfit,
    pack,
    pack_ending,
    saved_line,
    unpack,
    unpack_result,
    with_attempt,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
COUNTS = st.integers(0, 2**63 - 1)
MONEY = st.floats(0, allow_nan=False, allow_infinity=False)
ATTEMPTS = st.builds(
    Attempt,
    st.none() | TEXT,
    COUNTS,
    st.sampled_from(Outcome),
    st.none() | COUNTS,
    st.none() | COUNTS,
    st.none() | MONEY,
    *[st.none() | COUNTS] * 4,
    st.none() | MONEY,
    st.none() | MONEY,
    st.none() | TEXT,
    st.none() | TEXT,
)
COMPLETIONS = st.builds(
    Completion, content=st.none() | TEXT, prompt_tokens=st.none() | COUNTS, cost=st.none() | MONEY, response=TEXT
)
UNFITS = st.builds(
    Unfit, COMPLETIONS, TEXT, st.none() | COUNTS, COUNTS, TEXT, st.none() | TEXT, cap=COUNTS, polls=COUNTS
)
RECORDS = st.builds(
    RowRecord,
    attempts=COUNTS,
    polls=COUNTS,
    generation_id=st.none() | TEXT,
    submitted_at=st.none() | COUNTS,
    watched_ms=COUNTS,
    looked_at_ms=COUNTS,
    missing=COUNTS,
    missing_since_ms=COUNTS,
    resubmits=COUNTS,
    possible_duplicate=st.booleans(),
    given_up=st.none() | TEXT,
    recovered=st.booleans(),
    repairs=COUNTS,
    cap=COUNTS,
    unfit=st.none() | UNFITS,
    log=st.lists(ATTEMPTS, max_size=3).map(tuple),
)
PROBLEMS = st.builds(Problem, TEXT, TEXT, st.none() | TEXT, st.none() | st.integers(100, 599))
ENDINGS = st.builds(Ending, st.sampled_from(Outcome), COUNTS, st.none() | COMPLETIONS, st.none() | PROBLEMS)


@given(RECORDS)
def test_a_record_comes_back_as_it_was(record):
    assert unpack(pack(record)) == record


@given(st.integers(0, 2**40), RECORDS, ENDINGS)
def test_a_result_comes_back_as_it_was(row_index, record, ending):
    packed = b'{"i":%d,"r":%b,"e":%b}' % (row_index, pack(record), pack_ending(ending))
    assert unpack_result(packed) == Result(row_index, record, ending)


@pytest.mark.parametrize("nothing", [None, b"", b"{}"])
def test_nothing_at_all_is_a_fresh_record(nothing):
    assert unpack(nothing) == RowRecord()


def test_a_fresh_record_takes_two_bytes():
    assert pack(RowRecord()) == b"{}"


def test_a_record_keeps_only_what_differs_from_a_fresh_one():
    assert orjson.loads(pack(RowRecord(attempts=1, generation_id="task-1"))) == {"a": 1, "g": "task-1"}


def test_an_ending_leaves_out_what_the_api_did_not_say():
    ending = Ending(Outcome.COMPLETED, 5, Completion(content=""))
    assert orjson.loads(pack_ending(ending)) == {"o": "completed", "t": 5, "c": {"content": ""}}


@given(RECORDS.filter(lambda record: not record.possible_duplicate))
def test_no_text_in_a_record_looks_like_the_mark_of_a_possible_duplicate(record):
    assert b'"q":true' not in pack(record)


@given(RECORDS.filter(lambda record: record.unfit is None))
def test_no_text_in_a_record_looks_like_the_mark_of_an_answer_that_is_asked_for_again(record):
    assert b'"f":{' not in pack(record)


def test_an_entry_of_the_log_leaves_out_what_nobody_knows():
    assert Attempt("a", 1, Outcome.FAILED).packed() == ["a", 1, "failed"]
    assert unpack(b'{"l":[["a",1,"failed",7,null,0.5]]}').log == (Attempt("a", 1, "failed", 7, None, 0.5),)


def test_a_saved_id_says_of_which_attempt_it_is_and_whether_the_row_was_resent():
    record = RowRecord(attempts=2, generation_id="task-2", submitted_at=5, resubmits=1)
    assert orjson.loads(saved_line(7, record)) == [7, "task-2", 5, 2, 1]


def test_an_attempt_is_added_at_the_end_of_the_log():
    one, two = Attempt("a", 1, Outcome.FAILED), Attempt(None, 2, Outcome.UNKNOWN)
    assert with_attempt(with_attempt(RowRecord(), one), two).log == (one, two)
