"""The back door: what was accepted and billed, and every switch, while the simulator runs.

It needs no key and therefore answers only peers on this machine.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import orjson

from pipeline.core.errors import SettingsError
from pipeline.simulator.arrivals import Arrivals
from pipeline.simulator.completions import error_body
from pipeline.simulator.faults import NOT_FOUND
from pipeline.simulator.generations import Generations
from pipeline.simulator.messages import Request, Response
from pipeline.simulator.parsing import a_number
from pipeline.simulator.settings import SimulatorSettings, changed_live, shown
from pipeline.simulator.validation import Refusal

_MOST_ROWS = 10_000
_FORBIDDEN = Refusal(403, "permission_error", "The admin endpoint answers only this machine.")


@dataclass(slots=True)
class Traffic:
    """Counts of what came over the wire, by status, or by the word for what came instead of a whole answer.

    The arrivals tell of each when it came and what it was told.
    `faults` counts what was injected, by the name of the switch without its `_rate`.
    """

    posts: int = 0
    queries: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    post_answers: Counter[str] = field(default_factory=Counter)
    query_answers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    post_arrivals: Arrivals = field(default_factory=Arrivals)
    query_arrivals: Arrivals = field(default_factory=Arrivals)


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


@dataclass(frozen=True, slots=True)
class Admin:
    """The admin routes, over whatever simulator the callables reach."""

    generations: Callable[[], Generations]
    traffic: Callable[[], Traffic]
    settings: Callable[[], SimulatorSettings]
    change: Callable[[SimulatorSettings], None]
    reset: Callable[[], None]
    refuse: Callable[[float], None]

    def handle(self, request: Request) -> Response:
        """Answer a request below /admin/."""
        if not request.from_loopback:
            return Response(403, error_body(_FORBIDDEN))
        match request.method, request.path:
            case "GET", "/admin/summary":
                return _json(summary(self.generations(), self.traffic()))
            case "GET", "/admin/posts":
                return self._posts(request.query)
            case "GET", "/admin/arrivals":
                return self._arrivals(request.query)
            case "GET", "/admin/settings":
                return _json(shown(self.settings()))
            case "POST", "/admin/settings":
                return self._set(request.body)
            case "POST", "/admin/reset":
                self.reset()
                return _json(summary(self.generations(), self.traffic()))
            case "POST", "/admin/refuse":
                return self._refuse_connections(request.query)
        return Response(404, error_body(NOT_FOUND))

    def _refuse_connections(self, query: str) -> Response:
        try:
            seconds = a_number(parse_qs(query).get("seconds", [""])[-1])
        except SettingsError as error:
            return _refused(f"seconds: {error}")
        self.refuse(seconds)
        return _json({"refusing_s": seconds})

    def _posts(self, query: str) -> Response:
        page = _page(query)
        if page is None:
            return _NO_PAGE
        return _json({"count": self.generations().books.accepted, "posts": self.generations().rows(*page)})

    def _arrivals(self, query: str) -> Response:
        page = _page(query)
        if page is None:
            return _NO_PAGE
        kinds = {"posts": self.traffic().post_arrivals, "polls": self.traffic().query_arrivals}
        kind = parse_qs(query).get("kind", [""])[-1]
        if kind not in kinds:
            return _refused(f"kind: found {kind!r}; allowed are {', '.join(kinds)}.")
        arrivals = kinds[kind]
        return _json({"count": len(arrivals), "arrivals": arrivals.rows(*page)})

    def _set(self, body: bytes) -> Response:
        try:
            changes = orjson.loads(body)
        except orjson.JSONDecodeError:
            return _refused("The body is not valid JSON.")
        if not isinstance(changes, dict):
            return _refused("The body must be a JSON object of settings.")
        try:
            self.change(changed_live(self.settings(), changes))
        except SettingsError as error:
            return _refused(str(error))
        return _json(shown(self.settings()))


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
