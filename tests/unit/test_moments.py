"""Moments are found in answers, whatever a model calls their bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.moments import DEEPEST, Moment, moments_in, moments_of, moments_of_text, seconds_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["start", "end", "label", "from", "x"]), inner),
)


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (0, 0),
        (1.5, 1.5),
        ("12", 12),
        ("12.5s", 12.5),
        ("01:30", 90),
        ("1:02:03.5", 3723.5),
        (" 0:05,250 ", 5.25),
        ("75:00", 4500),
    ],
)
def test_a_time_is_a_number_or_a_clock(told, seconds):
    assert seconds_of(told) == seconds


@pytest.mark.parametrize(
    "told", [None, True, -1, "-1", "", "soon", "1:2:3:4", float("nan"), float("inf"), 1e12, 10**400, "٣", [1], "1e3"]
)
def test_anything_else_is_no_time(told):
    assert seconds_of(told) is None


@pytest.mark.parametrize(
    ("first", "last"), [("start", "end"), ("start_s", "end_s"), ("start_time", "end_time"), ("from", "to")]
)
def test_bounds_have_several_names(first, last):
    assert moments_of({"events": [{first: 1, last: "0:02", "label": "dog"}]}) == [Moment(1, 2, "dog", {})]


@pytest.mark.parametrize("name", ["label", "name", "event", "action", "title", "what_happens"])
def test_a_label_is_found_under_its_name_or_is_the_first_text(name):
    [moment] = moments_of([{"start": 1, "end": 2, "sure": True, name: "dog", "z": "later"}])
    assert (moment.label, moment.more) == ("dog", {"sure": True, "z": "later"})


def test_moments_come_in_the_answers_order_from_however_deep():
    answer = {"scenes": [{"start": 5, "end": 9, "label": "b"}, {"parts": [{"start": 1, "end": 2, "label": "a"}]}]}
    assert [one.label for one in moments_of(answer)] == ["b", "a"]


@pytest.mark.parametrize(
    "told", [{"start": 2, "end": 1}, {"start": 1}, {"start": "x", "end": 2}, {"end": 2}, {"start": None, "end": 2}]
)
def test_what_has_no_stretch_of_time_is_no_moment(told):
    assert moments_of([told]) == []


def test_an_object_outside_a_list_is_no_moment():
    assert moments_of({"start": 1, "end": 2, "label": "x"}) == []


def test_nesting_has_an_end():
    deep = [{"start": 1, "end": 2}]
    for _ in range(DEEPEST + 1):
        deep = [deep]
    assert moments_of(deep) == []


@pytest.mark.parametrize(
    "line",
    [
        "0:05 - 0:12 a dog barks",
        "[00:05] \u2013 [00:12]: a dog barks",
        "- 00:00:05.0 --> 00:00:12 a dog barks",
        "* 0:05 to 0:12 - a dog barks",
    ],
)
def test_a_line_of_text_tells_a_moment(line):
    assert moments_of_text(f"Here is what I see:\n{line}\nThat is all.") == [Moment(5, 12, "a dog barks", {})]


@pytest.mark.parametrize("line", ["0:12 - 0:05 backwards", "at 0:05 a dog barks", "0:05 - 0:12", "5 - 12 apples"])
def test_other_lines_tell_none(line):
    assert moments_of_text(line) == []


def test_an_answer_without_a_fixed_shape_is_read_from_its_json():
    assert moments_in('[{"from": 1, "to": 2, "label": "x"}]', None) == [Moment(1, 2, "x", {})]
    assert moments_in("no JSON", "0:01 - 0:02 x") == [Moment(1, 2, "x", {})]
    assert moments_in(None, None) == []
    assert moments_in({}, "0:01 - 0:02 x") == []


@given(JSON)
def test_no_answer_is_too_odd(answer):
    for one in moments_of(answer):
        assert 0 <= one.start <= one.end


@given(st.text())
def test_no_text_is_too_odd(text):
    for one in moments_of_text(text):
        assert 0 <= one.start <= one.end
