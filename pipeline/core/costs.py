"""What tokens cost at a configured price. Money is in the currency of the price list, per million tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from pipeline.core.answers import Completion

MICRO = 1_000_000
"""Money is counted in millionths where it is summed or compared: whole numbers don't drift."""

MOST_COST = 1e6
"""A cost beyond this is no honest answer's; it is taken as not told, since no sum would survive it."""

OLD_DAYS = 365
"""Vendors change their prices about once a year: an older one is told to be looked at again."""


@dataclass(frozen=True, slots=True)
class Price:
    """Per million tokens; above `long_prompt_tokens` tokens of prompt the `_long` prices hold.

    `source` says who told it and `as_of` when, as an ISO date; both are empty where nobody wrote them down.
    """

    input: float
    output: float
    input_long: float | None = None
    output_long: float | None = None
    long_prompt_tokens: int | None = None
    source: str = ""
    as_of: str = ""

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """What one question and its answer cost."""
        long = self.long_prompt_tokens is not None and prompt_tokens > self.long_prompt_tokens
        asked = self.input_long if long and self.input_long is not None else self.input
        answered = self.output_long if long and self.output_long is not None else self.output
        return (prompt_tokens * asked + completion_tokens * answered) / 1_000_000

    def is_old(self, today: date) -> bool:
        """Whether it was told so long ago that it may be another by now; False where nobody wrote down when."""
        return bool(self.as_of) and (today - date.fromisoformat(self.as_of)).days > OLD_DAYS


PriceList = Mapping[str, Price]


def price_of(completion: Completion, prices: PriceList, model: str) -> float | None:
    """The API's own cost when it told one, else tokens at the model's price, else nothing.

    An API that tells 0 tells nothing, unless nobody has a price: what is capped is reckoned by that.
    """
    return cost_of(completion.cost, completion.prompt_tokens, completion.completion_tokens, prices, model)


def cost_of(
    cost: float | None, prompt_tokens: int | None, completion_tokens: int | None, prices: PriceList, model: str
) -> float | None:
    """The same of a completion's plain values."""
    told = cost if cost is not None and 0 <= cost < MOST_COST else None
    if told:
        return told
    price = prices.get(model)
    if price is None or prompt_tokens is None:
        return told
    return price.of(prompt_tokens, completion_tokens or 0)


def in_micro(cost: float | None) -> int:
    """A cost in whole millionths; 0 for one that nobody knows."""
    return 0 if cost is None else min(round(cost * MICRO), round(MOST_COST * MICRO))


def money(cost: float) -> str:
    """A cost for people, with the digits that matter."""
    return f"${cost:,.2f}" if cost >= 1 else f"${cost:.4f}"
