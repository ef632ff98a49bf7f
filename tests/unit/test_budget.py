"""What a run may spend: one reservation for each row in flight, made of what rows cost before."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.answers import Completion
from pipeline.core.budget import (
    Budget,
    Reservation,
    Spending,
    affordable,
    held_by_each,
    held_when_given,
    reservation,
    tells_usage,
    unpriced,
)
from pipeline.core.costs import Price
from pipeline.core.observations import Observed

CHEAP, DEAR = Price(input=1.0, output=10.0), Price(input=2.0, output=20.0)
GUESS = Reservation(22_000, 40_000)


def seen(model, *tokens, cost=2):
    return [Observed(model, 0, 1, prompt_tokens=count, cost_micro=cost * count) for count in tokens]


def test_without_a_cap_everything_can_be_afforded():
    assert affordable(Budget(), Spending(tokens=10**12, in_flight=9)) is None


def test_what_is_left_is_shared_out_in_reservations_and_rows_in_flight_have_theirs():
    spending = Spending(tokens=400, kept_tokens=100, in_flight=2, reserved=Reservation(100, 0))
    assert affordable(Budget(tokens=1_000), spending) == 3
    assert affordable(Budget(tokens=1_099), spending) == 3
    assert affordable(Budget(tokens=700), spending) == 0
    assert affordable(Budget(tokens=500), spending) == 0


def test_the_tighter_of_two_caps_counts():
    spending = Spending(tokens=100, cost_micro=900_000, reserved=Reservation(10, 50_000))
    assert affordable(Budget(cost=1.0, tokens=10_000), spending) == 2
    assert affordable(Budget(cost=1.0, tokens=105), spending) == 0


def test_while_nothing_is_known_one_row_goes_for_whatever_is_left():
    dear = Reservation(10**6, 10**6)
    assert affordable(Budget(cost=0.01), Spending(reserved=dear)) == 1
    assert affordable(Budget(cost=0.01), Spending(reserved=dear, in_flight=1)) == 0
    assert affordable(Budget(cost=0.01), Spending(reserved=dear, cost_micro=1)) == 0
    assert affordable(Budget(cost=0.01), Spending(reserved=dear, kept_cost_micro=1)) == 0


@given(
    st.integers(1, 10**9),
    st.integers(0, 10**9),
    st.integers(0, 10**6),
    st.integers(0, 500),
    st.integers(0, 10**6),
)
def test_all_that_is_reserved_fits_under_the_cap_unless_a_first_row_goes_alone(cap, settled, kept, in_flight, reserved):
    spending = Spending(tokens=settled, kept_tokens=kept, in_flight=in_flight, reserved=Reservation(reserved, 0))
    more = affordable(Budget(tokens=cap), spending)
    assert more >= 0
    if more and settled + kept + in_flight:
        assert settled + kept + (in_flight + more) * max(1, reserved) <= cap


@given(st.integers(1, 10**9), st.integers(0, 10**9), st.integers(0, 10**6), st.integers(0, 500), st.integers(1, 10**6))
def test_what_each_row_holds_when_a_permit_is_given_fits_under_the_cap(cap, settled, kept, in_flight, reserved):
    before = Spending(tokens=settled, kept_tokens=kept, in_flight=in_flight, reserved=Reservation(reserved, 1))
    more = affordable(Budget(tokens=cap), before)
    if more:
        held = held_by_each(Budget(tokens=cap), before)
        assert 0 < held.tokens <= reserved
        assert settled + kept + (in_flight + more) * held.tokens <= cap
        assert held.cost_micro == 1, "a cap that is not there holds nothing back"


def test_a_reservation_is_what_nineteen_of_twenty_rows_stay_under():
    assert reservation(seen("m", *range(1, 101)), ["m"], {}) == Reservation(95, 190)
    assert reservation(seen("m", *range(1, 21)), ["m"], {}) == Reservation(19, 38)


def test_of_five_rows_the_dearest_counts_and_of_fewer_twice_the_dearest():
    prices = {"m": CHEAP}
    assert reservation(seen("m", 10, 10, 10, 10, 50), ["m"], prices) == Reservation(50, 100)
    assert reservation(seen("m", 10, 10, 10, 50), ["m"], prices) == Reservation(100, 200)


def test_a_guess_stands_for_nothing_known_and_bounds_what_a_few_rows_say():
    assert reservation([], ["m"], {"m": CHEAP}) == GUESS
    assert reservation(seen("m", 20_000), ["m"], {"m": CHEAP}) == Reservation(22_000, 40_000)
    assert reservation(seen("m", 90_000), ["m"], {"m": CHEAP}) == Reservation(90_000, 180_000)


def test_rows_of_the_dearest_model_may_come_next_though_none_of_them_was_seen():
    observed = seen("m", *[10] * 50)
    assert reservation(observed, ["m"], {"m": CHEAP}) == Reservation(10, 20)
    assert reservation(observed, ["m", "other"], {"m": CHEAP, "other": DEAR}) == Reservation(22_000, 80_000)


def test_other_runs_models_say_nothing():
    assert reservation(seen("other", *[10] * 50), ["m"], {"m": CHEAP}) == GUESS


def test_money_that_nobody_knows_is_taken_at_the_dearest_price():
    assert reservation([], ["m"], {"a": CHEAP, "b": DEAR}).cost_micro == 80_000


def test_rows_whose_cost_nobody_knew_are_taken_at_the_price_of_now():
    observed = seen("m", *[1_000] * 5, cost=0)
    assert reservation(observed, ["m"], {"m": CHEAP}) == Reservation(1_000, 1_000)
    assert reservation(observed, ["m"], {"other": CHEAP}) == Reservation(1_000, 40_000)


def test_generations_that_used_nothing_say_nothing_of_what_a_row_uses():
    failed = [Observed("m", 0, 1, completed=False)] * 50
    assert reservation([*failed, *seen("m", *[10] * 5)], ["m"], {"m": CHEAP}) == Reservation(10, 20)


def test_nothing_is_ever_divided_by_a_reservation_of_nothing():
    free = Price(input=0.0, output=0.0)
    assert reservation([], ["m"], {"m": free}).cost_micro == 1
    assert reservation([], [], {}) == Reservation(22_000, 1)


def test_models_without_a_price_are_named():
    assert unpriced(["m", "n"], {"m": CHEAP}) == ["n"]


def test_only_an_answer_that_tells_all_tells_what_it_used():
    assert not any(map(tells_usage, (Completion(), Completion(prompt_tokens=1), Completion(completion_tokens=1))))
    assert tells_usage(Completion(prompt_tokens=1, completion_tokens=0))


def test_rows_in_flight_share_what_a_new_cap_has_left_and_what_it_has_not_is_told():
    one = Spending(tokens=700, cost_micro=5, kept_tokens=100, in_flight=4, reserved=Reservation(100, 9))
    assert held_when_given(Budget(tokens=1_000), one) == (Reservation(50, 9), 0, 0)
    assert held_when_given(Budget(tokens=9_000), one) == (Reservation(100, 9), 0, 0)
    assert held_when_given(Budget(tokens=500, cost=0.000002), one) == (Reservation(0, 0), 200, 3)
    assert held_when_given(Budget(tokens=9_000), Spending(reserved=Reservation(100, 9)))[0] == Reservation(0, 9)
