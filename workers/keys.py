"""The API key of one process while it works: looked at again, and whose runs it serves.

The main process notes in Redis, in the key chain, that a key took another's place, so that the new one serves the
runs that were begun with the old one; and it has accounts tried again that the API blocked because of the old key. The
key goes only to addresses that were sealed with it: what Redis says of chains and addresses is nobody's word.
"""

import asyncio
import logging

from pipeline.core.account import Secret, key_fingerprint
from pipeline.core.errors import LedgerMismatch
from pipeline.edges.environment import process_environment
from pipeline.edges.key_source import KeySource
from pipeline.edges.logs import hide
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_key_chain import KeyChain
from pipeline.edges.redis_seals import RedisSeals
from pipeline.flows.sealing import carry_over, is_sealed
from pipeline.ports import Ledger

REMEMBERED_S = 5.0
"""How long the main process takes what it knows of replaced keys for true."""

TRIED_AGAIN_S = 60.0
"""So long after a new key came, blocks are lifted again: other processes may still send with the old one."""

_log = logging.getLogger("vidbatch.worker")


class Keys:
    """One process's key, and the fingerprints of those whose runs it serves."""

    def __init__(self, redis_url: str, *, fresh: bool = False) -> None:
        self._source = KeySource(process_environment(), fresh=fresh)
        door = RedisDoor(redis_url)
        self._chain, self._seals = KeyChain(door), RedisSeals(door)
        self._sealed: set[tuple[str, str]] = set()

    @property
    def key(self) -> Secret | None:
        """The key as it was last read."""
        return self._source.key

    @property
    def fingerprint(self) -> str:
        """The key's; empty without one."""
        return "" if self.key is None else key_fingerprint(self.key.reveal())

    async def look(self, *, refused: bool = False) -> bool:
        """Look at the key's source again, if it is time to; whether there is another key now."""
        key, before = self.key, self.fingerprint
        if not await asyncio.to_thread(self._source.look, refused=refused):
            return False
        if self.key is not None:
            hide([self.key.reveal()])
        if key is not None:
            self._gave_way(key)
        _log.info("the API key was replaced: %s after %s", self.fingerprint, before, extra={"event": "key_replaced"})
        return True

    def _gave_way(self, before: Secret) -> None:
        """A key gave way to another; the main process tells the others."""

    async def may_go_to(self, base_url: str) -> bool:
        """Whether somebody who holds the very key that would be sent has sealed this address."""
        if self.key is None:
            return False
        known = (self.fingerprint, base_url)
        if known not in self._sealed and await is_sealed(self._seals, self.key, base_url):
            self._sealed.add(known)
        return known in self._sealed

    async def serves(self, fingerprint: str) -> bool:
        """Whether the key serves runs of this one. A key that gave way to another is looked for anew."""
        if not self.fingerprint:
            return False
        if (self._source.is_command or fingerprint != self.fingerprint) and await self._chain.gave_way(
            self.fingerprint
        ):
            await self.look(refused=True)
        return fingerprint == self.fingerprint or fingerprint in await self._chain.served_by(self.fingerprint)

    async def close(self) -> None:
        """Close the connections."""
        await self._chain.close()


class MainKeys(Keys):
    """The same in a worker's main process, which tells the others."""

    def __init__(self, redis_url: str, ledger: Ledger) -> None:
        super().__init__(redis_url, fresh=True)
        self._ledger = ledger
        self._replaced: dict[str, Secret] = {}
        self._served: tuple[str, ...] = ()
        self._known_until = self._tried_until = float("-inf")

    def _gave_way(self, before: Secret) -> None:
        self._replaced[key_fingerprint(before.reveal())] = before

    async def served(self, now: float) -> tuple[str, ...]:
        """Whose runs this worker serves, by fingerprint; `now` in seconds of a clock that only grows."""
        if not self.fingerprint and not await self.look():
            return ()
        if await self.look():
            self._known_until, self._tried_until = float("-inf"), now + TRIED_AGAIN_S
        for before, key in list(self._replaced.items()):  # again, if Redis was away
            if self.key is not None:
                # before the others are told: whoever serves the old key's runs by this finds the new one's seals
                await carry_over(self._seals, key, self.key)
            await self._chain.replaced(before, self.fingerprint)
            del self._replaced[before]
        if now >= self._known_until:
            self._known_until = now + REMEMBERED_S
            self._served = tuple(sorted(await self._chain.served_by(self.fingerprint)))
            await self._see_to_refused(now)
        return self._served

    async def _see_to_refused(self, now: float) -> None:
        for account in await self._refused_accounts():
            if await self.look(refused=True):
                self._known_until, self._tried_until = float("-inf"), now + TRIED_AGAIN_S
            if now < self._tried_until:
                await self._chain.try_again(account)

    async def _refused_accounts(self) -> set[str]:
        accounts: set[str] = set()
        for run_id in await self._ledger.active_runs():
            try:
                card = await self._ledger.card(run_id)
            except LedgerMismatch:
                continue
            if card is not None and card.key_fingerprint in self._served:
                accounts.add(card.account)
        return {account for account in accounts if await self._chain.refuses_the_key(account)}
