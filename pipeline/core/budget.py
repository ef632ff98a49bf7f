"""What a run may spend: a reservation for each row in flight, settled with real usage."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.core.answers import Completion
from pipeline.core.costs import MICRO, PriceList
from pipeline.core.observations import Observed

GUESSED_PROMPT_TOKENS = 20_000
"""A minute of video at 290 tokens a second, and a little; also the vendor's own figure for half a minute."""

GUESSED_COMPLETION_TOKENS = 2_000
"""An answer of a page, thinking included."""

FEW = 5
"""Fewer rows than this say little of how much the dearest one costs."""

FEW_TIMES = 2
"""While few rows are known, the next one may cost this many times the dearest of them."""

SHARE = 0.95
"""The share of rows that cost no more than their reservation. To cover all would leave a cap half used because of one
long video; the 5% that cost more are the overshoot that is told."""


MOST_TOKENS = 10**12
"""An answer adds no more to a sum: no honest one comes near, and sums stay numbers that every part can add."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The caps of a run: `cost` in the currency of the prices, `tokens` of prompts and answers; None is no cap."""

    cost: float | None = None
    tokens: int | None = None

    @property
    def cost_micro(self) -> int | None:
        """The cap on money in millionths."""
        return None if self.cost is None else round(self.cost * MICRO)

    @property
    def caps(self) -> bool:
        """Whether there is a cap at all."""
        return self.cost is not None or self.tokens is not None


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one row in flight may cost: tokens, and millionths of the currency."""

    tokens: int = 0
    cost_micro: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """What POSTs really used: tokens of prompts and answers, and millionths of the currency.

    `kept` counts those that may have been billed and never told; each keeps a reservation.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_micro: int = 0
    kept: int = 0


def tells_usage(answer: Completion) -> bool:
    """Whether an answer tells all that it used: one that does not would be free for a budget, or nearly."""
    return bool(answer.prompt_tokens) and answer.completion_tokens is not None


def used_by(answer: Completion | None, cost_micro: int) -> Settled:
    """What an answer used, as it is summed; nothing without one."""
    if answer is None:
        return Settled()
    tokens = [min(count or 0, MOST_TOKENS) for count in (answer.prompt_tokens, answer.completion_tokens)]
    return Settled(tokens[0], tokens[1], cost_micro)


@dataclass(frozen=True, slots=True)
class Spending:
    """What a run spent, and may yet; tokens, and millionths of the currency.

    `tokens` and `cost_micro` were settled with real usage; the kept ones are reservations of rows that may have been
    billed and never told; each of `in_flight` rows holds one `reserved`. `over` sums what POSTs cost beyond what they
    held, of those that settled since the last permit, and what was spent beyond a cap before it was given.
    """

    tokens: int = 0
    cost_micro: int = 0
    kept_tokens: int = 0
    kept_cost_micro: int = 0
    in_flight: int = 0
    reserved: Reservation = Reservation()
    over_tokens: int = 0
    over_cost_micro: int = 0


def affordable(budget: Budget, spending: Spending) -> int | None:
    """How many more rows the tighter cap lets go; None without a cap. The claim script decides by the same rule.

    While nothing is spent, kept or in flight, one row goes alone for whatever is left: only it can tell what rows cost.
    """
    spent, reserved = spending, spending.reserved
    rows = [
        _affordable(cap, settled, kept, one, spending.in_flight)
        for cap, settled, kept, one in (
            (budget.tokens, spent.tokens, spent.kept_tokens, reserved.tokens),
            (budget.cost_micro, spent.cost_micro, spent.kept_cost_micro, reserved.cost_micro),
        )
        if cap is not None
    ]
    return min(rows, default=None)


def _affordable(cap: int, settled: int, kept: int, reserved: int, in_flight: int) -> int:
    left = cap - settled - kept
    if left <= 0:
        return 0
    first = 1 if in_flight == settled == kept == 0 else 0
    return max(first, left // max(1, reserved) - in_flight, 0)


def held_by_each(budget: Budget, spending: Spending) -> Reservation:
    """What each row in flight holds of the caps as a permit is given: its reservation, or less where one goes alone.

    At these amounts all that is in flight fits; so a cap is overshot by no more than what rows cost beyond them.
    """
    reserved, tokens, micro = spending.reserved, budget.tokens, budget.cost_micro
    return Reservation(
        _held(tokens, spending.tokens + spending.kept_tokens, reserved.tokens),
        _held(micro, spending.cost_micro + spending.kept_cost_micro, reserved.cost_micro),
    )


def _held(cap: int | None, used: int, reserved: int) -> int:
    return reserved if cap is None else min(reserved, cap - used)


def held_when_given(budget: Budget, spending: Spending) -> tuple[Reservation, int, int]:
    """What each row in flight holds of caps that were just given, and the tokens and millionths spent beyond them.

    Those rows went without a permit under these caps, so they share what is left; so does `lua/parts/given_cap.lua`.
    """
    tokens, micro, one = budget.tokens, budget.cost_micro, spending
    held = Reservation(
        _shared(tokens, one.tokens + one.kept_tokens, one.in_flight, one.reserved.tokens),
        _shared(micro, one.cost_micro + one.kept_cost_micro, one.in_flight, one.reserved.cost_micro),
    )
    return held, _beyond(tokens, one.tokens), _beyond(micro, one.cost_micro)


def _shared(cap: int | None, used: int, in_flight: int, reserved: int) -> int:
    if cap is None:
        return reserved
    return min(reserved, max(0, cap - used) // in_flight) if in_flight else 0


def _beyond(cap: int | None, spent: int) -> int:
    return 0 if cap is None else max(0, spent - cap)


def reservation(observed: Sequence[Observed], models: Iterable[str], prices: PriceList) -> Reservation:
    """What one row of these models may cost: the 95th percentile of what was seen, of the dearest model.

    A guess for a model of which nothing was seen, whatever rows of the others cost: its own may come next. Never 0, by
    which nothing could be divided. Money that nobody knows, of a model without a price, is taken at the dearest price
    configured.
    """
    each = [_of_model([one for one in observed if one.model == model], model, prices) for model in models]
    each = each or [_of_model([], "", prices)]
    return Reservation(max(one.tokens for one in each), max(one.cost_micro for one in each))


def _of_model(observed: Sequence[Observed], model: str, prices: PriceList) -> Reservation:
    tokens = [total for one in observed if (total := one.prompt_tokens + one.completion_tokens)]
    costs = [cost for one in observed if (cost := _cost_of(one, prices))]
    guessed = GUESSED_PROMPT_TOKENS + GUESSED_COMPLETION_TOKENS
    return Reservation(_reserved(tokens, guessed), _reserved(costs, _guessed_cost(model, prices)))


def _cost_of(one: Observed, prices: PriceList) -> int:
    """What it cost; at today's price where nobody knew one then, and 0 where nobody does now."""
    if one.cost_micro or one.model not in prices:
        return one.cost_micro
    return math.ceil(prices[one.model].of(one.prompt_tokens, one.completion_tokens) * MICRO)


def _reserved(seen: Sequence[int], guess: int) -> int:
    """The nearest-rank percentile; of a few rows twice the dearest, or a lower guess, but no less than the dearest."""
    if not seen:
        return max(1, guess)
    if len(seen) < FEW:
        return max(1, *seen, min(guess, FEW_TIMES * max(seen)))
    return max(1, sorted(seen)[math.ceil(SHARE * len(seen)) - 1])


def _guessed_cost(model: str, prices: PriceList) -> int:
    known = [prices[model]] if model in prices else prices.values()
    dearest = max((one.of(GUESSED_PROMPT_TOKENS, GUESSED_COMPLETION_TOKENS) for one in known), default=0.0)
    return math.ceil(dearest * MICRO)


def unpriced(models: Iterable[str], prices: Iterable[str]) -> list[str]:
    """Models whose price nobody configured: a cap on money can't be kept for them, whatever the API tells later."""
    priced = set(prices)
    return [model for model in models if model not in priced]
