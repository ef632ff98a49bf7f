"""A command says where its key may be sent: to the address that a person gave, and never to one that Redis told."""

from pipeline.core.account import Secret, key_fingerprint
from pipeline.core.errors import LedgerMismatch, SystemTrouble
from pipeline.core.plain import plain
from pipeline.core.providers import FOXAPI_URL
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.edges.redis_seals import RedisSeals
from pipeline.flows.sealing import is_sealed, seal

HOW = "`vidbatch schedule add … --replace` where the key is set says so, and so does any `vidbatch run` to it by hand"


async def seal_address(url: str, key: Secret | None, base_url: str, *, scheduled: bool = False) -> None:
    """Seal an address for a key, so that workers send it there.

    A schedule's command comes from Redis: it seals nothing, but what everybody may name. SystemTrouble where a person
    has not sealed its address before: a key that has just come takes over its seals in a few minutes at most.
    """
    if key is None:
        return
    seals = RedisSeals(RedisDoor(url))
    try:
        if scheduled and base_url != FOXAPI_URL and not await is_sealed(seals, key, base_url):
            raise SystemTrouble(
                f"--base-url: found {base_url}, where nobody who holds the key has said that it may be sent; {HOW}"
            )
        await seal(seals, key, base_url)
    finally:
        await seals.close()


async def may_send(url: str, key: Secret, base_url: str) -> bool:
    """Whether an address that Redis told is one to which this key may be sent."""
    seals = RedisSeals(RedisDoor(url))
    try:
        return await is_sealed(seals, key, base_url)
    finally:
        await seals.close()


async def unsealed_runs(url: str, key: Secret) -> list[tuple[str, str]]:
    """Runs of this key that wait for nothing but a seal, with their addresses."""
    ledger, found = RedisLedger(url), []
    try:
        for run_id in await ledger.active_runs():
            try:
                card, run = await ledger.card(run_id), await ledger.snapshot(run_id)
            except LedgerMismatch:
                continue
            of_key = card is not None and card.key_fingerprint == key_fingerprint(key.reveal())
            if card is None or run is None or not of_key or run.all_ended:
                continue
            if not await may_send(url, key, card.base_url):
                found.append((run_id, plain(card.base_url)))
    finally:
        await ledger.close()
    return found
