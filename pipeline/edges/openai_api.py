"""The API port over any server of OpenAI's chat completions: the POST itself brings the answer.

It never raises for anything that the network or the API does, never tries again, and never lets the key out.
"""

from collections.abc import Callable, Mapping

from pipeline.core.account import Secret, checked_base_url
from pipeline.core.answers import Ambiguous, Missing, NothingSent, Problem, QueryAnswer, Running, SubmitAnswer
from pipeline.core.chat import chat_body
from pipeline.core.chat_reading import as_chat, read_chat
from pipeline.core.polling import LONGEST_RETRY_AFTER_S
from pipeline.edges.http import DoorError, HttpDoor, HttpReply, NotSentError
from pipeline.edges.http_stream import EVENTS
from pipeline.edges.http_transport import JSON, headers_with
from pipeline.edges.masking import Masking
from pipeline.edges.payload import NO_VIDEOS, InlineVideo, Payload, spliced
from pipeline.edges.streams import posted

_NO_IDS = Problem("no_generations", "This API keeps no generations: an answer comes on its POST, or not at all.")


class OpenAiApi:
    """An OpenAI-compatible API at `base_url`, which ends as the official client has it, seen with one key.

    `stream` has answers come as streams; the other arguments are those of `FoxApi`.
    """

    def __init__(
        self,
        base_url: str,
        key: Secret,
        door: HttpDoor,
        *,
        clock: Callable[[], float],
        longest_retry_after_s: float = LONGEST_RETRY_AFTER_S,
        stream: bool = False,
    ) -> None:
        self._url = f"{checked_base_url(base_url)}/chat/completions"
        self._door = door
        self._clock = clock
        self._longest_retry_after_s = longest_retry_after_s
        self._mask = Masking(key)
        self._stream = stream
        self._headers = headers_with(key, f"{EVENTS}, {JSON}" if stream else JSON, JSON)

    async def submit(self, body: bytes, videos: Mapping[str, str | InlineVideo] = NO_VIDEOS) -> SubmitAnswer:
        """Ask one request, `body` being its JSON as FoxAPI takes it; at most one request goes over the wire.

        `videos` are those that are sent as something else than the body has them.
        """
        try:
            came = await self._posted(spliced(chat_body(body, stream=self._stream), videos))
        except NotSentError as error:
            return NothingSent(self._mask.problem(error.problem))
        except DoorError as error:
            return Ambiguous(self._mask.problem(error.problem))
        return self._mask.answer(self._read(self._mask.reply(came)) if isinstance(came, HttpReply) else as_chat(came))

    async def _posted(self, body: bytes | Payload) -> HttpReply | SubmitAnswer:
        """What the POST brought: a reply to be read, or the end of a stream."""
        if self._stream:
            return await posted(self._door, self._url, self._headers, body, self._mask)
        return await self._door.post(self._url, self._headers, body)

    def _read(self, reply: HttpReply) -> SubmitAnswer:
        return read_chat(
            reply.status,
            reply.headers,
            reply.body,
            now=self._clock(),
            longest_retry_after=self._longest_retry_after_s,
        )

    async def query(self, generation_id: str) -> QueryAnswer:
        """Nothing can be asked for here: whatever waits for it was lost."""
        del generation_id
        return Missing(_NO_IDS)

    async def follow(self, generation_id: str, stream: str = "") -> QueryAnswer:
        """Nothing can be followed here."""
        del generation_id, stream
        return Running("not followed")

    def __repr__(self) -> str:
        return f"OpenAiApi({self._url})"
