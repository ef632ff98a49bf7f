"""How the simulator looks at videos as the real API would: it downloads and decodes them.

Each URL once, however many rows ask for it; a failure is told to those who wait for it and not remembered. It must
never hold more than a few videos in memory.
"""

import asyncio
import base64
import binascii
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import aiohttp

from pipeline.simulator.facts import Facts, NotAVideo, measure
from pipeline.simulator.generations import VideoTrouble

# Videos that are downloaded or decoded at once; each may take `max_video_bytes` of memory.
_AT_ONCE = 4
_MOST_REMEMBERED = 100_000
_CHUNK = 1 << 16
_TIMEOUT = aiohttp.ClientTimeout(total=120, sock_connect=10, sock_read=30)

Seen = tuple[bytes, Facts]


class Downloads:
    """A bounded memory of (SHA-256, facts) by URL, and the means to fill it."""

    def __init__(self, max_video_bytes: int) -> None:
        self._max_video_bytes = max_video_bytes
        self._looks: OrderedDict[str, asyncio.Task[Seen]] = OrderedDict()
        self._by_content: dict[bytes, Facts] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._session: aiohttp.ClientSession | None = None
        self._decoders = ThreadPoolExecutor(max_workers=2, thread_name_prefix="decode")

    async def look(self, url: str) -> Seen:
        """Return the SHA-256 of the video's bytes, and its facts; raises VideoTrouble."""
        look = self._looks.get(url)
        if look is None:
            look = asyncio.get_running_loop().create_task(self._look(url))
            self._looks[url] = look
            look.add_done_callback(lambda done: self._forget_failure(url, done))
            self._forget_oldest()
        self._looks.move_to_end(url)
        # One who stops waiting must not take the video from the others.
        return await asyncio.shield(look)

    def _forget_failure(self, url: str, look: "asyncio.Task[Seen]") -> None:
        if (look.cancelled() or look.exception() is not None) and self._looks.get(url) is look:
            del self._looks[url]

    def _forget_oldest(self) -> None:
        while len(self._looks) > _MOST_REMEMBERED:
            self._looks.popitem(last=False)
        if len(self._by_content) > _MOST_REMEMBERED:
            self._by_content.clear()

    async def _look(self, url: str) -> Seen:
        async with self._slots:
            video = _inline(url) if url.startswith("data:") else await self._download(url)
            fingerprint = sha256(video).digest()
            if fingerprint not in self._by_content:
                self._by_content[fingerprint] = await self._measured(video)
            return fingerprint, self._by_content[fingerprint]

    async def _measured(self, video: bytes) -> Facts:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._decoders, measure, video)
        except NotAVideo as error:
            raise VideoTrouble(f"The video was fetched, but {error}") from error

    async def _download(self, url: str) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        try:
            async with self._session.get(url) as response:
                response.raise_for_status()
                return await self._bounded(response)
        except aiohttp.ClientResponseError as error:
            raise VideoTrouble(f"The video's server answered with {error.status}.") from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise VideoTrouble(f"The video can't be downloaded: {type(error).__name__}.") from error

    async def _bounded(self, response: aiohttp.ClientResponse) -> bytes:
        video = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK):
            video += chunk
            if len(video) > self._max_video_bytes:
                raise VideoTrouble(f"The video is larger than {self._max_video_bytes} bytes.")
        return bytes(video)

    async def close(self) -> None:
        """Stop everything that is under way."""
        looks = list(self._looks.values())
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        self._decoders.shutdown(wait=False, cancel_futures=True)


def _inline(uri: str) -> bytes:
    try:
        return base64.b64decode(uri.partition(",")[2], validate=True)
    except binascii.Error as error:
        raise VideoTrouble("The inline video is not valid base64.") from error
