"""A look at an API before anything is sent: its models and the balance, both at once, and never for long."""

import asyncio
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

from pipeline.core.account import Secret
from pipeline.core.account_reading import AccountTold, Told, read_balance, read_models
from pipeline.core.modes import FOXAPI
from pipeline.edges.clock import unix_seconds
from pipeline.edges.http import DoorError, HttpDoor
from pipeline.edges.http_transport import JSON, HttpSettings, headers_with
from pipeline.edges.masking import Masking

LOOK_S = 5.0
"""Longer than any API needs for it, and not so long that a plan is waited for."""

_SETTINGS = HttpSettings(connect_timeout_s=LOOK_S, read_timeout_s=LOOK_S, total_timeout_s=LOOK_S, connections=2)

_Read = Callable[[int, Mapping[str, str], bytes], Told]


async def look(api: str, base_url: str, key: Secret) -> AccountTold:
    """What an API says of its models and of the account of this key. It does not raise for anything that it does."""
    door = HttpDoor(_SETTINGS)
    headers, mask = headers_with(key, JSON), Masking(key)
    ahead: list[float] = []

    async def ask(path: str, read: _Read) -> Told:
        try:
            reply = mask.reply(await door.get(f"{base_url}{path}", headers))
        except DoorError as error:
            return Told(trouble=mask.problem(error.problem).message, answered=False)
        if (date := _date(reply.headers)) is not None:
            ahead.append(date - unix_seconds())
        return read(reply.status, reply.headers, reply.body)

    try:
        if api != FOXAPI:
            told = await ask("/models", read_models)
            return AccountTold(told, ahead_s=next(iter(ahead), None))
        models, balance = await asyncio.gather(
            ask("/v1/configs/llm_generations_models", read_models), ask("/v1/account/credits", read_balance)
        )
        return AccountTold(models, balance, next(iter(ahead), None))
    finally:
        await door.close()


def _date(headers: Mapping[str, str]) -> float | None:
    """When an answer was made, by the API's clock, in seconds since 1970."""
    try:
        return parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def looked(api: str, base_url: str, key: Secret) -> AccountTold:
    """The same for a command that has no event loop."""
    return asyncio.run(look(api, base_url, key))
