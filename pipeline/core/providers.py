"""Where an API is, and what its answers count as: FoxAPI, or any that speaks OpenAI's chat completions."""

from urllib.parse import urlsplit

from pipeline.core.account import account_id, checked_base_url
from pipeline.core.errors import SettingsError
from pipeline.core.modes import FOXAPI, OPENAI

FOXAPI_URL = "https://api.foxapi.cc"
_CHAT = "/chat/completions"


def base_url_for(api: str, typed: str | None) -> str:
    """The address of an API, by what was typed. SettingsError does not repeat it, since a key may stand in it.

    An OpenAI-compatible one is the base URL that the official client takes, with its /v1; a bare host gets that.
    """
    if typed is None and api == OPENAI:
        raise SettingsError(
            "--base-url: found none; --api openai has no address of its own, give the server's, such as "
            "http://localhost:8000/v1"
        )
    try:
        base = checked_base_url(FOXAPI_URL if typed is None else typed)
    except SettingsError as error:
        raise SettingsError(f"--base-url: {error}") from None
    if api == FOXAPI:
        return base
    if base.endswith(_CHAT):
        raise SettingsError(f"--base-url: found an address that ends in {_CHAT}; allowed is what stands before that")
    return base if urlsplit(base).path else f"{base}/v1"


def api_identity(api: str, base_url: str) -> str:
    """What makes two runs ask the same API: their answers count for each other, whoever pays."""
    address = account_id(base_url, "")
    return address if api == FOXAPI else f"{api} {address}"
