"""The estimate of a plan: what the manifest says, what the dataset says, and the prices, brought together."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.core.budget import Budget, unpriced
from pipeline.core.costs import Price, PriceList
from pipeline.core.errors import SettingsError
from pipeline.core.estimates import Lengths, Need, described, estimate
from pipeline.core.sifting import Sifted
from pipeline.edges.places import Place
from pipeline.edges.trailing import trailing


def price_list(prices: Mapping[str, Mapping[str, Any]]) -> PriceList:
    """Prices as `run.json` keeps them, as values."""
    return {model: Price(**price) for model, price in prices.items()}


def estimate_of(
    sifted: Sifted,
    prices: Mapping[str, Mapping[str, Any]],
    out: Place | None,
    tokens_per_second: float | None = None,
) -> dict[str, Any]:
    """What requests will take, as `run.json` keeps it; `out` is the dataset whose earlier answers tell."""
    characters = sifted.prompt_characters / max(1, sifted.requests)
    return of_models(sifted.models, sifted.lengths, characters, prices, out, tokens_per_second)


def of_models(
    models: Mapping[str, int],
    lengths: Lengths,
    characters: float,
    prices: Mapping[str, Mapping[str, Any]],
    out: Place | None,
    tokens_per_second: float | None = None,
) -> dict[str, Any]:
    """The same for rows by model; `characters` are those of a prompt in the mean."""
    seen = {} if out is None else trailing(out, models)
    needs = [
        Need(model, rows, lengths.rows.get(model, 0), lengths.seconds.get(model, 0.0), characters)
        for model, rows in models.items()
    ]
    return described(estimate(needs, seen, price_list(prices), tokens_per_second))


def refuse_unpriced(budget: Budget, models: Sequence[str], prices: Mapping[str, object], *, fixed: bool) -> None:
    """A cap on money can't be kept where nobody knows what a row costs before it is paid for. SettingsError then.

    `fixed` tells that the run's prices can't be changed any more.
    """
    missing = [] if budget.cost is None else unpriced(models, prices)
    if missing:
        write = f'write it into vidbatch.toml ([prices."{missing[0]}"] with input = … and output = …, a million tokens)'
        why = "a run keeps the prices that it was planned with" if fixed else f"{write} and give the command again"
        raise SettingsError(
            f"--max-cost: no price is configured for {', '.join(missing)}, so nobody knows what its rows cost "
            f"before they are paid for: {why}, or cap the tokens with --max-total-tokens"
        )
