"""The back door: what was accepted and billed, and every switch, while the simulator runs.

It needs no key and therefore answers only peers on this machine.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import orjson

from pipeline.core.errors import SettingsError
from pipeline.simulator.completions import error_body
from pipeline.simulator.faults import NOT_FOUND
from pipeline.simulator.generations import Generations
from pipeline.simulator.messages import Request, Response
from pipeline.simulator.parsing import a_number
from pipeline.simulator.settings import changed_live, shown
from pipeline.simulator.state import State
from pipeline.simulator.traffic import Traffic
from pipeline.simulator.uploads import Uploads
from pipeline.simulator.validation import Refusal

_MOST_ROWS = 10_000
_FORBIDDEN = Refusal(403, "permission_error", "The admin endpoint answers only this machine.")


def summary(generations: Generations, traffic: Traffic) -> dict[str, Any]:
    """Return the books in one object.

    `refused` are POSTs that created nothing, by status. `posts_unanswered` are those that created a generation whose
    id was not told, be it for a fault, be it that the client was gone, or that the answer is still on its way.
    """
    generations.now()
    books = generations.books
    return {
        "posts_received": traffic.posts,
        "posts_accepted": books.accepted,
        "posts_unanswered": books.accepted - books.answered,
        "faults": dict(traffic.faults),
        "refused": dict(traffic.refused),
        "post_answers": dict(traffic.post_answers),
        "queries_received": traffic.queries,
        "query_answers": dict(traffic.query_answers),
        "polls": books.polls,
        "uploads": traffic.upload_answers["200"],
        "upload_answers": dict(traffic.upload_answers),
        "stream_connections": traffic.streams,
        "stream_answers": dict(traffic.stream_answers),
        "stream_chunks": traffic.chunks,
        "open_streams": traffic.open_streams,
        "max_open_streams": traffic.most_open_streams,
        "open": books.open,
        "max_open": books.most_open,
        "completed": books.totals.completed,
        "failed": books.totals.failed,
        "answers_written": dict(generations.writer.counts),
        "prompt_tokens": books.totals.prompt_tokens,
        "completion_tokens": books.totals.completion_tokens,
        "reasoning_tokens": books.totals.reasoning_tokens,
        "audio_tokens": books.totals.audio_tokens,
        "video_tokens": books.totals.video_tokens,
        "cost": books.totals.cost,
    }


class Admin:
    """The admin routes."""

    def __init__(self, state: State, uploads: Uploads, refuse: Callable[[float], None]) -> None:
        self._state = state
        self._uploads = uploads
        self._refuse = refuse

    def handle(self, request: Request) -> Response:
        """Answer a request below /admin/."""
        if not request.from_loopback:
            return Response(403, error_body(_FORBIDDEN))
        match request.method, request.path:
            case "GET", "/admin/summary":
                return _json(summary(self._state.generations, self._state.traffic))
            case "GET", "/admin/posts":
                return self._posts(request.query)
            case "GET", "/admin/arrivals":
                return self._arrivals(request.query)
            case "GET", "/admin/uploads":
                return _json({"count": len(self._uploads.rows()), "uploads": self._uploads.rows()})
            case "GET", "/admin/settings":
                return _json(shown(self._state.settings))
            case "POST", "/admin/settings":
                return self._set(request.body)
            case "POST", "/admin/reset":
                self._state.reset()
                self._uploads.reset()
                return _json(summary(self._state.generations, self._state.traffic))
            case "POST", "/admin/refuse":
                return self._refuse_connections(request.query)
        return Response(404, error_body(NOT_FOUND))

    def _refuse_connections(self, query: str) -> Response:
        try:
            seconds = a_number(parse_qs(query).get("seconds", [""])[-1])
        except SettingsError as error:
            return _refused(f"seconds: {error}")
        self._refuse(seconds)
        return _json({"refusing_s": seconds})

    def _posts(self, query: str) -> Response:
        page = _page(query)
        if page is None:
            return _NO_PAGE
        return _json({"count": self._state.generations.books.accepted, "posts": self._state.generations.rows(*page)})

    def _arrivals(self, query: str) -> Response:
        page = _page(query)
        if page is None:
            return _NO_PAGE
        kinds = {"posts": self._state.traffic.post_arrivals, "polls": self._state.traffic.query_arrivals}
        kind = parse_qs(query).get("kind", [""])[-1]
        if kind not in kinds:
            return _refused(f"kind: found {kind!r}; allowed are {', '.join(kinds)}.")
        arrivals = kinds[kind]
        return _json({"count": len(arrivals), "arrivals": arrivals.rows(*page)})

    def _set(self, body: bytes | bytearray) -> Response:
        try:
            changes = orjson.loads(body)
        except orjson.JSONDecodeError:
            return _refused("The body is not valid JSON.")
        if not isinstance(changes, dict):
            return _refused("The body must be a JSON object of settings.")
        try:
            self._state.change(changed_live(self._state.settings, changes))
        except SettingsError as error:
            return _refused(str(error))
        return _json(shown(self._state.settings))


def _json(value: object) -> Response:
    return Response(200, orjson.dumps(value))


def _refused(message: str) -> Response:
    return Response(400, error_body(Refusal(400, "invalid_request_error", message)))


_NO_PAGE = _refused("offset and limit must be whole numbers.")


def _page(query: str) -> tuple[int, int] | None:
    """Return offset and limit, or None where they are no numbers."""
    numbers = {name: values[-1] for name, values in parse_qs(query).items()}
    offset, limit = numbers.get("offset", "0"), numbers.get("limit", "1000")
    if not (offset.isdecimal() and limit.isdecimal()):
        return None
    return int(offset), min(int(limit), _MOST_ROWS)
