"""Routes to answers: what the simulator says to each request.

It knows nothing of sockets: `App.handle` takes a whole request and returns a whole answer, at once where nothing
delays it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import orjson

from pipeline.simulator import faults
from pipeline.simulator.admin import Admin, Traffic
from pipeline.simulator.arrivals import Arrivals, told
from pipeline.simulator.completions import error_body
from pipeline.simulator.distortions import distorted, server_error
from pipeline.simulator.faults import Bucket, Chances, Fault, drawn
from pipeline.simulator.generations import Generations, Viewer
from pipeline.simulator.latency import Latency
from pipeline.simulator.media import Shelf
from pipeline.simulator.messages import Answer, NoAnswer, Request, Response, kind
from pipeline.simulator.settings import SimulatorSettings
from pipeline.simulator.validation import Refusal, check, most_videos

SUBMIT_PATH = "/v1/llm/generations"
TASK_PREFIX = "/v1/tasks/"
MEDIA_PREFIX = "/media/"
MODELS_PATH = "/v1/configs/llm_generations_models"
CREDITS_PATH = "/v1/account/credits"

_NO_ROUTE = Refusal(404, "not_found", "There is nothing at this path.")
_WRONG_METHOD = Refusal(405, "invalid_request_error", "This path does not take this method.")
_BAD_KEY = Refusal(401, "authentication_error", "The API key is missing or not accepted.")
_UNKNOWN_STATUS = "archiving"
_TOO_MANY = 429


def _refuse(refusal: Refusal, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    return Response(refusal.status, error_body(refusal), headers=headers)


class App:
    """One simulator's state behind its routes."""

    def __init__(
        self,
        settings: SimulatorSettings,
        shelf: Shelf,
        viewer: Viewer | None,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """`clock` is monotonic seconds, `wall` unix seconds; no viewer means fast mode."""
        self.settings = settings
        self._chances = Chances.of(settings)
        self._shelf = shelf
        self._viewer = viewer
        self._clock = clock
        self._wall = wall
        self._retired: list[Generations] = []
        self.on_refuse: Callable[[float], None] = lambda _seconds: None  # set by whoever listens
        self._admin = Admin(
            generations=lambda: self.generations,
            traffic=lambda: self.traffic,
            settings=lambda: self.settings,
            change=self.change,
            reset=self.reset,
            refuse=self.refuse,
        )
        self._start_afresh()

    def _start_afresh(self) -> None:
        self.generations = Generations(self.settings, self._clock, self._wall, self._viewer)
        self.traffic = Traffic()
        self._submit_bucket = Bucket(self._clock())
        self._query_bucket = Bucket(self._clock())

    def change(self, settings: SimulatorSettings) -> None:
        """Take these settings from now on; what was accepted ends as it was drawn."""
        self.settings = settings
        self._chances = Chances.of(settings)
        self.generations.settings = settings

    def reset(self) -> None:
        """Forget every generation and count; settings stay, old ids get 404."""
        self._retired.append(self.generations)
        self._start_afresh()

    def refuse(self, seconds: float) -> None:
        """Have connections refused for so long; those that stand get one more answer."""
        self.on_refuse(seconds)

    async def close(self) -> None:
        """Stop what generations are doing."""
        for generations in (*self._retired, self.generations):
            await generations.close()

    def handle(self, request: Request) -> Answer | Awaitable[Answer]:
        """Answer one request."""
        path = request.path
        if path == SUBMIT_PATH:
            return self._only("POST", request, self._counted_submit)
        if path.startswith(TASK_PREFIX):
            return self._only("GET", request, self._counted_query)
        if path.startswith(MEDIA_PREFIX):
            return self._media(request)
        if path.startswith("/admin/"):
            return self._admin.handle(request)
        if path == MODELS_PATH:
            return self._only("GET", request, self._models)
        if path == CREDITS_PATH:
            return self._only("GET", request, self._credits)
        return _refuse(_NO_ROUTE)

    def _only(
        self, method: str, request: Request, route: Callable[[Request], Answer | Awaitable[Answer]]
    ) -> Answer | Awaitable[Answer]:
        return route(request) if request.method == method else _refuse(_WRONG_METHOD)

    # Who asks.

    def _locked(self, request: Request) -> Response | None:
        scheme, _, key = (request.authorization or "").partition(" ")
        accepted = self.settings.keys
        if scheme.lower() == "bearer" and (key in accepted if accepted else len(key) > 3 and key.startswith("sk-")):  # noqa: PLR2004 - sk- and something
            return None
        return _refuse(replace(_BAD_KEY, status=self.settings.auth_error_status))

    def _note(self, arrivals: Arrivals, answer: Answer) -> None:
        status = told(answer)
        wait_s = faults.retry_after_s(self.settings) if status == _TOO_MANY else None
        arrivals.note(self._clock() + self.generations.books.epoch, status, wait_s)

    # Submit.

    def _counted_submit(self, request: Request) -> Answer | Awaitable[Answer]:
        accepted_before = self.generations.books.accepted
        answer = self._submit(request)
        self._note(self.traffic.post_arrivals, answer)
        self.traffic.posts += 1
        self.traffic.post_answers[kind(answer)] += 1
        if self.generations.books.accepted == accepted_before:
            self.traffic.refused[kind(answer)] += 1
        return self._delayed(answer, self.settings.submit_delay)

    def _submit(self, request: Request) -> Answer:
        locked = self._locked(request)
        if locked is not None:
            return locked
        submission = check(request.body, self.settings)
        if isinstance(submission, Refusal):
            return _refuse(submission)
        barred = self._barred()
        if barred is not None:
            return barred
        sequence, task = self.generations.accept(submission)
        answer = self._told(task)
        answer.receipt = partial(self.generations.books.answer, sequence)
        fault = drawn(self._chances.after_submit, self.generations.rng)
        return answer if fault is None else self._accepted_wrongly(sequence, task, answer, fault)

    def _accepted_wrongly(self, sequence: int, task: dict[str, Any], answer: Response, fault: Fault) -> Answer:
        if fault is Fault.DUPLICATE_ID:
            another = self.generations.another_id(sequence)
            if another is None:
                return answer
            answer = self._told({**task, "id": another})
        self.traffic.faults[fault.value] += 1
        return distorted(answer, fault, self.settings)

    def _barred(self) -> Answer | None:
        """Return why a valid POST is not accepted now, if it isn't."""
        settings, now = self.settings, self.generations.now()
        if not self._submit_bucket.admits(settings.submit_per_minute, settings.burst, now):
            return self._throttled()
        books = self.generations.books
        if settings.balance is not None and books.totals.cost >= settings.balance:
            return _refuse(faults.BALANCE_EMPTY)
        if settings.max_open is not None and books.open >= settings.max_open:
            return _refuse(faults.TOO_MANY_OPEN, faults.retry_after(settings, self._wall()))
        fault = drawn(self._chances.before_submit, self.generations.rng)
        return None if fault is None else self._faulty(fault)

    def _throttled(self) -> Response:
        return _refuse(faults.THROTTLED, faults.retry_after(self.settings, self._wall()))

    def _faulty(self, fault: Fault) -> Answer:
        self.traffic.faults[fault.value] += 1
        match fault:
            case Fault.SUBMIT_THROTTLE | Fault.QUERY_THROTTLE:
                return self._throttled()
            case Fault.NO_CHANNEL:
                return _refuse(faults.NO_CHANNEL)
            case Fault.QUERY_MISSING:
                return _refuse(faults.NOT_FOUND)
            case Fault.HANGUP_BEFORE:
                return NoAnswer.HANGUP
        return server_error(self.settings.error_status)

    def _told(self, task: dict[str, Any]) -> Response:
        if self.settings.credits_reported:
            task["usage"] = {"credits_reserved": 1.0, "user_group": "default"}
        return Response(200, orjson.dumps(task))

    def _delayed(self, answer: Answer, delay: Latency) -> Answer | Awaitable[Answer]:
        return answer if delay.is_zero else _later(answer, delay.draw(self.generations.rng))

    # Query.

    def _counted_query(self, request: Request) -> Answer | Awaitable[Answer]:
        answer = self._query(request)
        self._note(self.traffic.query_arrivals, answer)
        self.traffic.queries += 1
        self.traffic.query_answers[kind(answer)] += 1
        return self._delayed(answer, self.settings.query_delay)

    def _query(self, request: Request) -> Answer:
        locked = self._locked(request)
        if locked is not None:
            return locked
        if not self._query_bucket.admits(self.settings.query_per_minute, self.settings.burst, self._clock()):
            return self._throttled()
        fault = drawn(self._chances.before_query, self.generations.rng)
        if fault is not None:
            return self._faulty(fault)
        hidden = self.settings.refresh_hides_results and "sync_upstream=true" in request.query
        task = self.generations.query(request.path[len(TASK_PREFIX) :], results_hidden=hidden)
        if task is None:
            return _refuse(faults.NOT_FOUND)
        if task["results"] is not None and self._drew(drawn(self._chances.completed_query, self.generations.rng)):
            task["results"] = None
        fault = drawn(self._chances.after_query, self.generations.rng)
        return self._told(task) if fault is None else self._answered_wrongly(task, fault)

    def _drew(self, fault: Fault | None) -> bool:
        if fault is not None:
            self.traffic.faults[fault.value] += 1
        return fault is not None

    def _answered_wrongly(self, task: dict[str, Any], fault: Fault) -> Answer:
        self.traffic.faults[fault.value] += 1
        if fault is Fault.UNKNOWN_STATUS:
            return self._told({**task, "status": _UNKNOWN_STATUS, "results": None, "error": None})
        return distorted(self._told(task), fault, self.settings)

    # The rest.

    def _media(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return _refuse(_WRONG_METHOD)
        return self._shelf.find(request.path[len(MEDIA_PREFIX) :]) or _refuse(_NO_ROUTE)

    def _models(self, request: Request) -> Response:
        locked = self._locked(request)
        if locked is not None:
            return locked
        known = most_videos(self.settings.models)
        models = [{"id": name, "capabilities": ["video", "text"]} for name in known]
        return Response(200, orjson.dumps({"object": "list", "data": models}))

    def _credits(self, request: Request) -> Response:
        locked = self._locked(request)
        if locked is not None:
            return locked
        self.generations.now()
        used = self.generations.books.totals.cost
        balance = self.settings.balance
        left = None if balance is None else max(0.0, balance - used)
        return Response(200, orjson.dumps({"credits": left, "used": used}))


async def _later(answer: Answer, delay_s: float) -> Answer:
    await asyncio.sleep(delay_s)
    return answer
