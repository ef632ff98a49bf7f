"""The APIs that a worker's child speaks, each made at its first use: one for an address and a way to be answered."""

from pipeline.core.modes import OPENAI
from pipeline.core.policy import ASYNC, FOLLOWS, HOLDS, SYNC_STREAM
from pipeline.core.reach import Reach
from pipeline.edges.clock import unix_seconds
from pipeline.edges.foxapi import FoxApi
from pipeline.edges.http import HttpDoor
from pipeline.edges.http_transport import FOLLOWING, PATIENT, HttpSettings
from pipeline.edges.openai_api import OpenAiApi
from pipeline.edges.videos import SendsVideos
from pipeline.ports import Api, Clock, RunCard
from workers.settings import WorkerSettings
from workers.videos import Videos


class Apis:
    """The doors and APIs of one process and its key."""

    def __init__(self, settings: WorkerSettings, clock: Clock) -> None:
        self._key = settings.key
        self._videos = Videos(settings, clock)
        self._doors: dict[HttpSettings, HttpDoor] = {}
        self._apis: dict[tuple[str, str, str], SendsVideos] = {}
        self._reaches: dict[str, Reach] = {}

    def sending(self, card: RunCard) -> Api:
        """The API of a run, for its POSTs."""
        return self._videos.over(self._spoken(card, card.policy.mode), card, self._door(ASYNC))

    def asking(self, card: RunCard) -> Api:
        """The same for its polls and streams: a poll is answered at once, however POSTs are."""
        mode = card.policy.mode
        return self._spoken(card, mode if mode in FOLLOWS else ASYNC)

    def reach(self, card: RunCard) -> Reach:
        """Whether this process reaches a run's API, as all its shifts there learn."""
        return self._reaches.setdefault(card.base_url, Reach())

    def _spoken(self, card: RunCard, mode: str) -> SendsVideos:
        spoken = (card.api, card.base_url, mode)
        if spoken not in self._apis:
            self._apis[spoken] = self._made(card, mode)
        return self._apis[spoken]

    def _made(self, card: RunCard, mode: str) -> SendsVideos:
        if self._key is None:
            raise RuntimeError("a worker without a key was asked to send")
        if card.api == OPENAI:
            stream = mode == SYNC_STREAM
            return OpenAiApi(card.base_url, self._key, self._door(mode), clock=unix_seconds, stream=stream)
        return FoxApi(card.base_url, self._key, self._door(mode), clock=unix_seconds, mode=mode)

    def _door(self, mode: str) -> HttpDoor:
        """One door for what is answered at once, one for what is held open: they wait for answers of other lengths."""
        settings = FOLLOWING if mode in FOLLOWS else PATIENT if mode in HOLDS else HttpSettings()
        if settings not in self._doors:
            self._doors[settings] = HttpDoor(settings)
        return self._doors[settings]

    async def close(self) -> None:
        """Close every connection."""
        await self._videos.close()
        for door in self._doors.values():
            await door.close()
