"""`GET /v1/llm/generations/{id}/stream?offset=N`: whether there is a stream to follow, and from where."""

from urllib.parse import parse_qs

from pipeline.simulator import faults
from pipeline.simulator.billing import STREAM
from pipeline.simulator.chunks import Framing
from pipeline.simulator.faults import StreamFault
from pipeline.simulator.messages import EVENTS, Answer, Request, Response, Streamed, kind
from pipeline.simulator.state import State, refused
from pipeline.simulator.streams import Follower
from pipeline.simulator.tasks import STREAM_SUFFIX, SUBMIT_PATH
from pipeline.simulator.validation import Refusal

_NO_STREAM = Refusal(400, "invalid_request_error", "This generation was not submitted with stream=true.")
_GONE = "The chunks of this generation are kept no longer."
_NO_OFFSET = Refusal(400, "invalid_request_error", "offset must be a whole number of 0 or more.")
_LONGEST_OFFSET = 9


def is_stream_path(path: str) -> bool:
    """Tell whether a path is that of a stream."""
    return path.startswith(SUBMIT_PATH + "/") and path.endswith(STREAM_SUFFIX)


class StreamRoute:
    """Lets connections follow generations."""

    def __init__(self, state: State) -> None:
        self._state = state

    def handle(self, request: Request) -> Answer:
        """Answer one GET of a stream, and count it."""
        answer = self._follow(request)
        self._state.traffic.stream_answers[kind(answer)] += 1
        return answer

    def _follow(self, request: Request) -> Answer:
        state = self._state
        locked = state.locked(request)
        if locked is not None:
            return locked
        offset = parse_qs(request.query, keep_blank_values=True).get("offset", ["0"])[-1]
        if not (offset.isascii() and offset.isdecimal() and len(offset) <= _LONGEST_OFFSET):
            return refused(_NO_OFFSET)
        sequence = state.generations.find(request.path[len(SUBMIT_PATH) + 1 : -len(STREAM_SUFFIX)])
        if sequence is None:
            return refused(faults.NOT_FOUND)
        refusal = self._refusal(sequence)
        if refusal is not None:
            return refused(refusal)
        settings = state.settings
        framing = Framing(named=settings.stream_named, commented=settings.stream_comments)
        head = Response(200, b"", EVENTS, (("Cache-Control", "no-cache"),))
        first = max(0, int(offset) - settings.stream_offset_base)
        return Streamed(head, Follower(state, sequence, framing, first=first))

    def _refusal(self, sequence: int) -> Refusal | None:
        state, generations = self._state, self._state.generations
        if generations.books.read(sequence).asked.mode != STREAM:
            return _NO_STREAM
        if generations.now() > generations.books.ends_at(sequence) + state.settings.stream_kept:
            return Refusal(state.settings.stream_gone_status, "not_found", _GONE)
        streaming = generations.streaming[sequence]
        streaming.asked += 1
        if faults.happens(StreamFault.MISSING, state.settings, generations.dice(f"{sequence}/{streaming.asked}")):
            state.traffic.faults[StreamFault.MISSING.value] += 1
            return faults.NOT_FOUND
        return None
