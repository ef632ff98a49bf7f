"""What is shown of an answer while it is written: each text once, in order, and never the key."""

import pytest

from pipeline.cli.row_view import Written
from pipeline.core.lifecycle import Outcome
from pipeline.edges.one_row import RowEnd

KEY = "sk-0123456789"


class Answer:
    """An answer as far as it came."""

    def __init__(self, content="", reasoning=""):
        self.said = (reasoning, content)


@pytest.fixture
def screen():
    return {"thought": "", "written": ""}


@pytest.fixture
def written(screen):
    def to(name):
        def tell(text):
            screen[name] += text

        return tell

    return Written(think=to("thought"), write=to("written"), key=KEY)


def test_each_piece_is_shown_once_thoughts_apart_from_the_answer(written, screen):
    for answer in (
        Answer(reasoning="Let me"),
        Answer(reasoning="Let me see"),
        Answer("A", "Let me see"),
        Answer("A cat"),
    ):
        written.hear(answer)
    written.end(RowEnd(Outcome.COMPLETED, "Let me see", "A cat sleeps."))
    assert screen == {"thought": "Let me see\n", "written": "A cat sleeps."}


def test_a_stream_that_begins_anew_is_not_shown_twice(written, screen):
    for content in ("A cat", "", "A", "A cat sl"):
        written.hear(Answer(content))
    assert screen["written"] == "A cat sl"


def test_an_answer_that_is_another_than_what_was_shown_begins_on_a_line_of_its_own(written, screen):
    written.hear(Answer("A dog"))
    written.end(RowEnd(Outcome.COMPLETED, "", "A cat."))
    assert screen["written"] == "A dog\nA cat."


@pytest.mark.parametrize("cut", range(1, len(KEY)))
def test_a_key_that_comes_in_two_pieces_is_never_shown(written, screen, cut):
    written.hear(Answer("It is " + KEY[:cut]))
    assert screen["written"] == "It is "
    written.hear(Answer(f"It is {KEY}, is it?"))
    assert screen["written"] == "It is [key], is it?"
