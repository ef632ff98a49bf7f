"""Following a stream: which rows, what is asked besides, and what a shift does with streams that outlast it."""

import asyncio
from dataclasses import replace

import pytest

from pipeline.core.answers import Accepted, Completed, Completion, Failed, Missing, Problem, Running, Throttled, Trouble
from pipeline.core.following import ASKS, is_followed
from pipeline.core.lifecycle import Outcome
from pipeline.core.policy import Policy
from pipeline.core.records import RowRecord
from pipeline.flows.following import followed
from pipeline.flows.poll import poll_shift
from tests.unit.test_shift import Work

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000_000
RECORD = RowRecord(generation_id="task-1", submitted_at=NOW * 1000, stream="/its/path")
STREAMED = Completion(content="said", reasoning="thought")
ASKED = Completion(content="said", prompt_tokens=3, usage='{"prompt_tokens":3}')
PROBLEM = Problem("code", "words")


class Api:
    """Answers in turn, and notes what it was asked."""

    def __init__(self, stream, *polls):
        self._stream, self._polls = stream, list(polls)
        self.asked = []

    async def follow(self, generation_id, stream=""):
        self.asked.append((generation_id, stream))
        return self._stream

    async def query(self, generation_id):
        self.asked.append(generation_id)
        return self._polls.pop(0)


class Clock:
    waited = 0.0

    async def sleep(self, seconds):
        self.waited += seconds


def now():
    return NOW


@pytest.mark.parametrize(
    ("ended", "took_ms", "running_ms"),
    [
        (Completed(Completion(usage="{}")), 9_000, 69_999),
        (Completed(STREAMED), 9_000, 69_999),
        (Completed(Completion(usage="{}")), 500, 0),
        (Running("ended badly"), 9_000, 0),
    ],
)
async def test_how_long_a_generation_took_is_known_where_its_stream_was_being_written(ended, took_ms, running_ms):
    times = iter([NOW + 61_000, NOW + 61_000 + took_ms])
    record = RowRecord(generation_id="task-1", submitted_at=NOW * 1000)
    _, seen = await followed(Api(ended, Completed(ASKED)), Clock(), record, lambda: next(times))
    assert seen.running_ms == running_ms + (took_ms - 9_000) * bool(running_ms)


async def test_a_stream_that_tells_what_it_used_needs_no_poll():
    whole = Completion(content="said", usage="{}")
    api = Api(Completed(whole))
    assert (await followed(api, Clock(), RECORD, now))[0] == Completed(whole)
    assert api.asked == [("task-1", "/its/path")]


async def test_a_poll_tells_what_the_answer_used_and_the_stream_what_was_thought():
    api = Api(Completed(STREAMED), Running("processing"), Completed(ASKED))
    answer, _ = await followed(api, Clock(), RECORD, now)
    assert answer == Completed(Completion("said", "thought", prompt_tokens=3, usage='{"prompt_tokens":3}'))


async def test_an_answer_whose_use_nobody_tells_is_kept_as_it_was_streamed():
    clock, api = Clock(), Api(Completed(STREAMED), *[Trouble(PROBLEM)] * ASKS)
    assert (await followed(api, clock, RECORD, now))[0] == Completed(STREAMED)
    assert (len(api.asked), 0 < clock.waited < 30) == (1 + ASKS, True)


@pytest.mark.parametrize("ended", [Running("ended badly"), Trouble(PROBLEM), Missing(PROBLEM)])
async def test_a_stream_that_ended_badly_is_asked_for_once(ended):
    api = Api(ended, Completed(ASKED))
    assert (await followed(api, Clock(), RECORD, now))[0] == Completed(ASKED)
    assert len(api.asked) == 2


@pytest.mark.parametrize("ended", [Failed(PROBLEM, retryable=True), Throttled(PROBLEM, 3.0)])
async def test_what_settles_a_row_is_not_asked_for(ended):
    assert (await followed(Api(ended), Clock(), RECORD, now))[0] == ended


@pytest.mark.parametrize(
    ("record", "mode", "age_s", "is_it"),
    [
        (RECORD, "stream", 0, True),
        (RECORD, "async", 0, False),
        (RECORD, "stream", 839, True),
        (RECORD, "stream", 841, False),
        (RowRecord(generation_id="task-1", submitted_at=NOW * 1000, polls=1), "stream", 0, False),
        (RowRecord(generation_id="task-1"), "stream", 0, False),
    ],
)
def test_a_stream_is_followed_while_it_is_kept_and_until_it_ended_badly(record, mode, age_s, is_it):
    assert is_followed(record, Policy(mode=mode), NOW + age_s * 1000) is is_it


class Streams:
    """Each stream is open for so many seconds, and then complete."""

    def __init__(self, seconds):
        self._seconds = seconds
        self.open = self.most_open = self.begun = 0

    async def submit(self, body):
        return Accepted(f"task-{body.decode()}")

    async def follow(self, generation_id, stream=""):
        assert stream == ""
        self.begun += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self.open -= 1
        return Completed(Completion(content=generation_id, usage="{}"))


@pytest.fixture
def anyio_backend(simulated_backend):
    return simulated_backend


@pytest.fixture
def work(loop_clock):
    return Work(loop_clock)


async def test_a_shift_follows_all_streams_at_once_as_far_as_its_window_goes(work):
    await work.open(rows=50, mode="stream")
    streams = Streams(seconds=30.0)
    await work.submit(streams, window=50)
    assert await work.poll(streams, window=50, seconds=60.0) == 50
    assert (streams.most_open, (await work.look()).outcomes[Outcome.COMPLETED]) == (50, 51)
    [first, *_] = sorted(await work.results(), key=lambda result: result.row_index)
    assert (first.record.polls, first.ending.completion.content) == (1, "task-0")


async def test_streams_that_outlast_a_shift_are_left_and_the_next_one_follows_them_at_once(work):
    await work.open(rows=3, mode="stream")
    streams = Streams(seconds=30.0)
    await work.submit(streams)
    await work.poll(streams, seconds=10.0)
    run = await work.look()
    assert (streams.open, run.pending, run.pending_due, run.accepted) == (0, 3, 3, 3)
    assert work.clock.monotonic() < 20.0  # nobody waited for them
    await work.poll(streams, seconds=60.0)
    assert (streams.begun, (await work.look()).outcomes[Outcome.COMPLETED]) == (6, 4)


async def test_a_shift_for_whose_place_others_wait_leaves_its_streams_before_its_time(work):
    await work.open(rows=3, mode="stream")
    streams = Streams(seconds=30.0)
    await work.submit(streams)
    since = work.clock.monotonic()
    bench = replace(work.bench("poll", 16, 120.0), yields=lambda: work.clock.monotonic() - since >= 10.0)
    await poll_shift(bench, work.ledger, streams, work.clock, work.policy, lambda: 0.0)
    run = await work.look()
    assert (streams.open, run.pending, run.pending_due) == (0, 3, 3)
    assert work.clock.monotonic() - since < 11.0


async def test_how_long_a_followed_generation_took_is_known_exactly(work):
    await work.open(rows=1, mode="stream")
    streams = Streams(seconds=30.0)
    await work.submit(streams)
    await work.poll(streams, seconds=60.0)
    [seen] = await work.ledger.observed("api#key")
    assert 29_000 < seen.low_ms == seen.high_ms - 1 < 32_000
