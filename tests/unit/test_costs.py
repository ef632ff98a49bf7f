"""What an answer cost, by what the API said or by the price list."""

from datetime import date

import pytest

from pipeline.core.answers import Completion
from pipeline.core.costs import Price, in_micro, money, price_of

FLAT = Price(input=1.0, output=10.0)
TIERED = Price(input=1.25, output=10.0, input_long=2.5, output_long=15.0, long_prompt_tokens=200_000)
HALF_TIERED = Price(input=1.0, output=2.0, output_long=4.0, long_prompt_tokens=100)


@pytest.mark.parametrize(
    ("price", "prompt", "completion", "cost"),
    [
        (FLAT, 1_000_000, 1_000_000, 11.0),
        (FLAT, 0, 0, 0.0),
        (FLAT, 1_000_000, None, 1.0),
        (TIERED, 200_000, 1_000, 0.26),
        (TIERED, 200_001, 1_000, (200_001 * 2.5 + 15_000) / 1e6),
        (HALF_TIERED, 101, 1_000_000, 4.000101),
        (Price(1.0, 2.0, 9.0, 9.0), 10**6, 0, 1.0),
    ],
)
def test_tokens_are_paid_at_the_price_of_their_tier(price, prompt, completion, cost):
    answer = Completion(prompt_tokens=prompt, completion_tokens=completion)
    assert price_of(answer, {"m": price}, "m") == pytest.approx(cost)


def test_the_apis_own_cost_comes_first():
    assert price_of(Completion(cost=0.5, prompt_tokens=9), {"m": FLAT}, "m") == 0.5
    assert price_of(Completion(cost=0.5), {}, "m") == 0.5


def test_an_api_that_tells_0_tells_nothing_where_there_is_a_price():
    assert price_of(Completion(cost=0.0, prompt_tokens=9), {"m": FLAT}, "m") == FLAT.of(9, 0)
    assert price_of(Completion(cost=0.0, prompt_tokens=9), {}, "m") == 0.0


def test_money_is_summed_in_whole_millionths():
    assert [in_micro(cost) for cost in (None, 0.0, 0.0123456, 1e9)] == [0, 0, 12_346, 10**12]


def test_what_is_not_known_costs_nothing_that_could_be_told():
    assert price_of(Completion(prompt_tokens=9), {}, "m") is None
    assert price_of(Completion(prompt_tokens=9), {"other": FLAT}, "m") is None
    assert price_of(Completion(completion_tokens=9), {"m": FLAT}, "m") is None


@pytest.mark.parametrize(
    ("as_of", "old"), [("2026-05-01", False), ("2025-11-23", False), ("2025-11-21", True), ("", False)]
)
def test_a_price_of_more_than_a_year_ago_is_old_and_one_without_a_day_is_not(as_of, old):
    assert Price(1.0, 2.0, as_of=as_of).is_old(date(2026, 11, 22)) is old


def test_small_amounts_keep_the_digits_that_matter():
    assert [money(cost) for cost in (0.0123, 1.5, 12_345.678)] == ["$0.0123", "$1.50", "$12,345.68"]
