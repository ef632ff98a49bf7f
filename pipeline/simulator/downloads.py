"""How the simulator looks at videos as the real API would: it downloads and decodes them.

Each URL once, however many rows ask for it; a failure is told to those who wait for it and not remembered. A video is
on disk while it is looked at: it must never be held in memory.
"""

import asyncio
import binascii
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import count
from pathlib import Path

import aiohttp

from pipeline.simulator.facts import Facts, NotAVideo, measure
from pipeline.simulator.generations import VideoTrouble

# Videos that are downloaded or decoded at once.
_AT_ONCE = 4
_MOST_REMEMBERED = 100_000
_CHUNK = 1 << 16
_DECODED_AT_ONCE = 1 << 20  # characters of base64: a multiple of four
_TIMEOUT = aiohttp.ClientTimeout(total=120, sock_connect=10, sock_read=30)
_INLINE = "inline:"
_NOT_BASE64 = "not base64"

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
        self._folder = tempfile.TemporaryDirectory(prefix="vidbatch-simulator-")
        self._numbers = count()
        self.own: Callable[[str], Path | None] = lambda _url: None
        """Where the file behind a URL of this simulator's own is; set by whoever keeps uploads."""

    def store(self, url: str) -> str:
        """Put an inline video aside, and return the word for it that `look` knows; any other URL is its own word."""
        if not url.startswith("data:"):
            return url
        path = self._new_path()
        begins, fingerprint = url.index(",") + 1, sha256()
        try:
            with path.open("wb") as file:
                for at in range(begins, len(url), _DECODED_AT_ONCE):
                    piece = binascii.a2b_base64(url[at : at + _DECODED_AT_ONCE], strict_mode=True)
                    file.write(piece)
                    fingerprint.update(piece)
        except binascii.Error:
            path.unlink(missing_ok=True)
            return _INLINE + _NOT_BASE64
        if fingerprint.digest() in self._by_content:
            path.unlink()
        else:
            path.replace(self._inline_path(fingerprint.hexdigest()))
        return _INLINE + fingerprint.hexdigest()

    def _new_path(self) -> Path:
        return Path(self._folder.name) / f"video-{next(self._numbers)}"

    def _inline_path(self, fingerprint: str) -> Path:
        return Path(self._folder.name) / f"inline-{fingerprint}"

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
            own = self.own(url)
            if own is not None:
                return await self._measured(own)
            if url.startswith(_INLINE):
                return await self._look_inline(url.removeprefix(_INLINE))
            path = self._new_path()
            try:
                await self._download(url, path)
                return await self._measured(path)
            finally:
                path.unlink(missing_ok=True)

    async def _look_inline(self, fingerprint: str) -> Seen:
        if fingerprint == _NOT_BASE64:
            raise VideoTrouble("The inline video is not valid base64.")
        known = bytes.fromhex(fingerprint)
        if known not in self._by_content:
            # One that is no video stays: another row may have brought it again meanwhile, and waits.
            await self._measured(self._inline_path(fingerprint))
            self._inline_path(fingerprint).unlink(missing_ok=True)
        return known, self._by_content[known]

    async def _measured(self, path: Path) -> Seen:
        in_thread = asyncio.get_running_loop().run_in_executor
        fingerprint = await in_thread(self._decoders, _fingerprint, path)
        if fingerprint not in self._by_content:
            try:
                self._by_content[fingerprint] = await in_thread(self._decoders, measure, path)
            except NotAVideo as error:
                raise VideoTrouble(f"The video was fetched, but {error}") from error
        return fingerprint, self._by_content[fingerprint]

    async def _download(self, url: str, path: Path) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        try:
            async with self._session.get(url) as response:
                response.raise_for_status()
                await self._bounded(response, path)
        except aiohttp.ClientResponseError as error:
            raise VideoTrouble(f"The video's server answered with {error.status}.") from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise VideoTrouble(f"The video can't be downloaded: {type(error).__name__}.") from error

    async def _bounded(self, response: aiohttp.ClientResponse, path: Path) -> None:
        size = 0
        with path.open("wb") as file:
            async for chunk in response.content.iter_chunked(_CHUNK):
                size += len(chunk)
                if size > self._max_video_bytes:
                    raise VideoTrouble(f"The video is larger than {self._max_video_bytes} bytes.")
                file.write(chunk)

    async def close(self) -> None:
        """Stop everything that is under way."""
        looks = list(self._looks.values())
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._folder.cleanup()


def _fingerprint(path: Path) -> bytes:
    found = sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.digest()
