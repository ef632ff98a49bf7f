"""`POST /v1/llm/generations` in its four modes: what is accepted, and what the POST is told."""

import asyncio
from collections.abc import Awaitable
from functools import partial
from typing import Any

from pipeline.simulator import faults
from pipeline.simulator.chunks import Framing
from pipeline.simulator.distortions import distorted
from pipeline.simulator.faults import Fault, StreamFault, drawn
from pipeline.simulator.messages import EVENTS, Answer, Request, Response, Streamed, kind
from pipeline.simulator.state import State, refused
from pipeline.simulator.streams import Follower
from pipeline.simulator.sync_calls import SyncCall
from pipeline.simulator.tasks import told_task
from pipeline.simulator.validation import Refusal, Submission, check

# What a POST that waits for its generation is told before the generation's end.
_AT_ONCE = (Fault.ERROR_AFTER, Fault.HANGUP_AFTER, Fault.SUBMIT_SILENCE)


class Submissions:
    """Takes submissions into the books."""

    def __init__(self, state: State) -> None:
        self._state = state

    def handle(self, request: Request) -> Answer | Awaitable[Answer]:
        """Answer one POST, and count it."""
        state, traffic = self._state, self._state.traffic
        accepted_before = state.generations.books.accepted
        answer = self._submit(request)
        state.note(traffic.post_arrivals, None if isinstance(answer, asyncio.Future) else answer)
        traffic.posts += 1
        if isinstance(answer, asyncio.Future):
            answer.add_done_callback(self._count)
        else:
            traffic.post_answers[kind(answer)] += 1
            if state.generations.books.accepted == accepted_before:
                traffic.refused[kind(answer)] += 1
        return state.delayed(answer, state.settings.submit_delay)

    def _submit(self, request: Request) -> "Answer | asyncio.Future[Answer]":
        state = self._state
        locked = state.locked(request)
        if locked is not None:
            return locked
        submission = check(request.body, state.settings)
        request.body = b""  # one that waits for its answer need not hold it
        if isinstance(submission, Refusal):
            return refused(submission)
        barred = self._barred()
        if barred is not None:
            return barred
        sequence, task = state.generations.accept(submission)
        fault = drawn(state.chances.after_submit, state.generations.rng)
        if submission.sync:
            return self._synchronous(sequence, submission, fault)
        answer = told_task(state, task, request)
        answer.receipt = partial(state.generations.books.answer, sequence)
        return answer if fault is None else self._accepted_wrongly(sequence, task, answer, fault, request)

    def _barred(self) -> Answer | None:
        """Return why a valid POST is not accepted now, if it isn't."""
        state = self._state
        settings, now = state.settings, state.generations.now()
        if not state.submit_bucket.admits(settings.submit_per_minute, settings.burst, now):
            return state.throttled()
        books = state.generations.books
        if settings.balance is not None and books.totals.cost >= settings.balance:
            return refused(faults.BALANCE_EMPTY)
        if settings.max_open is not None and books.open >= settings.max_open:
            return state.throttled(faults.TOO_MANY_OPEN)
        fault = drawn(state.chances.before_submit, state.generations.rng)
        return None if fault is None else state.faulty(fault)

    def _accepted_wrongly(
        self, sequence: int, task: dict[str, Any], answer: Response, fault: Fault, request: Request
    ) -> Answer:
        state = self._state
        if fault is Fault.DUPLICATE_ID:
            another = state.generations.another_id(sequence)
            if another is None:
                return answer
            task["stream"] = True if task["stream"] else None
            answer = told_task(state, {**task, "id": another}, request)
        state.traffic.faults[fault.value] += 1
        return distorted(answer, fault, state.settings)

    def _synchronous(
        self, sequence: int, submission: Submission, fault: Fault | None
    ) -> "Answer | asyncio.Future[Answer]":
        """Return the answer to a POST that waits; it has no id, so there is none that could be another's."""
        state = self._state
        fault = None if fault is Fault.DUPLICATE_ID else fault
        if fault is not None:
            state.traffic.faults[fault.value] += 1
        if fault in _AT_ONCE:
            return distorted(Response(200, b""), fault, state.settings)
        if submission.stream and fault in (None, Fault.SUBMIT_CUT):
            return self._streamed(sequence, StreamFault.CUT if fault else None)
        if fault is None:
            return SyncCall(state, sequence, lambda answer: answer).answer
        return SyncCall(state, sequence, lambda answer: distorted(answer, fault, state.settings)).answer

    def _streamed(self, sequence: int, fault: StreamFault | None) -> Answer:
        state, settings = self._state, self._state.settings
        framing = Framing(named=settings.sync_stream_framing == "named", commented=settings.stream_comments)
        head = Response(200, b"", EVENTS, (("Cache-Control", "no-cache"),))
        head.receipt = partial(state.generations.books.answer, sequence)
        return Streamed(head, Follower(state, sequence, framing, fault=fault))

    def _count(self, done: "asyncio.Future[Answer]") -> None:
        word = "gone" if done.cancelled() else kind(done.result())
        self._state.traffic.post_answers[word] += 1
