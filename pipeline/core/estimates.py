"""What a manifest will cost, as far as anything tells it before a cent is spent; with a range, and where it comes from.

Rows that say how long their video is are estimated by that; others by what rows of their model took in this dataset
before; where there are none nothing is made up, and that is said. Nothing here is a promise: only a cap is one.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

from pipeline.core.costs import Price, PriceList, money

DURATION = "duration_s"
"""The carried column that says how many seconds of video a row shows, all of its videos together."""

CHARACTERS_A_TOKEN = 4.0
"""Of a prompt in English, by rule of thumb; beside a video a prompt is small."""

MILLION = 1_000_000

ENOUGH = 5
"""Fewer rows than this are no measure."""


@dataclass(frozen=True, slots=True)
class Range:
    """An amount that is `likely`, and what it lies between if rows are otherwise than they were."""

    low: float
    likely: float
    high: float

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.likely + other.likely, self.high + other.high)

    def times(self, factor: float) -> "Range":
        """So much of it."""
        return Range(self.low * factor, self.likely * factor, self.high * factor)


NOTHING = Range(0.0, 0.0, 0.0)

TOKENS_A_SECOND = Range(290.0, 290.0, 640.0)
"""Of video: 258 a frame at one frame a second and 32 of sound for Gemini; the API's own documentation says 20,000 and
more for 30 s (docs/foxapi.md)."""

ANSWER_TOKENS = Range(300.0, 1_000.0, 3_000.0)
"""An answer with its thinking, while none was seen: a few sentences to a few pages."""


def around(rows: int, mean: float, lower: float, upper: float) -> Range:
    """The mean of rows that were seen, between their quartiles; of few rows, between half and double."""
    if rows < ENOUGH:
        return Range(mean / 2, mean, mean * 2)
    return Range(min(lower, mean), mean, max(upper, mean))


@dataclass(frozen=True, slots=True)
class Seen:
    """What completed rows of one model took, each a range over `rows` rows; nothing where it is not known.

    `cost` is what one row cost, `a_second` the prompt tokens of a second of video.
    """

    rows: int
    prompt_tokens: Range
    completion_tokens: Range
    cost: Range | None = None
    a_second: Range | None = None


@dataclass(slots=True)
class Lengths:
    """How long the videos are, as far as the manifest says, by model: rows that say it, and seconds in all."""

    rows: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, model: str, text: str) -> None:
        """Count the cell of one row; what is no number of seconds is not known."""
        try:
            seconds = float(text)
        except ValueError:
            return
        if 0 < seconds < math.inf:
            self.rows[model] = self.rows.get(model, 0) + 1
            self.seconds[model] = self.seconds.get(model, 0.0) + seconds


@dataclass(frozen=True, slots=True)
class Need:
    """What is asked of one model: rows, those that say how long their video is, its seconds, characters of a prompt."""

    model: str
    rows: int
    timed_rows: int = 0
    seconds: float = 0.0
    prompt_characters: float = 0.0


@dataclass(frozen=True, slots=True)
class Share:
    """Some rows of one model, and what they will take; nothing where that is not known. `basis` says why, in words."""

    rows: int
    basis: str
    tokens: Range | None = None
    cost: Range | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the rows that are known will take; `rows` counts all, `counted` and `priced` those in either sum."""

    rows: int
    counted: int
    priced: int
    tokens: Range
    cost: Range
    basis: tuple[str, ...]


def estimate(
    needs: Iterable[Need], seen: Mapping[str, Seen], prices: PriceList, tokens_per_second: float | None = None
) -> Estimate:
    """What these rows will take; a second of video takes what it took in this dataset, else `tokens_per_second`."""
    shares = [share for need in needs for share in _shares(need, seen.get(need.model), prices, tokens_per_second)]
    counted = [share for share in shares if share.tokens is not None]
    priced = [share for share in shares if share.cost is not None]
    return Estimate(
        rows=sum(share.rows for share in shares),
        counted=sum(share.rows for share in counted),
        priced=sum(share.rows for share in priced),
        tokens=sum((share.tokens for share in counted if share.tokens), NOTHING),
        cost=sum((share.cost for share in priced if share.cost), NOTHING),
        basis=tuple(share.basis for share in shares),
    )


def _shares(need: Need, seen: Seen | None, prices: PriceList, tokens_per_second: float | None) -> list[Share]:
    price, shares = prices.get(need.model), []
    if need.timed_rows:
        shares.append(_by_duration(need, seen, price, tokens_per_second))
    if rest := need.rows - need.timed_rows:
        shares.append(_by_earlier_rows(need.model, rest, seen, price))
    return shares


def _by_duration(need: Need, seen: Seen | None, price: Price | None, written: float | None) -> Share:
    rate, told, beside = _rate(need, seen, written)
    rows = need.timed_rows
    prompt = rate.times(need.seconds / rows) + _same(beside)
    answer = seen.completion_tokens if seen else ANSWER_TOKENS
    of_answers = "" if seen else f", answers taken as {_span(answer)} tokens"
    return Share(
        rows,
        f"{_rows(rows)} of {need.model} by {DURATION}: {need.seconds:,.0f} s of video at {told}{of_answers}",
        (prompt + answer).times(rows),
        _cost(prompt, answer, seen, price, rows),
    )


def _rate(need: Need, seen: Seen | None, written: float | None) -> tuple[Range, str, float]:
    """Tokens of a second of video, who says so, and the tokens of a prompt that come beside: what was seen has them."""
    if seen is not None and seen.a_second is not None:
        return seen.a_second, f"{_span(seen.a_second)} tokens a second, as in this dataset", 0.0
    beside = need.prompt_characters / CHARACTERS_A_TOKEN
    if written is not None:
        return _same(written), f"{written:g} tokens a second (tokens_per_second in vidbatch.toml)", beside
    return TOKENS_A_SECOND, f"{_span(TOKENS_A_SECOND)} tokens a second", beside


def _by_earlier_rows(model: str, rows: int, seen: Seen | None, price: Price | None) -> Share:
    if seen is None:
        return Share(
            rows, f"{_rows(rows)} of {model}: unknown, without {DURATION} and an earlier answer in this dataset"
        )
    prompt, answer = seen.prompt_tokens, seen.completion_tokens
    return Share(
        rows,
        f"{_rows(rows)} of {model} as the last {_rows(seen.rows)} of it that completed in this dataset",
        (prompt + answer).times(rows),
        seen.cost.times(rows) if seen.cost else _cost(prompt, answer, seen, price, rows),
    )


def _cost(prompt: Range, answer: Range, seen: Seen | None, price: Price | None, rows: int) -> Range | None:
    """Tokens at the model's price, else at what tokens cost in this dataset, else nothing."""
    if price is not None:
        pairs = zip(astuple(prompt), astuple(answer), strict=True)
        return Range(*(price.of(asked, answered) for asked, answered in pairs)).times(rows)
    if seen is None or seen.cost is None:
        return None
    earlier = seen.prompt_tokens.likely + seen.completion_tokens.likely
    return (prompt + answer).times(rows * seen.cost.likely / earlier) if earlier else None


def _same(amount: float) -> Range:
    return Range(amount, amount, amount)


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _span(amount: Range) -> str:
    """`1,000 (300 to 3,000)`, or the one figure where there is no other."""
    low, likely, high = (f"{one:,.0f}" for one in astuple(amount))
    if low == high:
        return likely
    return f"{likely} (up to {high})" if low == likely else f"{likely} ({low} to {high})"


def described(one: Estimate) -> dict[str, Any]:
    """As `run.json` keeps it: sums as [low, likely, high], null where no row is known."""
    return {
        "rows": one.rows,
        "counted": one.counted,
        "priced": one.priced,
        "tokens": [round(amount) for amount in astuple(one.tokens)] if one.counted else None,
        "cost": [round(amount, 6) for amount in astuple(one.cost)] if one.priced else None,
        "basis": list(one.basis),
    }


def estimate_lines(told: Mapping[str, Any]) -> list[str]:
    """An estimate of `run.json` in words: the sums first, then where they come from."""
    rows, counted, priced = told["rows"], told["counted"], told["priced"]
    whole = "" if counted == rows else f" for {counted:,} of {rows:,} rows, the rest unknown"
    if not counted:
        return ["estimate: unknown until the first answers", *_indented(told)]
    tokens = f"about {_span_words(told['tokens'], _count, ' tokens')}"
    cost = f"about {_span_words(told['cost'], money)}" if priced else "cost unknown"
    partly = f" for {priced:,} of them" if 0 < priced < counted else ""
    return [f"estimate{whole}: {tokens}; {cost}{partly}", *_indented(told)]


def _indented(told: Mapping[str, Any]) -> list[str]:
    return [f"  {basis}" for basis in told["basis"]]


def _span_words(amounts: Sequence[float], words: Callable[[float], str], unit: str = "") -> str:
    low, likely, high = map(words, amounts)
    return f"{likely}{unit} ({low} to {high})"


def _count(count: float) -> str:
    return f"{count / MILLION:,.1f}M" if count >= MILLION else f"{count:,.0f}"
