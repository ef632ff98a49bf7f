"""What `doctor` makes of what it found: each finding is fine, a warning or an error, with what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from pipeline.core.account_reading import AccountTold, lacking
from pipeline.core.costs import Price

LITTLE_DISK = 2 * 1024**3
TOO_LITTLE_DISK = 200 * 1024**2
"""Bytes. A run of a million rows takes some GB with its parts; below the second not even a small one ends well."""


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: its name, what was found, and what to do, where something is to be done."""

    level: Level
    name: str
    found: str
    todo: str = ""


def ok(name: str, found: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, name, found)


def warning(name: str, found: str, todo: str) -> Finding:
    """A run may work, or not as well as it could."""
    return Finding(Level.WARNING, name, found, todo)


def error(name: str, found: str, todo: str) -> Finding:
    """No run would work."""
    return Finding(Level.ERROR, name, found, todo)


FEW_FIRST = "send a few rows first, with --limit 4"
NO_KEY = error("key", "there is none", "set VIDBATCH_API_KEY, or VIDBATCH_API_KEY_FILE to a file that holds it")


def of_api(told: AccountTold, base_url: str, model: str | None) -> Iterator[Finding]:
    """The address, the key, the model and the balance, by what the API told."""
    listed, balance = told.models, told.balance
    if told.refuses_the_key:
        yield ok("API", f"{base_url} answers")
        trouble = listed.trouble or (balance.trouble if balance else "")
        yield error("key", f"it is refused: {trouble}", "set VIDBATCH_API_KEY to a key that is accepted")
        return
    if not listed.answered and not (balance and balance.answered):
        yield error("API", f"{base_url}: {listed.trouble}", "give the right --base-url, or see what is in its way")
        return
    yield ok("API", f"{base_url} answers")
    if not listed.trouble or (balance and not balance.trouble):
        yield ok("key", "it is accepted")
    else:
        todo = f"see that --base-url is right, then {FEW_FIRST}"
        yield warning("key", "the API said nothing by which it could be told", todo)
    yield from _of_models(listed.value, listed.trouble, model)
    if balance is not None and balance.trouble:
        yield warning("balance", f"not known: {balance.trouble}", "look it up where you bought it")
    elif balance is not None and balance.value <= 0:
        yield error("balance", f"{balance.value:,.2f} credits", "top it up")
    elif balance is not None:
        yield ok("balance", f"{balance.value:,.2f} credits")


def _of_models(listed: tuple[str, ...] | None, trouble: str, model: str | None) -> Iterator[Finding]:
    if listed is None:
        yield warning("models", f"not known: {trouble}", FEW_FIRST)
    elif model is None:
        yield warning("models", f"{len(listed):,} at the API, and none is chosen", "give --model")
    elif missing := lacking({model: 1}, listed):
        shown = ", ".join(listed[:5]) + (", …" if len(listed) > 5 else "")  # noqa: PLR2004 - what fits a line
        yield warning("models", f"{', '.join(missing)} is not among {shown}", "give a --model that the API has")
    else:
        yield ok("models", f"{len(listed):,} at the API" + (f", {model} among them" if listed else ""))


def of_price(model: str | None, price: Price | None, today: date) -> Iterator[Finding]:
    """Whether the cost of a run can be told, and capped, before it is spent."""
    if model is None:
        return
    write = f'write it into vidbatch.toml: [prices."{model}"] with input = … and output = …, a million tokens'
    if price is None:
        yield warning("price", f"none is configured for {model}", f"{write}; or cap with --max-total-tokens")
    elif price.is_old(today):
        yield warning("price", f"that of {model} is of {price.as_of}", f"look it up again, and {write}")
    else:
        yield ok("price", f"{model}: {price.input:g} in, {price.output:g} out per million tokens")


def of_disk(name: str, path: str, free: int) -> Finding:
    """Whether a folder's disk has room."""
    found, todo = f"{path}: {free / 1024**3:,.1f} GB free", "make room, or choose another folder"
    if free < TOO_LITTLE_DISK:
        return error(name, found, todo)
    return warning(name, found, todo) if free < LITTLE_DISK else ok(name, found)
