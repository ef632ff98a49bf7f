"""How patient a run is has bounds, whoever makes the policy: a command, or the card of a run."""

import pytest

from pipeline.core.policy import Policy


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("poll_cost", 0.0005, "a number from 0.001 to 86,400"),
        ("poll_cost", 86_401, "a number from 0.001 to 86,400"),
        ("poll_cost", float("nan"), "a number from 0.001 to 86,400"),
        ("missing_for_s", -1, "a number from 0"),
        ("lease_s", 0, "a number above 0"),
        ("lease_s", float("inf"), "a number above 0"),
        ("max_attempts", 0, "a whole number from 1 on"),
        ("first_rows", 1.5, "a whole number from 1 on"),
        ("repairs", 11, "a whole number from 0 to 10"),
        ("repairs", -1, "a whole number from 0 to 10"),
        ("repairs", 0.5, "a whole number from 0 to 10"),
        ("on_unknown", "guess", "resubmit or hold"),
    ],
)
def test_a_policy_out_of_bounds_says_what_is_allowed(name, value, allowed):
    with pytest.raises(ValueError, match=name) as refused:
        Policy(**{name: value})
    assert str(refused.value).endswith(f"allowed is {allowed}")


@pytest.mark.parametrize(
    ("name", "value"), [("missing_for_s", 0), ("poll_cost", 0.001), ("lease_s", 1), ("first_rows", 1)]
)
def test_a_policy_may_be_at_its_bounds(name, value):
    assert getattr(Policy(**{name: value}), name) == value
