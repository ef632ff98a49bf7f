"""Answers to POSTs that wait for the generation's end, without a stream."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

from pipeline.simulator.distortions import server_error
from pipeline.simulator.messages import Answer, Response
from pipeline.simulator.state import State, as_json

_GATEWAY_TIMEOUT = 504
_FAILED = 500
_OK = 200
_EMPTY: dict[str, Any] = {"id": "chatcmpl-lost", "object": "chat.completion", "choices": [], "usage": None}


class SyncCall:
    """One POST that waits; `answer` is what it gets, once the generation has ended or the limit is reached.

    A client that goes away cancels the answer, and nothing else: the generation ends and is billed all the same.
    """

    def __init__(self, state: State, sequence: int, distort: Callable[[Response], Answer]) -> None:
        """`distort` is what a fault makes of the answer."""
        self._state = state
        self._generations = state.generations
        self._sequence = sequence
        self._distort = distort
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        limit = state.settings.sync_limit
        if limit is not None:
            state.pacer.at(self._generations.accepted_at(sequence) + limit, self._give_up)
        self._generations.when_planned(sequence, self._planned)

    def _planned(self) -> None:
        ends_at = self._generations.books.ends_at(self._sequence)
        if ends_at < math.inf:
            self._state.pacer.at(ends_at, self._end)

    def _give_up(self) -> None:
        if not self.answer.done():
            self.answer.set_result(server_error(_GATEWAY_TIMEOUT))

    def _end(self) -> None:
        if self.answer.done():
            return
        response, tells = self._told(self._generations.task(self._sequence))
        if tells:
            generations, sequence = self._generations, self._sequence
            response.receipt = lambda read: generations.books.answer(sequence, read)
        self.answer.set_result(self._distort(response))

    def _told(self, task: dict[str, Any]) -> tuple[Response, bool]:
        """Return the answer, and whether it says how the generation ended: a server error does not."""
        settings = self._state.settings
        if task["error"] is not None and settings.sync_errors != "task":
            status = _FAILED if settings.sync_errors == "status" else _OK
            return as_json({"error": task["error"]}, status), status == _OK
        if settings.sync_task or task["error"] is not None:
            return as_json(task), True
        if task["results"] is None:
            # One whose results are lost: the shape that was promised, and nothing in it.
            return as_json({**_EMPTY, "model": task["model"], "created": task["created"]}), True
        return as_json(task["results"][0]), True
