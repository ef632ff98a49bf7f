"""Seals of addresses: made by commands, checked by whoever is about to send the key, carried over to a new key."""

from pipeline.core.account import Secret, checked_base_url, key_fingerprint
from pipeline.core.errors import SettingsError
from pipeline.core.seals import seal_holds, seal_of
from pipeline.ports import Seals


async def seal(seals: Seals, key: Secret, base_url: str) -> None:
    """Say that this key may be sent to this address: by whoever was given both by a person."""
    await seals.keep(key_fingerprint(key.reveal()), checked_base_url(base_url), seal_of(key, base_url))


async def is_sealed(seals: Seals, key: Secret, base_url: str) -> bool:
    """Whether somebody who holds this key said so."""
    try:
        address = checked_base_url(base_url)
    except SettingsError:
        return False
    return seal_holds(key, address, await seals.find(key_fingerprint(key.reveal()), address))


async def carry_over(seals: Seals, before: Secret, after: Secret) -> None:
    """Seal for a new key what was sealed for the one before. Seals that do not hold stay behind."""
    for base_url, found in (await seals.every(key_fingerprint(before.reveal()))).items():
        if seal_holds(before, base_url, found):
            await seal(seals, after, base_url)
