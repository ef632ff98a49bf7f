"""Follows streams of generations to their end, over as many connections as that takes.

A stream that breaks off is gone on with where it broke; one that can't be followed is left to the query, which knows
how its generation ended. Nothing here is kept for a stream but its answer, its parser and its connection.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Final

from pipeline.core.account import checked_base_url
from pipeline.core.answers import AccountRefused, Completed, QueryAnswer, Running, Throttled, Trouble
from pipeline.core.reading_posts import stream_path, usual_stream
from pipeline.core.stream_answer import StreamAnswer, StreamState
from pipeline.edges.http import DoorError, HttpDoor, HttpReply
from pipeline.edges.masking import Masking
from pipeline.edges.streams import Hear, completion_in, gathered

FRUITLESS: Final = 4
"""So many connections in a row may bring no chunk that was not there before; the query tells the end as well."""

_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 2.0
_NOT_SUCH_AN_OFFSET = (400, 404, 416, 422)


class Follower:
    """Follows the streams of one API, seen with one key."""

    def __init__(
        self,
        base_url: str,
        door: HttpDoor,
        headers: Mapping[str, str],
        mask: Masking,
        read: Callable[[HttpReply], QueryAnswer],
    ) -> None:
        """`read` knows what a reply means that is no stream."""
        self._base = checked_base_url(base_url)
        self._origin = "/".join(self._base.split("/")[:3])
        self._door = door
        self._headers = headers
        self._mask = mask
        self._read = read

    async def follow(self, generation_id: str, stream: str, hear: Hear | None = None) -> QueryAnswer:
        """What a stream tells of its generation; Running where it does not tell enough."""
        path = stream_path(stream, self._base, generation_id)
        url = f"{self._origin}{path}" if path else f"{self._base}{usual_stream(generation_id)}"
        answer = StreamAnswer()
        trouble: QueryAnswer = Running("its stream breaks off")
        offset: int | None = None
        fruitless = 0
        while True:
            reached = answer.reached
            try:
                if (told := await self._connection(url, offset, answer, hear)) is not None:
                    return told
            except DoorError as error:
                trouble = Trouble(self._mask.problem(error.problem))
            fruitless = 0 if answer.reached > reached else fruitless + 1
            if fruitless >= FRUITLESS:
                return trouble
            await asyncio.sleep(_wait_s(fruitless))
            offset = answer.go_on()

    async def _connection(
        self, url: str, offset: int | None, answer: StreamAnswer, hear: Hear | None
    ) -> QueryAnswer | None:
        """What one connection tells of the generation; nothing where another one is to go on."""
        came = await self._door.stream("GET", url if offset is None else f"{url}?offset={offset}", self._headers)
        if isinstance(came, HttpReply):
            return self._not_streamed(came, offset, answer)
        broke = await gathered(came, answer, self._mask, hear)
        if answer.state is StreamState.WHOLE or (broke is None and answer.is_finished):
            return Completed(completion_in(answer, self._mask))
        if answer.state in (StreamState.FAILED, StreamState.UNREADABLE):
            return Running(f"its stream {answer.state.value}")
        return None

    def _not_streamed(self, reply: HttpReply, offset: int | None, answer: StreamAnswer) -> QueryAnswer | None:
        if offset is not None and reply.status in _NOT_SUCH_AN_OFFSET:
            answer.begin_anew()
            return None
        if reply.status >= 500:  # noqa: PLR2004 - the HTTP classes are their own names
            return None
        told = self._read(reply)
        return told if isinstance(told, Throttled | AccountRefused) else Running(f"its stream answers {reply.status}")


def _wait_s(fruitless: int) -> float:
    """Seconds until the next connection: soon where the last one brought something, less and less soon where not."""
    return min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0**fruitless) * (0.5 + random.random())  # noqa: S311 - a jitter
