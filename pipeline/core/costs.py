"""What tokens cost at a configured price. Money is in the currency of the price list, per million tokens."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.core.answers import Completion


@dataclass(frozen=True, slots=True)
class Price:
    """Per million tokens; above `long_prompt_tokens` tokens of prompt the `_long` prices hold."""

    input: float
    output: float
    input_long: float | None = None
    output_long: float | None = None
    long_prompt_tokens: int | None = None


PriceList = Mapping[str, Price]


def price_of(completion: Completion, prices: PriceList, model: str) -> float | None:
    """The API's own cost when it told one, else tokens at the model's price, else nothing."""
    if completion.cost is not None:
        return completion.cost
    price = prices.get(model)
    if price is None or completion.prompt_tokens is None:
        return None
    long = price.long_prompt_tokens is not None and completion.prompt_tokens > price.long_prompt_tokens
    input_price = price.input_long if long and price.input_long is not None else price.input
    output_price = price.output_long if long and price.output_long is not None else price.output
    asked = completion.prompt_tokens * input_price
    answered = (completion.completion_tokens or 0) * output_price
    return (asked + answered) / 1_000_000
