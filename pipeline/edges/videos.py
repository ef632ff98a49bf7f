"""Turns the references of a row into what goes over the wire, right before it is sent; one without any passes through.

A file is sent within the request, or uploaded first; an object of a store becomes a URL that is signed. What can't be
sent as it was planned is refused here, and nothing is sent for it.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from pipeline.core.answers import NothingSent, Problem, QueryAnswer, Refused, SubmitAnswer
from pipeline.core.containers import ENDINGS
from pipeline.core.errors import LedgerUnavailable, StorageError
from pipeline.core.other_sources import UnfitVideo
from pipeline.core.policy import Policy
from pipeline.core.references import (
    VIDEO_CHANGED,
    FileVideo,
    InlineData,
    StoreVideo,
    has_references,
    read_reference,
    videos_in,
)
from pipeline.edges.media_files import UnreadableNow
from pipeline.edges.object_signing import signed
from pipeline.edges.payload import InlineVideo, RawVideo
from pipeline.edges.sending_slots import SendingSlots, Slot
from pipeline.edges.sent_files import ChangedVideo, RefusedAhead, SentFile, SentFiles
from pipeline.edges.shared_uploads import SharedUploads
from pipeline.edges.uploader import Uploader

Sent = str | InlineVideo

_LEFT = Problem("not_begun", "the worker was told to stop before this row's request began")


class SendsVideos(Protocol):
    """An API that is told what to send for a reference."""

    async def submit(self, body: bytes, videos: Mapping[str, Sent] = ...) -> SubmitAnswer:
        """`Api.submit`, with what stands for which reference."""

    async def query(self, generation_id: str) -> QueryAnswer:
        """`Api.query`."""
        ...

    async def follow(self, generation_id: str, stream: str = "") -> QueryAnswer:
        """`Api.follow`."""
        ...


class LooksAhead(Protocol):
    """Looks at a video before it is sent."""

    async def trouble_of(self, url: str) -> Problem | None:
        """Why a URL is not worth its POST; nothing where it is, or where nobody can tell."""
        ...


@dataclass(frozen=True, slots=True)
class Uploading:
    """How an account uploads files; an API without a store of its own has none."""

    uploader: Uploader
    shared: SharedUploads
    account: str


class _Told(Exception):
    """Carries an answer out: nothing was sent."""

    def __init__(self, answer: SubmitAnswer) -> None:
        super().__init__()
        self.answer = answer


class VideoApi:
    """Implements `ports.Api` over one that knows nothing of files."""

    def __init__(
        self,
        api: SendsVideos,
        files: SentFiles,
        policy: Policy,
        slots: SendingSlots,
        *,
        uploading: Uploading | None = None,
        ahead: LooksAhead | None = None,
    ) -> None:
        self._api = api
        self._files = files
        self._policy = policy
        self._slots = slots
        self._uploading = uploading
        self._ahead = ahead

    async def query(self, generation_id: str) -> QueryAnswer:
        """Ask once for a generation."""
        return await self._api.query(generation_id)

    async def follow(self, generation_id: str, stream: str = "") -> QueryAnswer:
        """Follow a generation's stream to its end."""
        return await self._api.follow(generation_id, stream)

    async def submit(self, body: bytes) -> SubmitAnswer:
        """One POST, with the videos in it; uploads come before it, where there are any."""
        if self._ahead is None and not has_references(body):
            return await self._api.submit(body)
        async with AsyncExitStack() as held:
            try:
                videos = await self._ready(videos_in(body), held)
            except _Told as told:
                return told.answer
            except ChangedVideo as changed:
                return Refused(Problem(VIDEO_CHANGED, str(changed)))
            except RefusedAhead as refused:
                return Refused(refused.problem)
            except UnfitVideo as unfit:
                return Refused(Problem("video_refused", unfit.allowed))
            except (UnreadableNow, StorageError) as error:
                return NothingSent(Problem("video_unreadable", str(error)))
            except LedgerUnavailable as error:
                return NothingSent(Problem("redis_away", str(error)))
            except asyncio.CancelledError:
                return NothingSent(_LEFT)  # the one answer that is known: in doubt, the row might be billed twice
            return await self._api.submit(body, videos)

    async def _ready(self, named: list[str], held: AsyncExitStack) -> dict[str, Sent]:
        """What is sent for each reference. What is open is closed with `held`."""
        videos: dict[str, Sent] = {}
        files: dict[str, FileVideo | InlineData] = {}
        for text in named:
            match read_reference(text):
                case StoreVideo() as stored:
                    videos[text] = await asyncio.to_thread(signed, stored)
                case FileVideo() | InlineData() as file:
                    files[text] = file
        if self._ahead is not None:
            await self._look_ahead(self._ahead, [videos.get(text, text) for text in named if text not in files])
        size = sum(file.size for file in files.values())
        if not self._policy.upload and size <= self._policy.inline_limit:
            return videos | (await self._inline(files, held) if files else {})
        return videos | {text: await self._uploaded(file) for text, file in files.items()}

    async def _look_ahead(self, ahead: LooksAhead, urls: list[Sent]) -> None:
        looks = [ahead.trouble_of(url) for url in urls if isinstance(url, str)]
        for problem in await asyncio.gather(*looks):
            if problem is not None:
                raise _Told(Refused(problem))

    async def _inline(self, files: Mapping[str, FileVideo | InlineData], held: AsyncExitStack) -> dict[str, Sent]:
        slot = await self._slots.taken()
        held.callback(slot.give_back)
        videos: dict[str, Sent] = {}
        opened: list[SentFile] = []
        for text, planned in files.items():
            file = await self._files.opened(planned, anew=True)
            held.callback(file.close)
            opened.append(file)
            videos[text] = InlineVideo(file.media_type, planned.size, file.pieces)
        gone = _Countdown(len(opened), slot)
        for file in opened:
            file.on_done(gone)
        return videos

    async def _uploaded(self, planned: FileVideo | InlineData) -> str:
        """Where a file lies at the API."""
        uploading = self._uploading
        if uploading is None:
            limit = self._policy.inline_limit
            raise UnfitVideo(f"files of at most {limit:,} bytes a row, together: this API takes no uploads")
        url = await uploading.shared.url_of(
            uploading.account, planned.sha256, partial(self._upload, uploading.uploader, planned)
        )
        if not isinstance(url, str):
            raise _Told(url)
        return url

    async def _upload(self, uploader: Uploader, planned: FileVideo | InlineData) -> str | SubmitAnswer:
        slot = await self._slots.taken()
        try:
            file = await self._files.opened(planned, anew=False)
            try:
                # named by its content: a path is nobody else's business
                name = f"{planned.sha256[:16]}{_ending(planned, file)}"
                return await uploader.upload(name, file.media_type, RawVideo(planned.size, file.pieces))
            finally:
                file.close()
        finally:
            slot.give_back()


class _Countdown:
    """Gives a slot back when all files of its row went out."""

    def __init__(self, left: int, slot: Slot) -> None:
        self._left = left
        self._slot = slot

    def __call__(self) -> None:
        self._left -= 1
        if not self._left:
            self._slot.give_back()


def _ending(planned: FileVideo | InlineData, file: SentFile) -> str:
    if isinstance(planned, FileVideo):
        return f".{planned.path.rpartition('.')[2].lower()}"
    return ENDINGS.get(file.media_type, ".mp4")
