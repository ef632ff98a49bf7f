"""Cards of runs, as they were read last: what the other parts of the ledger in Redis need to know of a run."""

from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_keys import RunKeys
from pipeline.edges.redis_presence import RedisPresence
from pipeline.edges.redis_wire import check_version, unpack_card
from pipeline.ports import RunCard


class RedisCards(RedisPresence):
    """The part of `ports.Ledger` that reads cards."""

    def __init__(self, door: RedisDoor) -> None:
        super().__init__(door)
        self._cards: dict[str, RunCard] = {}

    async def card(self, run_id: str) -> RunCard | None:
        """The run's card, or nothing; always the newest, since a run may change its account.

        LedgerMismatch where another version's workers look after the run.
        """
        packed, version = await self._door.call("HMGET", RunKeys(run_id)("meta"), "card", "version")
        if packed is None:
            return None
        check_version(run_id, version)
        card = unpack_card(packed)
        self._cards[run_id] = card
        return card

    async def _known(self, run_id: str) -> RunCard:
        card = self._cards.get(run_id) or await self.card(run_id)
        if card is None:
            raise KeyError(run_id)
        return card
