"""Each file is uploaded once, whoever sends it: rows, processes and runs of an account share where it lies."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import uuid4
from weakref import WeakValueDictionary

from pipeline.core.answers import SubmitAnswer
from pipeline.core.errors import LedgerUnavailable
from pipeline.ports import Clock, Uploads

KEPT_S = 70 * 3600.0
"""The API keeps a file for 72 hours; one that is sent has to be there for as long as its generation may wait."""

LEASE_S = 15.0
LOOK_S = 0.25

Upload = Callable[[], Awaitable[str | SubmitAnswer]]


class SharedUploads:
    """Uploads of one process, shared with others through `uploads`."""

    def __init__(self, uploads: Uploads, clock: Clock, look_s: float = LOOK_S, lease_s: float = LEASE_S) -> None:
        self._uploads = uploads
        self._clock = clock
        self._look_s = look_s
        self._lease_s = lease_s
        self._alone: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def url_of(self, account: str, digest: str, upload: Upload) -> str | SubmitAnswer:
        """Where a file lies; `upload` is called where nobody else has uploaded it, or is about to."""
        lock = self._alone.setdefault((account, digest), asyncio.Lock())
        async with lock:
            holder = uuid4().hex
            while (url := await self._uploads.find(account, digest)) is None:
                if await self._uploads.take(account, digest, holder, self._lease_s):
                    return await self._upload(account, digest, holder, upload)
                await self._clock.sleep(self._look_s)  # another process is at it, or died a moment ago
            return url

    async def _upload(self, account: str, digest: str, holder: str, upload: Upload) -> str | SubmitAnswer:
        renewing = asyncio.create_task(self._renew(account, digest, holder))
        try:
            if (url := await self._uploads.find(account, digest)) is not None:  # another was through just before
                return url
            told = await upload()
            if isinstance(told, str):
                with suppress(LedgerUnavailable):  # then somebody uploads it again
                    await self._uploads.keep(account, digest, told, KEPT_S)
            return told
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            with suppress(LedgerUnavailable):
                await self._uploads.release(account, digest, holder)

    async def _renew(self, account: str, digest: str, holder: str) -> None:
        while True:
            await self._clock.sleep(self._lease_s / 3)
            with suppress(LedgerUnavailable):
                await self._uploads.take(account, digest, holder, self._lease_s)
