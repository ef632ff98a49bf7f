"""Each file is uploaded once, whoever sends it: rows, processes and runs of an account share where it lies.

A URL with a query may bear a signature, which is a secret and may expire: it stays in the process that got it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import uuid4
from weakref import WeakValueDictionary

from pipeline.core.answers import SubmitAnswer
from pipeline.core.errors import LedgerUnavailable
from pipeline.core.preflight import expires_at
from pipeline.edges.clock import unix_seconds
from pipeline.ports import Clock, Uploads

KEPT_S = 70 * 3600.0
"""The API keeps a file for 72 hours; one that is sent has to be there for as long as its generation may wait."""

LEASE_S = 15.0
LOOK_S = 0.25

REMEMBERED = 10_000
"""URLs that a process keeps to itself."""

Upload = Callable[[], Awaitable[str | SubmitAnswer]]


class SharedUploads:
    """Uploads of one process, shared with others through `uploads`."""

    def __init__(self, uploads: Uploads, clock: Clock, look_s: float = LOOK_S, lease_s: float = LEASE_S) -> None:
        self._uploads = uploads
        self._clock = clock
        self._look_s = look_s
        self._lease_s = lease_s
        self._own: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()
        self._alone: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def url_of(self, account: str, digest: str, upload: Upload) -> str | SubmitAnswer:
        """Where a file lies; `upload` is called where nobody else has uploaded it, or is about to."""
        lock = self._alone.setdefault((account, digest), asyncio.Lock())
        async with lock:
            holder = uuid4().hex
            while (url := await self._found(account, digest)) is None:
                if await self._uploads.take(account, digest, holder, self._lease_s):
                    return await self._upload(account, digest, holder, upload)
                await self._clock.sleep(self._look_s)  # another process is at it, or died a moment ago
            return url

    async def _upload(self, account: str, digest: str, holder: str, upload: Upload) -> str | SubmitAnswer:
        renewing = asyncio.create_task(self._renew(account, digest, holder))
        try:
            if (url := await self._found(account, digest)) is not None:  # another was through just before
                return url
            told = await upload()
            if isinstance(told, str):
                await self._keep(account, digest, told)
            return told
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            with suppress(LedgerUnavailable):
                await self._uploads.release(account, digest, holder)

    async def _found(self, account: str, digest: str) -> str | None:
        url, until = self._own.get((account, digest), ("", 0.0))
        return url if until > self._clock.monotonic() else await self._uploads.find(account, digest)

    async def _keep(self, account: str, digest: str, url: str) -> None:
        if "?" not in url:
            with suppress(LedgerUnavailable):  # then somebody uploads it again
                await self._uploads.keep(account, digest, url, KEPT_S)
            return
        # half of its life is left to the generation, which may wait before the video is fetched
        ends = expires_at(url)
        seconds = KEPT_S if ends is None else min(KEPT_S, (ends - unix_seconds()) / 2)
        self._own[account, digest] = url, self._clock.monotonic() + seconds
        if len(self._own) > REMEMBERED:
            self._own.popitem(last=False)

    async def _renew(self, account: str, digest: str, holder: str) -> None:
        while True:
            await self._clock.sleep(self._lease_s / 3)
            with suppress(LedgerUnavailable):
                await self._uploads.take(account, digest, holder, self._lease_s)
