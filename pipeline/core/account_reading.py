"""What an API says of itself and of an account: which models it has, and what is left to spend.

The form of the balance is UNKNOWN, so it is read leniently; nothing here may raise on any body.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core import loose
from pipeline.core.problems import problem_of

_BALANCES = ("balance", "credits", "credit", "remaining", "available", "remaining_credits", "available_credits")
_WRAPPERS = ("data", "account", "result", "user")
_OK = 200
_REFUSES = (401, 403)


@dataclass(frozen=True, slots=True)
class Told:
    """One answer to one question: a value, or why there is none; `refused` where the key is not accepted."""

    value: Any = None
    trouble: str = ""
    refused: bool = False
    answered: bool = True
    """Whether there was any answer, of whatever kind."""


@dataclass(frozen=True, slots=True)
class AccountTold:
    """What an API told: the names of its models, and the balance, where it has such a thing."""

    models: Told
    balance: Told | None = None
    ahead_s: float | None = None
    """By how much the API's clock is ahead of ours, by the date of its answer; a second more or less."""

    @property
    def refuses_the_key(self) -> bool:
        """Whether any answer was that the key is not accepted."""
        return self.models.refused or (self.balance is not None and self.balance.refused)


def read_models(status: int, headers: Mapping[str, str], body: bytes) -> Told:
    """Return the ids of a list of models, as OpenAI's API and FoxAPI have it."""
    document = loose.document(body)
    if status != _OK:
        return _not_told(status, document, headers, body)
    listed = document if isinstance(document, list) else loose.mapping(document).get("data")
    if not isinstance(listed, list):
        return Told(trouble="the answer is no list of models")
    ids = (one if isinstance(one, str) else loose.mapping(one).get("id") for one in listed)
    # Google's compatible endpoint puts the kind of thing before each name
    return Told(tuple(name.removeprefix("models/") for name in ids if isinstance(name, str) and name))


def read_balance(status: int, headers: Mapping[str, str], body: bytes) -> Told:
    """Return what is left on the account, in the API's own unit."""
    document = loose.document(body)
    if status != _OK:
        return _not_told(status, document, headers, body)
    amount = _number(document) if _number(document) is not None else _balance(loose.mapping(document))
    return Told(trouble="the answer names no balance that is known") if amount is None else Told(amount)


def lacking(models: Mapping[str, int], listed: tuple[str, ...]) -> list[str]:
    """Models of a plan that a list lacks; an empty list tells nothing."""
    known = {name.lower() for name in listed}
    return [model for model in models if known and model.lower().removeprefix("models/") not in known]


def _balance(told: Mapping[str, Any]) -> float | None:
    """The first number under a name that means a balance, at most two objects deep."""
    inner = [loose.mapping(told.get(name)) for name in (*_WRAPPERS, *_BALANCES)]
    for one in (told, *inner):
        for name in _BALANCES:
            if (amount := _number(one.get(name))) is not None:
                return amount
    for one in inner:
        for name in _BALANCES:
            found = [_number(loose.mapping(one.get(name)).get(inmost)) for inmost in _BALANCES]
            if amounts := [amount for amount in found if amount is not None]:
                return amounts[0]
    return None


def _number(value: object) -> float | None:
    """A finite number, perhaps written as text; a debt is one, too."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:  # noqa: PLR2004 - no NaN, no infinity
        return float(value)
    return None


def _not_told(status: int, document: object, headers: Mapping[str, str], body: bytes) -> Told:
    problem = problem_of(status, document, headers, body)
    message = " ".join(problem.message.split())[: loose.LONGEST_WORD]
    return Told(trouble=f"HTTP {status}: {message}", refused=status in _REFUSES)
