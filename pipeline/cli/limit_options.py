"""Options that bound how fast an account is asked: given to a run that sends, or changed while it is at work."""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, Final

import click
from click.core import ParameterSource

from pipeline.core.errors import SettingsError
from pipeline.core.limits import Limits

AUTO: Final = "auto"
"""No limit is given: it is found, but for tokens, which then have none."""

LIMITS: Final = tuple(limit.name for limit in fields(Limits))
"""The names of the limits, which are those of their options, too."""

PRIORITY: Final = 10
"""Of a run whose command gives none."""

LEAST: Final = 0.001
MOST: Final = 1e9
"""A limit a minute is within these: one request in a week and a half, and more than any API answers."""

_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
"""Names that people give; other characters stand in those that are made of an address, or part the ledger's keys."""


def _amount(context: click.Context, parameter: click.Parameter, value: str | None) -> float | str | None:
    """A number above 0, or `auto`. SettingsError names the option, what stood there and what is allowed."""
    del context
    if value is None or value == AUTO:
        return value
    whole = parameter.name == "max_in_flight"
    try:
        number: float = int(value) if whole else float(value)
    except ValueError:
        number = 0
    least, most = (1, 10**9) if whole else (LEAST, MOST)
    if not least <= number <= most:
        allowed = f"a {'whole ' if whole else ''}number from {least:g} to {most:,.0f}, or {AUTO}"
        raise SettingsError(f"{parameter.opts[0]}: found {value}; allowed is {allowed}")
    return number


_HELP = {
    "rpm": "Most POSTs a minute of the account, all of its runs together; the lowest that was given to any of them "
    "counts. Without one, or with auto, it is found.",
    "poll_rpm": "Most polls a minute of the account; as with --rpm.",
    "tpm": "Most tokens a minute of the account, of prompts and answers together, by what rows took lately. Without "
    "one, or with auto, there is none.",
    "max_in_flight": "Most generations of the account under way at a time; as with --rpm.",
}


def _option(name: str, *, sends: bool) -> Callable[..., Any]:
    """The option of one limit; only a command that sends takes it from the environment, too."""
    option: Callable[..., Any] = click.option(
        f"--{name.replace('_', '-')}",
        envvar=f"VIDBATCH_{name.upper()}" if sends else None,
        metavar="N|auto",
        callback=_amount,
        help=_HELP[name],
    )
    return option


def _given_priority(context: click.Context, parameter: click.Parameter, value: int) -> int | None:
    """Nothing where nobody gave one: a run that has another keeps it."""
    return None if context.get_parameter_source(parameter.name or "") is ParameterSource.DEFAULT else value


def _account(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse a name that could be another key's in the ledger."""
    del context
    if value is not None and not _ACCOUNT.fullmatch(value):
        raise SettingsError(
            f"{parameter.opts[0]}: found {value!r}; allowed are up to 64 letters, digits, dots, dashes, underscores "
            "and @, of which the first is a letter or digit"
        )
    return value


SENDING = (
    *(_option(name, sends=True) for name in LIMITS),
    click.option(
        "--priority",
        envvar="VIDBATCH_PRIORITY",
        type=click.IntRange(1, 100),
        default=PRIORITY,
        show_default=True,
        callback=_given_priority,
        help="The run's share of its account's limits against other runs that want them, too, in proportion: 1 to 100.",
    ),
    click.option(
        "--account",
        envvar="VIDBATCH_ACCOUNT",
        callback=_account,
        help="Whose limits count: runs of one name share them. Without it, runs of the same address and key do.",
    ),
)
"""Options of a command that sends."""

RECKONED = tuple(_option(name, sends=True) for name in ("rpm", "tpm"))
"""For a command that only reckons with them."""

CHANGING = tuple(_option(name, sends=False) for name in LIMITS)
"""Options of a command that changes limits: what is not typed stays as it is."""


def limits_of(given: Mapping[str, Any]) -> Limits:
    """The limits that a command was given."""
    return changed(Limits(), given)


def changed(limits: Limits, given: Mapping[str, Any]) -> Limits:
    """The limits with what was typed put in their place; `auto` takes one away."""
    typed = {name: given[name] for name in LIMITS if given[name] is not None}
    return replace(limits, **{name: None if value == AUTO else value for name, value in typed.items()})
