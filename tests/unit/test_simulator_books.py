import math
import random
from hashlib import sha256

import pytest

from pipeline.simulator.billing import COMPLETED, OPEN, Asked, Books, Charge, cost_of
from pipeline.simulator.identifiers import Identifiers
from pipeline.simulator.settings import LIST_PRICES

DIGEST = sha256(b"digest").digest()


def asked(number=0, **more):
    return Asked("m", sha256(b"%d" % number).digest(), (f"https://a.example/{number}.mp4",), **more)


def test_a_generation_bills_when_it_ends_and_not_before():
    books = Books(LIST_PRICES, epoch=1000.0)
    sequence = books.accept(asked(), now=5.0)
    books.plan(sequence, 7.0, COMPLETED, Charge(prompt=100, completion=10), DIGEST)
    books.settle(6.9)
    assert (books.read(sequence).outcome, books.read(sequence).charge.prompt, books.totals.cost) == (OPEN, 0, 0)
    books.settle(7.0)
    post = books.read(sequence)
    assert (post.outcome, post.charge.prompt, post.received_at) == (COMPLETED, 100, 1005.0)
    assert books.totals.cost == post.cost == pytest.approx((100 * 1.25 + 10 * 10) / 1e6)


def test_what_was_asked_is_read_back_as_it_was():
    books = Books(LIST_PRICES, epoch=0.0)
    wanted = [
        asked(0),
        Asked(
            "other", sha256(b"p").digest(), ("https://a.example/é.mp4", "https://b.example/v.mp4"), 17, reasoning=True
        ),
        asked(2, max_tokens=2**40),
    ]
    sequences = [books.accept(one, 1.0) for one in wanted]
    assert [books.read(sequence).asked for sequence in sequences] == wanted


def test_most_open_is_the_greatest_number_at_one_time():
    books = Books(LIST_PRICES, epoch=0.0)
    for start in (0.0, 1.0, 2.0, 10.0):
        books.plan(books.accept(asked(), start), start + 5, COMPLETED, Charge(), DIGEST)
    assert (books.most_open, books.open) == (3, 1)


def test_a_stuck_generation_stays_open_for_ever():
    books = Books(LIST_PRICES, epoch=0.0)
    sequence = books.accept(asked(), 0.0)
    books.plan(sequence, math.inf, COMPLETED, Charge(prompt=1), DIGEST)
    books.settle(1e12)
    assert books.open == 1
    assert books.progress(sequence, 1e12) < 1


def test_progress_grows_to_the_end():
    books = Books(LIST_PRICES, epoch=0.0)
    sequence = books.accept(asked(), 0.0)
    books.plan(sequence, 10.0, COMPLETED, Charge(), DIGEST)
    seen = []
    for now in (0.0, 2.0, 9.99, 10.0):
        books.settle(now)
        seen.append(books.progress(sequence, now))
    assert seen == [0.0, pytest.approx(0.2), 0.99, None]


def test_polls_are_counted_before_and_after_the_end():
    books = Books(LIST_PRICES, epoch=0.0)
    sequence = books.accept(asked(), 0.0)
    books.plan(sequence, 1.0, "timeout", Charge(), DIGEST)
    books.poll(sequence)
    books.settle(2.0)
    books.poll(sequence)
    post = books.read(sequence)
    assert (post.polls, post.outcome, books.totals.failed) == (2, "timeout", 1)


def test_a_post_is_answered_from_when_it_was_until_it_proves_lost():
    books = Books(LIST_PRICES, epoch=0.0)
    one, other = books.accept(asked(0), 0.0), books.accept(asked(1), 0.0)
    books.answer(other, True)
    books.answer(other, True)
    assert (books.read(one).answered, books.read(other).answered, books.answered) == (False, True, 1)
    books.answer(other, False)
    books.answer(one, False)
    assert (books.read(other).answered, books.answered) == (False, 0)


def test_long_prompts_cost_more_for_input_and_output():
    assert cost_of(Charge(200_000, 1_000_000), LIST_PRICES) == pytest.approx(0.25 + 10)
    assert cost_of(Charge(200_001, 1_000_000), LIST_PRICES) == pytest.approx(0.5000025 + 15)


def test_a_generation_takes_a_few_hundred_bytes():
    books = Books(LIST_PRICES, epoch=0.0)
    for number in range(1000):
        books.accept(asked(number), 0.0)
    kept = len(books._records) + len(books._urls) + 8 * len(books._url_ends)
    assert kept < 200 * 1000


def test_an_id_tells_its_sequence_to_the_one_who_made_it():
    ids = Identifiers(random.Random(3))
    made = {ids.encode(sequence, 1776874565): sequence for sequence in range(2000)}
    assert len(made) == 2000
    assert all(ids.decode(text) == (sequence, 1776874565) for text, sequence in made.items())


@pytest.mark.parametrize(
    "text", ["", "task-llmrouter-", "task-llmrouter-1-short", "task-llm-1-abcdefgh", "task-llmrouter-x-abcdefgh", "é"]
)
def test_what_is_no_id_of_ours_is_told_apart(text):
    assert Identifiers(random.Random(3)).decode(text) is None
