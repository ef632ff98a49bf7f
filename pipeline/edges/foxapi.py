"""The API port over HTTP: a request's bytes or a generation's id in, one value of `answers` out.

It never raises for anything that the network or the API does, never tries again (one place decides on that, and it is
not here), and never lets the key out: what the API echoes is masked before anything reads it.
"""

from collections.abc import Callable, Mapping
from urllib.parse import quote

from pipeline.core.account import Secret, checked_base_url
from pipeline.core.answers import Ambiguous, NothingSent, QueryAnswer, SubmitAnswer, Trouble
from pipeline.core.policy import ASYNC, SYNC_STREAM
from pipeline.core.polling import LONGEST_RETRY_AFTER_S
from pipeline.core.reading import read_query, read_submit
from pipeline.core.reading_posts import success_in
from pipeline.core.wire import fox_body
from pipeline.edges.follower import Follower
from pipeline.edges.http import DoorError, HttpDoor, HttpReply, NotSentError
from pipeline.edges.http_stream import EVENTS
from pipeline.edges.http_transport import JSON, headers_with
from pipeline.edges.masking import Masking
from pipeline.edges.payload import NO_VIDEOS, InlineVideo, Payload, spliced
from pipeline.edges.streams import Hear, posted


class FoxApi:
    """FoxAPI at `base_url`, seen with one key.

    `mode` is one of `core.policy.MODES`; `clock` tells unix seconds, for `Retry-After` dates;
    `longest_retry_after_s` is the ceiling of what is obeyed.
    Raises `SettingsError` for a base URL that can't be used.
    """

    def __init__(
        self,
        base_url: str,
        key: Secret,
        door: HttpDoor,
        *,
        clock: Callable[[], float],
        longest_retry_after_s: float = LONGEST_RETRY_AFTER_S,
        mode: str = ASYNC,
    ) -> None:
        base = checked_base_url(base_url)
        self._submit_url = f"{base}/v1/llm/generations"
        self._tasks_url = f"{base}/v1/tasks/"
        self._door = door
        self._clock = clock
        self._longest_retry_after_s = longest_retry_after_s
        self._mask = Masking(key)
        self._mode = mode
        self._success = success_in(mode, base)
        self._get_headers = headers_with(key, JSON)
        self._post_headers = headers_with(key, f"{EVENTS}, {JSON}" if mode == SYNC_STREAM else JSON, JSON)
        self._follower = Follower(base, door, headers_with(key, EVENTS), self._mask, self._read_query)

    async def submit(self, body: bytes, videos: Mapping[str, str | InlineVideo] = NO_VIDEOS) -> SubmitAnswer:
        """Submit one request, `body` being its JSON; at most one request goes over the wire.

        `videos` are those that are sent as something else than the body has them.
        """
        try:
            came = await self._posted(spliced(fox_body(body, self._mode), videos))
        except NotSentError as error:
            return NothingSent(self._mask.problem(error.problem))
        except DoorError as error:
            return Ambiguous(self._mask.problem(error.problem))
        if not isinstance(came, HttpReply):
            return self._mask.answer(came)
        reply = self._mask.reply(came)
        answer = read_submit(
            reply.status,
            reply.headers,
            reply.body,
            now=self._clock(),
            longest_retry_after=self._longest_retry_after_s,
            success=self._success,
        )
        return self._mask.answer(answer)

    async def _posted(self, body: bytes | Payload) -> HttpReply | SubmitAnswer:
        """What the POST brought: a reply to be read, or the end of a stream."""
        if self._mode == SYNC_STREAM:
            return await posted(self._door, self._submit_url, self._post_headers, body, self._mask)
        return await self._door.post(self._submit_url, self._post_headers, body)

    async def query(self, generation_id: str) -> QueryAnswer:
        """Ask once how a generation stands."""
        url = self._tasks_url + quote(generation_id, safe="", errors="replace")
        try:
            return self._read_query(await self._door.get(url, self._get_headers))
        except DoorError as error:
            return Trouble(self._mask.problem(error.problem))

    async def follow(self, generation_id: str, stream: str = "", hear: Hear | None = None) -> QueryAnswer:
        """Follow a generation's stream to its end, over as many connections as that takes."""
        return await self._follower.follow(generation_id, stream, hear)

    def _read_query(self, reply: HttpReply) -> QueryAnswer:
        masked = self._mask.reply(reply)
        answer = read_query(
            masked.status,
            masked.headers,
            masked.body,
            now=self._clock(),
            longest_retry_after=self._longest_retry_after_s,
        )
        return self._mask.answer(answer)

    def __repr__(self) -> str:
        return f"FoxApi({self._submit_url})"
