"""What an answer is worth."""

import pytest

from pipeline.core.answering import AnswerStatus, Verdict
from pipeline.core.answers import Completion
from pipeline.core.judging import LONGEST_ANSWER, LONGEST_REASON, Judging
from pipeline.edges.schemas import checked_schema, judging_of

OK, TRUNCATED, INVALID, REFUSED, EMPTY = (
    AnswerStatus.OK,
    AnswerStatus.TRUNCATED,
    AnswerStatus.INVALID,
    AnswerStatus.REFUSED,
    AnswerStatus.EMPTY,
)
SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"enum": ["cat", "dog"]},
        "events": {
            "type": "array",
            "items": {"type": "object", "properties": {"start": {"type": "number"}, "odd name": {"type": "integer"}}},
        },
        "count": {"type": "integer"},
        "free": {"type": "object"},
    },
    "required": ["label"],
}


def judging(schema=None):
    return judging_of({"answer_schema": schema or SCHEMA})


def judged(content, finish_reason="stop", refusal=None, schema=None):
    return judging(schema)(Completion(content=content, finish_reason=finish_reason, refusal=refusal))


@pytest.mark.parametrize(
    ("content", "finish_reason", "refusal", "status"),
    [
        ("A cat.", "stop", None, OK),
        ("A ca", "length", None, TRUNCATED),
        (None, "stop", None, EMPTY),
        (" \n", "stop", None, EMPTY),
        ("", None, None, EMPTY),
        ("", "length", None, TRUNCATED),
        (None, "stop", "I can't help with that.", REFUSED),
        ("A cat.", "stop", "I can't help with that.", REFUSED),
        ("A c", "content_filter", None, REFUSED),
        (None, "content_filter", None, REFUSED),
    ],
)
def test_an_answer_has_a_status_without_a_schema_too(content, finish_reason, refusal, status):
    plain = Judging()(Completion(content=content, finish_reason=finish_reason, refusal=refusal))
    assert (plain.status, plain.value) == (status, None)
    with_schema = judged(content, finish_reason, refusal).status
    assert with_schema is (INVALID if status is OK else status)


def test_a_refusal_says_what_the_model_said():
    assert judged(None, refusal="I can't\nhelp.").error == "I can't help."
    assert judged(None, "content_filter").error == "finish_reason content_filter"


def test_a_valid_answer_comes_in_its_shape():
    verdict = judged('{"label": "cat", "events": [{"start": 1}, {}], "count": 2.0, "free": {"a": [1]}, "more": 1}')
    assert verdict == Verdict(
        OK,
        {
            "label": "cat",
            "events": [{"start": 1.0, "odd name": None}, {"start": None, "odd name": None}],
            "count": 2,
            "free": '{"a":[1]}',
        },
    )
    assert (type(verdict.value["count"]), type(verdict.value["events"][0]["start"])) == (int, float)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ('{"label": "cow"}', '$.label: the value is not one of "cat" or "dog"; found "cow"'),
        ('{"events": []}', '$: "label" is a required property'),
        (
            '{"label": "cat", "events": [{}, {}, {"start": "soon"}]}',
            '$.events[2].start: the value is not of type "number"; found "soon"',
        ),
        (
            '{"label": "cat", "events": [{"odd name": 1.5}]}',
            '$.events[0]["odd name"]: the value is not of type "integer"; found 1.5',
        ),
        (
            '{"label": "cat", "count": 18446744073709551615}',
            "$.count: found 18446744073709551615; its column holds a whole number of 64 bits",
        ),
        ('{"label": "cat", "count": 1e30}', "$.count: found 1e+30; its column holds a whole number of 64 bits"),
    ],
)
def test_an_invalid_answer_says_where_and_why(content, error):
    assert judged(content) == Verdict(INVALID, None, error)


def test_a_text_without_json_says_so():
    assert judged("A cat.").error.startswith("$: found no valid JSON: ")


def test_what_fits_the_schema_and_no_column_is_invalid():
    loose = {"properties": {"a": {"items": {"type": "integer"}}}}
    assert judged("5", schema=loose).error == "$: found 5; its column holds an object"
    assert judged('{"a": 5}', schema=loose).error == "$.a: found 5; its column holds a list"


@pytest.mark.parametrize("text", ['{"label": "\\ud800"}', '{"label": "\ud800"}', '{"label": "cat", "\\udfff": 1}'])
def test_half_a_character_is_invalid(text):
    verdict = judged(text, schema={"properties": {"label": {"type": "string"}}})
    assert (verdict.status, verdict.value) == (INVALID, None)
    verdict.error.encode()


def test_errors_are_short_whatever_the_model_said():
    for content in ('{"label": "' + "x" * 100_000 + '"}', '{"' + "y" * 100_000 + '": 1}', "[" * 100_000, "{" * 100_000):
        assert len(judged(content).error) < LONGEST_REASON + 200
    closed = {"type": "object", "additionalProperties": False, "properties": {"a": {"type": "string"}}}
    assert len(judged('{"' + "y" * 100_000 + '": 1}', schema=closed).error) < LONGEST_REASON + 200


def test_a_cut_answer_is_truncated_unless_it_is_whole_and_valid():
    assert judged('{"label": "cat"', "length").status is TRUNCATED
    assert judged('{"label": "cow"}', "length").status is TRUNCATED
    assert judged('```json\n{"label": "cat"}\n```', "length").status is OK
    assert judged('{"label": "dog"} No: {"label": "cat", "events": [', "length").status is TRUNCATED


def test_the_valid_one_of_several_is_the_answer_and_of_those_the_last():
    assert judged('As in [1]: {"label": "dog"}. Rather {"label": "cat"}. See {"x": 1}.').value["label"] == "cat"


def test_a_flood_is_kept_and_not_read():
    assert judged('{"label": "cat"}' + " " * LONGEST_ANSWER).error.startswith("$: an answer of 2,097,168 characters")


def test_nesting_without_end_is_invalid():
    assert judged('{"label": "cat", "free": ' + '{"a":' * 300 + "1" + "}" * 301).status in {OK, INVALID}
    assert judged('{"label": "cat", "free": ' + '{"a":' * 5000 + "1" + "}" * 5001).status is INVALID


def test_columns_are_null_where_nothing_was_answered():
    cells = judging().columns([{"content": '{"label": "cat"}'}, None, {"content": "?"}])
    assert cells["answer_status"] == ["ok", None, "invalid"]
    assert [bool(error) for error in cells["answer_error"]] == [False, False, True]
    assert [value and value["label"] for value in cells["answer"]] == ["cat", None, None]
    assert Judging().columns([{"content": "A cat."}, None, {}]) == {
        "answer_status": ["ok", None, "empty"],
        "answer_error": [None, None, None],
    }


class Labels:
    @staticmethod
    def model_json_schema():
        return {"type": "object", "properties": {"label": {"type": "string"}}}


def test_a_class_that_tells_its_schema_is_one():
    assert checked_schema(Labels).shape == {"struct": {"label": "text"}}
