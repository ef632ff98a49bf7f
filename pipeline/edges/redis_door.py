"""The only door to Redis: connections, scripts, and the translation of its errors.

Retries are off here: a flow knows better than a client whether a lost answer may be asked for again.
"""

import asyncio
import hashlib
import re
from importlib import resources
from typing import Any

from pipeline.core.errors import LedgerRefused, LedgerUnavailable
from pipeline.edges.redis_place import redis_place
from pipeline.edges.redis_refusals import hint, refusal

_PART = re.compile(r"^-- PART (\w+)\n", re.MULTILINE)


class RedisDoor:
    """One client for one process and event loop; make it after the fork."""

    def __init__(self, url: str) -> None:
        # a quarter of a second of CPU, which whoever only asks for help need not wait for
        from pipeline.edges import redis_client  # noqa: PLC0415

        self._no_script, self._refused = redis_client.NO_SCRIPT, redis_client.REFUSED
        self._place = redis_place(url)
        self._client = redis_client.connect(self._place)
        self._sources: dict[str, str] = {}
        self._shas: dict[str, str] = {}

    async def script(self, name: str, keys: list[str], args: list[Any]) -> Any:  # noqa: ANN401 - what Lua returns
        """Run `lua/<name>.lua` atomically. LedgerUnavailable when Redis is away or refuses."""
        if name not in self._sources:
            self._sources[name] = source = self._source(name)
            self._shas[name] = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        try:
            return await self.call("EVALSHA", self._shas[name], len(keys), *keys, *args)
        except self._no_script:
            return await self.call("EVAL", self._sources[name], len(keys), *keys, *args)

    def _source(self, name: str) -> str:
        """A script with its parts: Redis lets none call another, and what two of them do is written once."""
        text = (resources.files("pipeline.edges") / "lua" / f"{name}.lua").read_text(encoding="utf-8")
        return _PART.sub(lambda part: self._source(f"parts/{part[1]}"), text)

    async def call(self, *command: Any) -> Any:  # noqa: ANN401 - what Redis returns
        """One command. LedgerUnavailable when Redis is away, LedgerRefused when it does not let us in.

        A missing script is told apart.
        """
        try:
            reply = await self._client.execute_command(*command)  # type: ignore[no-untyped-call]
        except self._no_script:
            raise
        except self._refused as error:
            _keep_cancelled()
            if why := refusal(error, self._place):
                raise LedgerRefused(why) from error
            told = f"{error}{hint(error, self._place)}"
            raise LedgerUnavailable(f"Redis does not answer as it should: {told}") from error
        _keep_cancelled()
        return reply

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _keep_cancelled() -> None:
    """Raise a cancellation that the client lost: it turns one that meets a dying connection into an error, or none.

    A task that renews something in a loop would then renew it for ever, and a shift would never end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
