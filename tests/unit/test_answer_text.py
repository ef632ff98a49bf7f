"""JSON among whatever else a model says."""

import time

import pytest

from pipeline.core.answer_text import pieces


def found(text, **options):
    return [piece.value for group in pieces(text, **options) for piece in group if piece.flaw is None]


def flaws(text):
    return [piece.flaw for group in pieces(text) for piece in group if piece.flaw is not None]


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        ' \n{"a": 1}\n',
        '\ufeff{"a": 1}',
        '```json\n{"a": 1}\n```',
        '```\n{"a": 1}\n```',
        '```{"a": 1}```',
        'Here it is:\n```json\n{"a": 1}\n```\nI hope that it helps {with} your [work].',
        'Sure! {"a": 1}',
        '{"a": 1} is what I see.',
        'As in [the manual], use {name: ...}: {"a": 1}',
        '```json\n{"a": 1}',
    ],
)
def test_json_is_found_whatever_stands_around_it(text):
    assert found(text)[0] == {"a": 1}


def test_a_text_that_is_json_is_taken_as_a_whole():
    assert found('"see {\\"a\\": 1}"') == ['see {"a": 1}']
    assert found("[1, 2]") == [[1, 2]]


def test_what_is_said_last_is_better():
    assert found('First {"a": 1}, no: {"a": 2}.') == [{"a": 2}, {"a": 1}]


def test_brackets_and_quotes_in_strings_are_no_brackets():
    assert found('So: {"a": "}{ \\" ]"} and on')[0] == {"a": '}{ " ]'}
    assert found('```json\n{"a": "```"}\n```')[0] == {"a": "```"}


@pytest.mark.parametrize("text", ['Well: {"a": {"b": 1}', 'Well: {"a": [{"b": 1}, {"b": 2}', '{"a": 1, "b": {"c": 2},'])
def test_a_part_of_a_broken_answer_is_no_answer(text):
    assert found(text) == []
    assert flaws(text)


def test_of_a_text_that_was_cut_only_what_stands_last_counts():
    assert found('First {"a": 1}, no: {"a": 2', cut=True) == []
    assert found('First {"a": 1}, no: {"a": 2}', cut=True) == [{"a": 2}]
    assert found('```json\n{"a": 1}\n```\n```json\n{"a"', cut=True) == []


@pytest.mark.parametrize("text", ["", "   ", "no JSON at all", "{}}}}", "[[[[", '"', "```", "``````", "\\", "{'a': 1}"])
def test_a_text_without_json_has_a_flaw(text):
    assert len(flaws(text)) + len(found(text)) > 0


@pytest.mark.parametrize(
    "piece",
    [
        "{",
        "[",
        '{"',
        '{"a":',
        '"',
        "\\",
        "```",
        "```\n",
        "{ ",
        "[ ",
        "{}",
        '{"a":1}',
        "[[",
        "}",
        "{\n\n",
        '{"a":"',
        "[1,",
    ],
)
def test_hostile_texts_take_no_longer_than_their_length(piece):
    def seconds(size):
        text = "x" + piece * (size // len(piece))
        began = time.process_time()
        assert len([*pieces(text)]) >= 1
        return time.process_time() - began

    seconds(10_000)
    short = min(seconds(250_000) for _ in range(3))
    assert seconds(2_000_000) < 8 * 4 * short + 0.3
