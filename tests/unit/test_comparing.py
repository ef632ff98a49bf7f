"""Two runs agree on a field as often as their answers say so."""

import pytest

from pipeline.core.comparing import SAMPLE, Comparison, Pair, Side, equal


def completed(answer=None, content="text", status="ok", **more):
    return Side("completed", status, content, answer, **more)


def compared(*sides):
    found = Comparison()
    for number, (a, b) in enumerate(sides):
        found.add(Pair(f"r{number}", None, a, b))
    return found


def test_rows_of_one_run_alone_are_counted_and_not_compared():
    found = compared((completed(), None), (None, completed()), (None, completed()), (completed(), completed()))
    assert (found.both, found.only_a, found.only_b, found.same, found.changed) == (1, 1, 2, 1, 0)


def test_an_outcome_that_changed_is_in_the_matrix_and_a_change():
    found = compared((completed(), Side("failed")), (completed(), completed()))
    assert found.outcomes == {("completed", "failed"): 1, ("completed", "completed"): 1}
    assert found.samples[0][1] == ["outcome", "answer_status", "content"]


def test_fields_are_compared_over_the_rows_in_which_both_have_an_answer():
    found = compared(
        (completed({"kind": "fox", "n": 2}), completed({"kind": "fox", "n": 5})),
        (completed({"kind": "fox", "n": 2}), completed({"kind": "owl", "n": 2.0})),
        (completed({"kind": "fox", "n": 2}), completed(None, status="invalid")),
    )
    fields = found.described()["fields"]
    assert (fields["kind"]["compared"], fields["kind"]["equal"]) == (2, 1)
    assert fields["n"] == {
        "compared": 2,
        "equal": 1,
        "share": 0.5,
        "mean_absolute_difference": 1.5,
        "same_length": None,
    }


def test_lists_are_compared_as_wholes_and_their_lengths_beside():
    found = compared(
        (completed({"tags": ["a", "b"]}), completed({"tags": ["b", "a"]})),
        (completed({"tags": ["a"]}), completed({"tags": ["a", "b"]})),
        (completed({"tags": ["a"]}), completed({"tags": ["a"]})),
    )
    tags = found.described()["fields"]["tags"]
    assert (tags["equal"], tags["same_length"]) == (1, pytest.approx(2 / 3))


def test_a_field_that_one_side_lacks_is_a_difference_and_that_both_lack_is_none():
    found = compared(
        (completed({"a": {"b": 1}}), completed({"a": None})), (completed({"a": None}), completed({"a": None}))
    )
    fields = found.described()["fields"]
    assert (fields["a.b"]["compared"], fields["a.b"]["equal"]) == (1, 0)
    assert (fields["a"]["compared"], fields["a"]["equal"]) == (1, 1)


def test_another_text_of_the_same_typed_answer_is_no_change():
    found = compared((completed({"a": 1}, "{'a': 1}"), completed({"a": 1}, "Sure: {'a': 1}")))
    assert (found.changed, found.same, found.other_text) == (0, 1, 1)


def test_another_text_of_rows_that_changed_is_counted_apart():
    found = compared(
        (completed({"a": 1}, "one"), completed({"a": 2}, "two")), (completed({"a": 1}, "one"), completed({"a": 1}, "1"))
    )
    assert (found.changed, found.other_text, found.changed_text) == (1, 2, 1)


def test_means_are_of_rows_that_tell_them():
    found = compared(
        (completed(cost=1.0, prompt_tokens=10), completed(cost=3.0)),
        (completed(cost=None, prompt_tokens=20), completed(cost=5.0)),
    )
    means = found.described()["per_row"]
    assert (means["a"]["cost"], means["a"]["prompt_tokens"], means["b"]["cost"]) == (1.0, 15.0, 4.0)
    assert means["b"]["prompt_tokens"] is None


def test_rates_of_statuses_are_of_answers_alone():
    found = compared((completed(status="invalid"), Side("failed")), (completed(status=None), completed()))
    assert found.described()["answer_status"] == {"a": {"invalid": 1, "not judged": 1}, "b": {"ok": 1}}


def test_other_videos_are_counted():
    found = compared((completed(videos=("1.mp4",)), completed(videos=("2.mp4",))), (completed(), completed()))
    assert found.other_videos == 1


def test_samples_are_few():
    found = compared(*((completed(content="a"), completed(content="b")) for _ in range(SAMPLE + 3)))
    assert (found.changed, len(found.samples)) == (SAMPLE + 3, SAMPLE)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        ([1, 2], [1, 2.0], True),
        ([True], [1], False),
        ({"a": [0]}, {"a": [False]}, False),
    ],
)
def test_values_are_equal_as_json_has_them(a, b, same):
    assert equal(a, b) is same
