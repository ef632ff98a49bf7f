"""What a plan says of its models, and of the account that pays for them."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.core.account import Secret
from pipeline.core.account_reading import AccountTold, lacking
from pipeline.core.models import TIGHT_CAP
from pipeline.core.modes import FOXAPI


def thinking_lines(described: Mapping[str, Any]) -> Iterator[str]:
    """What is done about models that think, and what their rows should be asked otherwise."""
    thinking = described.get("thinking") or {}
    if described.get("api", FOXAPI) == FOXAPI:
        for model, rows in thinking.get("on", {}).items():
            yield f"reasoning: on for {_rows(rows)} of {model}, which may need it; --no-reasoning turns it off"
        for model, rows in thinking.get("off", {}).items():
            yield f"warning: {_rows(rows)} of {model} turn reasoning off, and the API may refuse that"
    for model, rows in thinking.get("tight", {}).items():
        yield (
            f"warning: {_rows(rows)} of {model} have a max_tokens below {TIGHT_CAP:,}, and its thoughts count: "
            "an answer may be cut before its first word"
        )


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def account_lines(told: AccountTold, models: Mapping[str, int]) -> Iterator[str]:
    """What the API says of a plan's models and of the balance, one line each; never a reason to plan nothing."""
    listed = told.models
    if told.refuses_the_key:
        yield f"warning: the API refuses the key: {listed.trouble or (told.balance and told.balance.trouble)}"
        return
    if not listed.answered and not (told.balance and told.balance.answered):
        yield f"the API does not answer now: {listed.trouble}"
        return
    if listed.trouble:
        yield f"models at the API: not known ({listed.trouble})"
    elif missing := lacking(models, listed.value):
        yield f"warning: the API's list of {len(listed.value):,} models lacks {', '.join(missing)}: rows may be refused"
    else:
        yield f"models at the API: {len(listed.value):,}" + (", those of the plan among them" if listed.value else "")
    if told.balance is not None:
        balance = told.balance
        known = f"{balance.value:,.2f} credits" if not balance.trouble else f"not known ({balance.trouble})"
        yield f"balance: {known}"


def account_object(told: AccountTold | None, models: Mapping[str, int]) -> dict[str, Any]:
    """The same for programs; null where nothing was asked."""
    if told is None:
        return {"api_account": None}
    listed, balance = told.models, told.balance
    known = {"models": listed.value, "models_lacking": lacking(models, listed.value or ())}
    trouble = {"models": listed.trouble or None, "balance": (balance.trouble or None) if balance else None}
    return {"api_account": {**known, "balance": balance.value if balance else None, "trouble": trouble}}


def asked(given: Mapping[str, Any], key: Secret | None) -> AccountTold | None:
    """What the API says before anything is sent; nothing without a key, or where it is not to be asked."""
    if key is None or given["offline"]:
        return None
    from pipeline.edges.api_look import looked  # noqa: PLC0415 - who has no key need not wait for the HTTP client

    return looked(given["api"], given["base_url"], key)
