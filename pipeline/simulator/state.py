"""What all routes share: switches, books, counts and the clock, and the answers that any of them may give."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import orjson

from pipeline.simulator import faults
from pipeline.simulator.arrivals import Arrivals, told
from pipeline.simulator.completions import error_body
from pipeline.simulator.distortions import server_error
from pipeline.simulator.faults import Bucket, Chances, Fault
from pipeline.simulator.generations import Generations, Viewer
from pipeline.simulator.latency import Latency
from pipeline.simulator.messages import Answer, NoAnswer, Request, Response
from pipeline.simulator.pacer import Pacer
from pipeline.simulator.settings import SimulatorSettings
from pipeline.simulator.traffic import Traffic
from pipeline.simulator.validation import Refusal

_BAD_KEY = Refusal(401, "authentication_error", "The API key is missing or not accepted.")
_TOO_MANY = 429
_SHORTEST_KEY = len("sk-") + 1


def refused(refusal: Refusal, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """Return the answer that says so."""
    return Response(refusal.status, error_body(refusal), headers=headers)


def as_json(value: object, status: int = 200) -> Response:
    """Return a JSON answer."""
    return Response(status, orjson.dumps(value))


class State:
    """One simulator's state behind its routes; a reset puts new books in the place of the old ones."""

    def __init__(
        self,
        settings: SimulatorSettings,
        viewer: Viewer | None,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.chances = Chances.of(settings)
        self.clock = clock
        self.wall = wall
        self.pacer = Pacer(clock)
        self._viewer = viewer
        self._retired: list[Generations] = []
        self._start_afresh()

    def _start_afresh(self) -> None:
        self.generations = Generations(self.settings, self.clock, self.wall, self._viewer)
        self.traffic = Traffic()
        self.submit_bucket = Bucket(self.clock())
        self.query_bucket = Bucket(self.clock())

    def change(self, settings: SimulatorSettings) -> None:
        """Take these settings from now on; what was accepted ends as it was drawn."""
        self.settings = settings
        self.chances = Chances.of(settings)
        self.generations.settings = settings

    def reset(self) -> None:
        """Forget every generation and count; settings stay, old ids get 404."""
        self._retired.append(self.generations)
        self._start_afresh()

    async def close(self) -> None:
        """Stop what generations are doing."""
        self.pacer.close()
        for generations in (*self._retired, self.generations):
            await generations.close()

    def locked(self, request: Request) -> Response | None:
        """Return the refusal of a key that is missing or not accepted."""
        scheme, _, key = (request.authorization or "").partition(" ")
        accepted = self.settings.keys
        fits = key in accepted if accepted else len(key) >= _SHORTEST_KEY and key.startswith("sk-")
        if scheme.lower() == "bearer" and fits:
            return None
        return refused(replace(_BAD_KEY, status=self.settings.auth_error_status))

    def note(self, arrivals: Arrivals, answer: Answer | None) -> None:
        """Write down that a request came and what it was told; None where it was taken and waits for its answer."""
        status = 200 if answer is None else told(answer)
        wait_s = faults.retry_after_s(self.settings) if status == _TOO_MANY else None
        arrivals.note(self.clock() + self.generations.books.epoch, status, wait_s)

    def throttled(self, refusal: Refusal = faults.THROTTLED) -> Response:
        """Return a 429."""
        return refused(refusal, faults.retry_after(self.settings, self.wall()))

    def faulty(self, fault: Fault) -> Answer:
        """Return what a request gets that goes no further, and count it."""
        self.traffic.faults[fault.value] += 1
        match fault:
            case Fault.SUBMIT_THROTTLE | Fault.QUERY_THROTTLE:
                return self.throttled()
            case Fault.NO_CHANNEL:
                return refused(faults.NO_CHANNEL)
            case Fault.QUERY_MISSING:
                return refused(faults.NOT_FOUND)
            case Fault.HANGUP_BEFORE:
                return NoAnswer.HANGUP
        return server_error(self.settings.error_status)

    def delayed(self, answer: Answer | Awaitable[Answer], delay: Latency) -> Answer | Awaitable[Answer]:
        """Return the answer, after the delay that is drawn where there is one."""
        return answer if delay.is_zero else _later(answer, delay.draw(self.generations.rng))


async def _later(answer: Answer | Awaitable[Answer], delay_s: float) -> Answer:
    await asyncio.sleep(delay_s)
    return await answer if isinstance(answer, Awaitable) else answer
