"""The API port in the modes in which answers come on the POST or as a stream, against the simulator over HTTP."""

import asyncio
import time
from contextlib import asynccontextmanager

import orjson
import pytest
import uvloop

from pipeline.core.account import Secret
from pipeline.core.answers import (
    Accepted,
    AccountRefused,
    Ambiguous,
    Answered,
    Completed,
    Failed,
    NothingSent,
    Running,
    Trouble,
)
from pipeline.core.policy import MODES, STREAM, SYNC, SYNC_STREAM
from pipeline.edges import follower
from pipeline.edges.foxapi import FoxApi
from pipeline.edges.http import HttpDoor
from pipeline.edges.http_transport import Headers, HttpSettings
from pipeline.simulator.server import serve
from pipeline.simulator.settings import SimulatorSettings, changed

KEY = "sk-test-0123456789"
QUESTION = {
    "model": "gemini-2.5-pro",
    "prompt": "Describe the video.",
    "video_urls": ["https://a.example/v.mp4"],
    "reasoning": True,
}
SETTINGS = HttpSettings(connect_timeout_s=2, read_timeout_s=0.3, total_timeout_s=5)
POSTED = [SYNC, SYNC_STREAM]


class World:
    """One simulator, one door, and an API for each mode."""

    def __init__(self, url, door):
        self.url = url
        self.door = door
        self.apis = {mode: FoxApi(url, Secret(KEY), door, clock=time.time, mode=mode) for mode in MODES}

    async def submit(self, mode, **fields):
        return await self.apis[mode].submit(orjson.dumps(QUESTION | fields))

    async def follow(self, **fields):
        accepted = await self.submit(STREAM, **fields)
        assert isinstance(accepted, Accepted)
        return await self.apis[STREAM].follow(accepted.generation_id, accepted.stream), accepted.generation_id

    async def query(self, generation_id):
        return await self.apis[STREAM].query(generation_id)

    async def admin(self, page):
        return orjson.loads((await self.door.get(f"{self.url}/admin/{page}", Headers({}))).body)

    async def until(self, page, condition):
        for _ in range(1_000):
            if condition(found := await self.admin(page)):
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(found)


@asynccontextmanager
async def world(settings=SETTINGS, **switches):
    server = await serve(changed(SimulatorSettings(), {"fast": True, "latency": "0s", "seed": 1, **switches}))
    door = HttpDoor(settings)
    try:
        yield World(server.base_url, door)
    finally:
        await door.close()
        await server.close()


@pytest.fixture
def play(monkeypatch):
    """Run a scene in a world with these switches, without waits between connections."""
    monkeypatch.setattr(follower, "_FIRST_WAIT_S", 0.0)

    def player(scene, settings=SETTINGS, **switches):
        async def act():
            async with world(settings, **switches) as made:
                return await scene(made)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(asyncio.wait_for(act(), 20))

    return player


async def every_mode(world):
    """The content of an answer in every mode."""
    accepted = await world.submit("async")
    answers = [(await world.follow())[0], *[await world.submit(mode) for mode in POSTED]]
    answers.insert(0, await world.query(accepted.generation_id))
    assert all(isinstance(answer, Completed | Answered) for answer in answers), answers
    return [answer.completion for answer in answers]


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"stream_named": False, "sync_stream_framing": "bare"},
        {"stream_usage": "last"},
        {"stream_usage": "extra", "stream_offset_base": 1},
        {"stream_piece_bytes": 1, "stream_comments": True},
        {"stream_url_absolute": True},
        {"sync_task": True},
        {"latency": "0.2s"},
    ],
    ids=str,
)
def test_the_same_question_has_the_same_answer_in_every_mode(play, switches):
    asked, followed, *posted = play(every_mode, **switches)
    assert asked.content
    for found in (followed, *posted):
        assert (found.content, found.finish_reason, found.model_answered) == (asked.content, "stop", "gemini-2.5-pro")
        assert found.reasoning
    has_usage = switches.get("stream_usage", "off") != "off"
    assert (followed.usage is not None) == has_usage
    assert (posted[1].usage is not None) == has_usage
    assert posted[0].usage == asked.usage


@pytest.mark.parametrize("switches", [{"sync_stream_framing": "named"}, {"sync_stream_framing": "bare"}], ids=str)
@pytest.mark.parametrize("mode", POSTED)
def test_an_answer_on_the_post_was_read_to_its_end(play, mode, switches):
    async def scene(world):
        await world.submit(mode)
        found = await world.until("posts", lambda posts: posts["posts"][0]["answered"])
        return found["posts"], (await world.admin("summary"))["posts_received"]

    posts, received = play(scene, **switches)
    assert (len(posts), received) == (1, 1)


@pytest.mark.parametrize("how", ["task", "error"])
def test_a_failed_generation_on_its_post_is_failed(play, how):
    answers = play(
        lambda world: asyncio.gather(*(world.submit(mode) for mode in POSTED)), fail_rate=1.0, sync_errors=how
    )
    for answer in answers:
        assert isinstance(answer, Failed), answer


def test_a_failure_that_looks_like_a_fault_may_have_been_billed(play):
    answer = play(lambda world: world.submit(SYNC), fail_rate=1.0, sync_errors="status")
    assert isinstance(answer, Ambiguous)


@pytest.mark.parametrize("mode", POSTED)
@pytest.mark.parametrize("switches", [{"sync_limit": 0.1}, {"latency": "30s"}], ids=["limit", "silence"])
def test_an_answer_that_is_given_up_may_have_been_billed(play, mode, switches):
    answer = play(lambda world: world.submit(mode), **{"latency": "30s", **switches})
    assert isinstance(answer, Ambiguous)


@pytest.mark.parametrize("fault", ["stream_cut_rate", "stream_silence_rate"])
def test_a_stream_on_the_post_that_breaks_is_ambiguous_and_not_asked_for_again(play, fault):
    async def scene(world):
        return await world.submit(SYNC_STREAM), (await world.admin("summary"))["posts_received"]

    answer, received = play(scene, **{fault: 1.0})
    assert isinstance(answer, Ambiguous)
    assert answer.problem.code == "no_answer"
    assert received == 1


def test_an_error_in_the_stream_on_the_post_is_worth_another_attempt(play):
    answer = play(lambda world: world.submit(SYNC_STREAM), stream_error_rate=1.0)
    assert isinstance(answer, Failed)
    assert (answer.problem.code, answer.retryable) == ("generation_failed", True)


@pytest.mark.parametrize(
    "switches",
    [
        {"stream_missing_rate": 1.0},
        {"stream_error_rate": 1.0},
        {"stream_cut_rate": 1.0},
        {"stream_cut_after_bytes": 30},
        {"fail_rate": 1.0},
    ],
    ids=str,
)
def test_a_stream_that_can_not_be_followed_to_its_end_is_left_to_the_query(play, switches):
    answer, _ = play(lambda world: world.follow(), **switches)
    assert isinstance(answer, Running | Trouble), answer


def test_a_stream_that_is_kept_no_longer_is_left_to_the_query(play):
    async def scene(world):
        accepted = await world.submit(STREAM)
        await world.until("summary", lambda found: found["posts_received"] and not found["open"])
        return await world.apis[STREAM].follow(accepted.generation_id)

    assert isinstance(play(scene, stream_kept=0.0), Running)


def test_a_silent_stream_is_given_up_and_gone_on_with(play):
    async def scene(world):
        accepted = await world.submit(STREAM)
        following = asyncio.create_task(world.apis[STREAM].follow(accepted.generation_id))
        await world.until("summary", lambda found: found["faults"].get("stream_silence"))
        reply = await world.door.post(
            f"{world.url}/admin/settings", Headers({}), orjson.dumps({"stream_silence_rate": 0.0})
        )
        assert reply.status == 200
        return await following

    assert isinstance(play(scene, stream_silence_rate=1.0), Completed)


def test_a_generation_without_a_stream_is_left_to_the_query(play):
    async def scene(world):
        accepted = await world.submit("async")
        unknown = await world.apis[STREAM].follow("task-of-nobody")
        return await world.apis[STREAM].follow(accepted.generation_id), unknown

    assert all(isinstance(answer, Running) for answer in play(scene))


def test_a_path_from_elsewhere_that_is_none_of_this_host_is_not_gone_to(play):
    async def scene(world):
        accepted = await world.submit(STREAM)
        return await world.apis[STREAM].follow(accepted.generation_id, "//elsewhere.invalid/stream")

    assert isinstance(play(scene), Completed)


def test_the_account_is_told_apart_from_the_stream(play):
    async def scene(world):
        stranger = FoxApi(world.url, Secret("sk-another-0123456"), world.door, clock=time.time, mode=STREAM)
        return await stranger.follow("task-1")

    assert isinstance(play(scene, keys=KEY), AccountRefused)


def test_an_api_that_went_away_is_trouble_for_a_stream_and_nothing_sent_for_posts(play):
    async def scene(world):
        accepted = await world.submit(STREAM)
        gone = World("http://127.0.0.1:9", world.door)
        follow = await gone.apis[STREAM].follow(accepted.generation_id)
        return follow, [await gone.submit(mode) for mode in POSTED]

    follow, posts = play(scene)
    assert isinstance(follow, Trouble)
    assert all(isinstance(answer, NothingSent) for answer in posts)


def test_a_stream_that_is_left_is_closed_and_can_be_followed_from_its_start(play):
    async def scene(world):
        accepted = await world.submit(STREAM)
        following = asyncio.create_task(world.apis[STREAM].follow(accepted.generation_id))
        await world.until("summary", lambda found: found["stream_chunks"] > 2)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await world.until("summary", lambda found: found["open_streams"] == 0)
        return await world.apis[STREAM].follow(accepted.generation_id), await world.query(accepted.generation_id)

    followed, asked = play(scene, latency="0.6s")
    assert followed.completion.content == asked.completion.content
