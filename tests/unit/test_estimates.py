"""What a manifest will cost, as far as anything tells it, and what is said where nothing does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.costs import Price
from pipeline.core.estimates import (
    ANSWER_TOKENS,
    Lengths,
    Need,
    Range,
    Seen,
    around,
    described,
    estimate,
    estimate_lines,
)

PRICES = {"m": Price(input=1.0, output=10.0)}
SEEN = Seen(
    rows=40,
    prompt_tokens=Range(8_000, 10_000, 14_000),
    completion_tokens=Range(100, 200, 400),
    cost=Range(0.010, 0.012, 0.018),
)


def test_rows_that_say_how_long_their_video_is_are_estimated_by_that():
    told = estimate([Need("m", 10, 10, 600.0, prompt_characters=40.0)], {}, PRICES)
    likely = 10 * (60 * 290 + 10 + ANSWER_TOKENS.likely)
    assert told.tokens.likely == pytest.approx(likely)
    assert told.tokens.high == pytest.approx(10 * (60 * 640 + 10 + ANSWER_TOKENS.high))
    assert told.cost.likely == pytest.approx(10 * (17_410 * 1.0 + ANSWER_TOKENS.likely * 10) / 1e6)
    assert (told.rows, told.counted, told.priced) == (10, 10, 10)
    assert "600 s of video at 290 (up to 640) tokens a second" in told.basis[0]


def test_tokens_a_second_come_from_the_dataset_else_from_a_person():
    need = Need("m", 1, 1, 100.0, prompt_characters=400.0)
    answers = SEEN.completion_tokens.likely
    written = estimate([need], {"m": SEEN}, PRICES, 500.0)
    assert written.tokens.likely == pytest.approx(100 * 500 + 100 + answers)
    assert "500 tokens a second (tokens_per_second in vidbatch.toml)" in written.basis[0]
    measured = Seen(40, SEEN.prompt_tokens, SEEN.completion_tokens, SEEN.cost, Range(250, 300, 350))
    calibrated = estimate([need], {"m": measured}, PRICES, 500.0)
    assert calibrated.tokens.likely == pytest.approx(100 * 300 + answers), "the prompt is in what was measured"
    assert "300 (250 to 350) tokens a second, as in this dataset" in calibrated.basis[0]


def test_other_rows_take_what_the_datasets_last_rows_of_their_model_took():
    told = estimate([Need("m", 100)], {"m": SEEN}, {})
    assert told.cost == Range(1.0, pytest.approx(1.2), pytest.approx(1.8))
    assert told.tokens.likely == pytest.approx(100 * 10_200)
    assert told.basis == ("100 rows of m as the last 40 rows of it that completed in this dataset",)


def test_rows_of_which_nothing_is_known_are_told_and_not_made_up():
    told = estimate([Need("m", 3), Need("n", 2)], {"m": SEEN}, PRICES)
    assert (told.rows, told.counted, told.priced) == (5, 3, 3)
    assert told.basis[1] == "2 rows of n: unknown, without duration_s and an earlier answer in this dataset"
    lines = estimate_lines(described(told))
    assert lines[0].startswith("estimate for 3 of 5 rows, the rest unknown: about 30,600 tokens")


def test_a_mixed_manifest_is_partly_told_by_each():
    told = estimate([Need("m", 10, 4, 40.0)], {"m": SEEN}, PRICES)
    assert [basis.split(" of ")[0] for basis in told.basis] == ["4 rows", "6 rows"]
    assert (told.counted, told.priced) == (10, 10)


def test_without_a_price_money_is_what_tokens_cost_in_this_dataset_or_unknown():
    timed = Need("m", 1, 1, 100.0)
    assert estimate([timed], {}, {}).priced == 0
    told = estimate([timed], {"m": SEEN}, {})
    assert told.cost.likely == pytest.approx((29_000 + 200) * 0.012 / 10_200)


def test_long_prompts_cost_the_price_of_long_prompts():
    tiered = {"m": Price(input=1.0, output=0.0, input_long=2.0, long_prompt_tokens=200_000)}
    told = estimate([Need("m", 1, 1, 500.0)], {}, tiered)
    assert told.cost.likely == pytest.approx(0.145)
    assert told.cost.high == pytest.approx(0.64)


def test_a_plan_without_any_knowledge_says_so_in_its_first_line():
    lines = estimate_lines(described(estimate([Need("m", 1)], {}, {})))
    assert lines[0] == "estimate: unknown until the first answers"
    assert lines[1].startswith("  1 row of m: unknown")


def test_an_estimate_in_words_has_its_sums_first():
    [first, *_] = estimate_lines(described(estimate([Need("m", 1_000)], {"m": SEEN}, {})))
    assert first == "estimate: about 10.2M tokens (8.1M to 14.4M); about $12.00 ($10.00 to $18.00)"
    [first, *_] = estimate_lines(described(estimate([Need("m", 1, 1, 1.0)], {}, {})))
    assert first == "estimate: about 1,290 tokens (590 to 3,640); cost unknown"


@pytest.mark.parametrize("text", ["", "long", "-3", "0", "nan", "inf", "1e400", "12,5"])
def test_a_cell_that_is_no_number_of_seconds_is_not_known(text):
    lengths = Lengths()
    lengths.add("m", text)
    assert lengths == Lengths()


def test_seconds_are_summed_by_model():
    lengths = Lengths()
    for model, text in (("m", "1.5"), ("n", "2"), ("m", " 3 ")):
        lengths.add(model, text)
    assert (lengths.rows, lengths.seconds) == ({"m": 2, "n": 1}, {"m": 4.5, "n": 2.0})


def test_a_few_rows_are_a_wide_range():
    assert around(4, 10.0, 9.0, 11.0) == Range(5.0, 10.0, 20.0)
    assert around(5, 10.0, 9.0, 11.0) == Range(9.0, 10.0, 11.0)
    assert around(5, 10.0, 1.0, 2.0) == Range(1.0, 10.0, 10.0)


@given(
    st.integers(1, 10**6),
    st.floats(0, 1, exclude_min=True),
    st.floats(0.1, 10**5),
    st.one_of(st.none(), st.floats(1, 10**4)),
    st.booleans(),
)
def test_a_range_holds_what_is_likely(rows, timed, seconds, written, known):
    timed_rows = max(1, round(rows * timed))
    need = Need("m", rows, timed_rows, timed_rows * seconds, 100.0)
    told = estimate([need], {"m": SEEN} if known else {}, PRICES, written)
    for one in (told.tokens, told.cost):
        assert 0 < one.low <= one.likely * (1 + 1e-9)
        assert one.likely <= one.high * (1 + 1e-9)
    assert estimate_lines(described(told))
