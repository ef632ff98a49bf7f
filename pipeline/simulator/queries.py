"""`GET /v1/tasks/{id}`: what a query is told."""

from collections.abc import Awaitable
from typing import Any

from pipeline.simulator import faults
from pipeline.simulator.distortions import distorted
from pipeline.simulator.faults import Fault, drawn
from pipeline.simulator.messages import Answer, Request, kind
from pipeline.simulator.state import State, refused
from pipeline.simulator.tasks import told_task

TASK_PREFIX = "/v1/tasks/"

_UNKNOWN_STATUS = "archiving"


class Queries:
    """Answers queries from the books."""

    def __init__(self, state: State) -> None:
        self._state = state

    def handle(self, request: Request) -> Answer | Awaitable[Answer]:
        """Answer one query, and count it."""
        state = self._state
        answer = self._query(request)
        state.note(state.traffic.query_arrivals, answer)
        state.traffic.queries += 1
        state.traffic.query_answers[kind(answer)] += 1
        return state.delayed(answer, state.settings.query_delay)

    def _query(self, request: Request) -> Answer:
        state = self._state
        settings, chances, rng = state.settings, state.chances, state.generations.rng
        locked = state.locked(request)
        if locked is not None:
            return locked
        if not state.query_bucket.admits(settings.query_per_minute, settings.burst, state.clock()):
            return state.throttled()
        fault = drawn(chances.before_query, rng)
        if fault is not None:
            return state.faulty(fault)
        hidden = settings.refresh_hides_results and "sync_upstream=true" in request.query
        task = state.generations.query(request.path[len(TASK_PREFIX) :], results_hidden=hidden)
        if task is None:
            return refused(faults.NOT_FOUND)
        if task["results"] is not None and self._drew(drawn(chances.completed_query, rng)):
            task["results"] = None
        fault = drawn(chances.after_query, rng)
        return told_task(state, task, request) if fault is None else self._answered_wrongly(task, fault, request)

    def _drew(self, fault: Fault | None) -> bool:
        if fault is not None:
            self._state.traffic.faults[fault.value] += 1
        return fault is not None

    def _answered_wrongly(self, task: dict[str, Any], fault: Fault, request: Request) -> Answer:
        state = self._state
        state.traffic.faults[fault.value] += 1
        if fault is Fault.UNKNOWN_STATUS:
            return told_task(state, {**task, "status": _UNKNOWN_STATUS, "results": None, "error": None}, request)
        return distorted(told_task(state, task, request), fault, state.settings)
