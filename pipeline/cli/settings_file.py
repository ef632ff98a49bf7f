"""What `vidbatch.toml` may hold: each setting with what it may be, and the sentence for one that is something else."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.core.errors import SettingsError

FILE = "vidbatch.toml"

Reader = Callable[[Any], Any]
"""Makes a setting of what the file says; ValueError, with what is allowed, for anything else."""


def _text(value: Any) -> str:  # noqa: ANN401 - whatever a person wrote
    if not isinstance(value, str):
        raise ValueError("text")  # noqa: TRY004 - readers tell what is allowed in one way
    return value


def _number(least: float, *, most: float = math.inf, above: bool = False, whole: bool = False) -> Reader:
    bound = f"{'above' if above else 'from'} {least:g}{f' to {most:,.0f}' if most < math.inf else ''}"
    bound = "" if least == -math.inf else f" {bound}"

    def read(value: Any) -> float | int:  # noqa: ANN401
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        fits = number and least <= value <= most and not (above and value == least)
        if not fits or (whole and value != int(value)):
            raise ValueError(f"a {'whole ' if whole else ''}number{bound}")
        return int(value) if whole else float(value)

    return read


def _day(value: Any) -> date:  # noqa: ANN401
    try:
        return value if type(value) is date else date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("a day, such as 2026-07-01") from None


def _one_of(*words: str) -> Reader:
    def read(value: Any) -> str:  # noqa: ANN401
        if value not in words:
            raise ValueError(" or ".join(words))
        return str(value)

    return read


_ANY, _WHOLE, _COST = _number(-math.inf), _number(-math.inf, whole=True), _number(0)

_PRICE: Mapping[str, Reader] = {
    "input": _COST,
    "output": _COST,
    "input_long": _COST,
    "output_long": _COST,
    "long_prompt_tokens": _number(0, whole=True),
    "source": _text,
    "as_of": _day,
}

_SETTINGS: Mapping[str, Reader] = {
    "base_url": _text,
    "redis": _text,
    "model": _text,
    "prompt": _text,
    "workers": _WHOLE,
    "poll": _text,
    "poll_cost": _number(0.001, most=86_400),
    "on_unknown": _one_of("resubmit", "hold"),
    "api_key_file": _text,
    "rpm": _ANY,
    "poll_rpm": _ANY,
    "tpm": _ANY,
    "max_in_flight": _WHOLE,
    "priority": _WHOLE,
    "account": _text,
    "max_cost": _ANY,
    "max_total_tokens": _WHOLE,
    "by": _text,
    "tokens_per_second": _number(0, above=True),
}
"""Their options look at most of them again, closer and under their own names."""


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """One model's price: dollars, or your currency, per million tokens; who told it, and on which day."""

    input: float
    output: float
    input_long: float | None = None
    output_long: float | None = None
    long_prompt_tokens: int | None = None
    source: str = FILE
    as_of: date | None = None

    def plain(self) -> dict[str, Any]:
        """As `run.json` keeps it: what was not given is left out."""
        day = None if self.as_of is None else self.as_of.isoformat()
        return {name: value for name, value in (asdict(self) | {"as_of": day}).items() if value is not None}


@dataclass(frozen=True, slots=True)
class FileSettings:
    """What a file says: settings by their names, and prices by model."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    prices: Mapping[str, PriceEntry] = field(default_factory=dict)

    @property
    def api_key_file(self) -> str | None:
        """The file that holds the key."""
        named: str | None = self.settings.get("api_key_file")
        return named

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens that a second of video takes, for estimates."""
        tokens: float | None = self.settings.get("tokens_per_second")
        return tokens


def settings_of(content: Mapping[str, Any], path: Path) -> FileSettings:
    """Check what a file holds. SettingsError names the file and the setting, what was found and what is allowed."""
    prices = content.get("prices", {})
    rest = {name: value for name, value in content.items() if name != "prices"}
    return FileSettings(_read(rest, _SETTINGS, f"{path}: ", ("prices",)), prices_of(prices, path))


def prices_of(prices: Any, path: Path) -> dict[str, PriceEntry]:  # noqa: ANN401 - whatever a person wrote
    """Check the prices of models. SettingsError as for other settings."""
    entries: dict[str, PriceEntry] = {}
    for model, price in _table(prices, f"{path}: prices").items():
        place = f"{path}: prices.{model}"
        told = _read(_table(price, place), _PRICE, f"{place}.")
        for name in ("input", "output"):
            if name not in told:
                raise SettingsError(f"{place}.{name}: is missing; allowed is a number from 0")
        entries[model] = PriceEntry(**told)
    return entries


def _table(value: Any, place: str) -> Mapping[str, Any]:  # noqa: ANN401
    if not isinstance(value, dict):
        raise SettingsError(f"{place}: found {value!r}; allowed is a table")
    return value


def _read(
    content: Mapping[str, Any], readers: Mapping[str, Reader], place: str, others: tuple[str, ...] = ()
) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for name, value in content.items():
        if name not in readers:
            raise SettingsError(f"{place}{name}: is no setting; allowed are {', '.join((*readers, *others))}")
        try:
            read[name] = readers[name](value)
        except ValueError as error:
            raise SettingsError(f"{place}{name}: found {value!r}; allowed is {error}") from None
    return read
