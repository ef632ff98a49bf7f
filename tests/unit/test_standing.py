"""Which rows another run should ask for: the newest end holds, and nothing that was paid for is asked by the way."""

import pytest

from pipeline.core.lifecycle import Outcome
from pipeline.core.rows import Rows
from pipeline.core.standing import DEFAULT_OUTCOMES, End, Selection, family_of, newest, remains

USUAL = Selection(frozenset(DEFAULT_OUTCOMES))
WITH_UNKNOWN = Selection(frozenset({*DEFAULT_OUTCOMES, Outcome.UNKNOWN}))


@pytest.mark.parametrize(
    ("end", "usual", "with_unknown"),
    [
        (End(0, Outcome.COMPLETED), False, False),
        (End(0, Outcome.FAILED, "timeout"), True, True),
        (End(0, Outcome.CANCELLED, "cancelled"), True, True),
        (End(0, Outcome.REFUSED), False, False),
        (End(0, Outcome.EXPIRED, generation_id="g"), False, False),
        (End(0, Outcome.UNKNOWN), False, True),
        (End(0, Outcome.UNKNOWN, generation_id="g"), False, True),
        (End(0, Outcome.FAILED, "timeout", doubtful=True), True, True),
        (End(0, Outcome.CANCELLED, doubtful=True), False, True),
        (End(0, Outcome.CANCELLED, generation_id="g"), False, False),
        (End(0, Outcome.CANCELLED, generation_id="g", doubtful=True), False, False),
    ],
)
def test_what_may_have_been_paid_for_is_asked_again_only_when_a_person_names_it(end, usual, with_unknown):
    assert (USUAL.takes(end), WITH_UNKNOWN.takes(end)) == (usual, with_unknown)


def test_refused_and_expired_rows_are_asked_again_on_request():
    assert Selection(frozenset({Outcome.REFUSED})).takes(End(0, Outcome.REFUSED))
    assert Selection(frozenset({Outcome.EXPIRED})).takes(End(0, Outcome.EXPIRED, generation_id="g"))


def test_a_completed_row_is_asked_again_only_by_the_name_of_what_its_answer_is_worth():
    invalid = End(0, Outcome.COMPLETED, answer_status="invalid")
    chosen = Selection(USUAL.outcomes, frozenset({"timeout"}), frozenset({"invalid", "empty"}))
    assert chosen.takes(invalid), "it has no code that could narrow it"
    assert not chosen.takes(End(0, Outcome.COMPLETED, answer_status="ok"))
    assert not chosen.takes(End(0, Outcome.COMPLETED))
    assert not USUAL.takes(invalid)
    assert "answers" not in USUAL.described(), "retries under way are found by it"


def test_a_code_narrows_the_outcomes():
    timeouts = Selection(USUAL.outcomes, frozenset({"timeout"}))
    assert timeouts.takes(End(0, Outcome.FAILED, "timeout"))
    assert not timeouts.takes(End(0, Outcome.FAILED, "generation_failed"))


def test_only_expired_gone_and_abandoned_rows_with_an_id_are_collected():
    assert End(0, Outcome.EXPIRED, generation_id="g").collectable
    assert End(0, Outcome.CANCELLED, generation_id="g").collectable
    assert End(0, Outcome.UNKNOWN, generation_id="g").collectable
    assert not End(0, Outcome.UNKNOWN).collectable
    assert not End(0, Outcome.CANCELLED).collectable
    assert not End(0, Outcome.FAILED, generation_id="g").collectable


def test_the_newest_end_of_a_row_holds():
    first = [End(0, Outcome.FAILED), End(1, Outcome.FAILED), End(2, Outcome.COMPLETED)]
    second = [End(1, Outcome.COMPLETED)]
    assert list(newest([second, first])) == [second[0], first[0], first[2]]


@pytest.mark.parametrize("before", [End(0, Outcome.UNKNOWN), End(0, Outcome.EXPIRED, generation_id="g")])
def test_a_row_that_a_cancelled_retry_did_not_get_to_stands_where_it_stood(before):
    assert list(newest([[End(0, Outcome.CANCELLED)], [before]])) == [before]


def test_a_row_that_a_cancelled_retry_may_have_sent_stands_as_that_left_it():
    doubtful = End(0, Outcome.CANCELLED, doubtful=True)
    assert list(newest([[doubtful], [End(0, Outcome.FAILED)]])) == [doubtful]


EXPIRED = End(0, Outcome.EXPIRED, generation_id="g")


def test_a_collection_that_found_nothing_does_not_hide_the_id_that_it_was_given():
    runs = [[End(0, Outcome.UNKNOWN)], [End(0, Outcome.UNKNOWN)], [EXPIRED]]
    assert list(newest(runs, collections={0, 1})) == [EXPIRED]


def test_a_collection_without_the_run_that_it_collected_still_tells_its_rows():
    assert list(newest([[End(0, Outcome.UNKNOWN)]], collections={0})) == [End(0, Outcome.UNKNOWN)]


@pytest.mark.parametrize(
    "end", [End(0, Outcome.COMPLETED), End(0, Outcome.FAILED), End(0, Outcome.UNKNOWN, generation_id="g")]
)
def test_what_a_collection_found_holds(end):
    assert list(newest([[end], [EXPIRED]], collections={0})) == [end]


def test_a_retry_whose_post_is_in_doubt_holds():
    assert list(newest([[End(0, Outcome.UNKNOWN)], [EXPIRED]])) == [End(0, Outcome.UNKNOWN)]


def test_rows_of_other_runs_are_left_out():
    ends = [End(0, Outcome.FAILED), End(7, Outcome.FAILED)]
    assert list(newest([ends], Rows([7]))) == [ends[1]]


def test_a_set_of_rows_grows_as_it_must():
    rows = Rows([3, 1_000])
    assert (rows.add(3), rows.add(5), 5 in rows, 4 in rows, 9_999 in rows) == (False, True, True, False, False)


def test_what_is_left_of_a_run_is_counted_by_what_can_be_done():
    left = remains(
        [
            End(0, Outcome.COMPLETED),
            End(1, Outcome.FAILED, "timeout"),
            End(2, Outcome.CANCELLED, "cancelled"),
            End(3, Outcome.EXPIRED, "deadline", "g3"),
            End(4, Outcome.CANCELLED, "abandoned", "g4"),
            End(5, Outcome.UNKNOWN, "worker_lost"),
            End(6, Outcome.CANCELLED, "cancelled", doubtful=True),
            End(7, Outcome.REFUSED, "bad"),
            End(8, Outcome.UNKNOWN, "not_found", "g8"),
        ]
    )
    assert (left.collectable, left.again, left.unknown, left.refused) == (3, 2, 2, 1)
    assert sum(left.counts.values()) == 8
    assert left.counts[Outcome.CANCELLED, "cancelled"] == 2


def test_a_family_is_all_that_comes_from_one_run_newest_first():
    described = {
        "a": {},
        "b": {"retry_of": "a", "turn": 1},
        "c": {"collects": "b", "turn": 2},
        "d": {"retry_of": "a", "turn": 3},
        "e": {},
        "f": {"retry_of": "e", "turn": 1},
        "g": {"retry_of": "removed", "turn": 1},
    }
    assert family_of("b", described) == ["d", "c", "b", "a"]
    assert family_of("e", described) == ["f", "e"]
    assert family_of("g", described) == ["g"]
