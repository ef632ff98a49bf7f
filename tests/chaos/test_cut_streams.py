"""Streams that are reset after every byte that they have: their text is the query's, with nothing doubled or lost.

One loop holds the simulator, whose switch says after which byte a stream is cut, and the API that follows it.
"""

import asyncio
import time

import orjson
import pytest
import uvloop

from pipeline.core.account import Secret
from pipeline.core.answers import Accepted, Completed
from pipeline.core.policy import STREAM
from pipeline.edges import follower
from pipeline.edges.foxapi import FoxApi
from pipeline.edges.http import HttpDoor
from pipeline.edges.http_transport import Headers, HttpSettings
from pipeline.simulator.server import serve
from pipeline.simulator.settings import SimulatorSettings, changed

QUESTION = {
    "model": "gemini-2.5-pro",
    "prompt": "Describe the video.",
    "video_urls": ["https://a.example/v.mp4"],
    "reasoning": True,
}
SHORTEST_STREAM = 2_000
"""Bytes: fewer would mean that not much was cut."""


class Cutting:
    """A simulator and an API that follows its streams."""

    def __init__(self, url, door):
        self.url = url
        self.door = door
        self.api = FoxApi(url, Secret("sk-test-0123456789"), door, clock=time.time, mode=STREAM)

    async def switch(self, **switches):
        reply = await self.door.post(f"{self.url}/admin/settings", Headers({}), orjson.dumps(switches))
        assert reply.status == 200, reply.body

    async def summary(self):
        return orjson.loads((await self.door.get(f"{self.url}/admin/summary", Headers({}))).body)

    async def followed(self):
        """A new generation's answer, as its stream and as a query told it."""
        accepted = await self.api.submit(orjson.dumps(QUESTION))
        assert isinstance(accepted, Accepted)
        streamed = await self.api.follow(accepted.generation_id, accepted.stream)
        asked = await self.api.query(accepted.generation_id)
        assert isinstance(streamed, Completed), streamed
        assert isinstance(asked, Completed), asked
        return streamed.completion, asked.completion

    async def stream_length(self):
        accepted = await self.api.submit(orjson.dumps(QUESTION))
        headers = Headers({"authorization": "Bearer sk-test-0123456789"})
        stream = await self.door.stream(
            "GET", f"{self.url}/v1/llm/generations/{accepted.generation_id}/stream", headers
        )
        length = 0
        while piece := await stream.next():
            length += len(piece)
        await stream.close()
        return length


def cut(monkeypatch, every, **switches):
    """Follow a stream for every so manyth byte that it can be cut after; the connections that were cut."""
    monkeypatch.setattr(follower, "_FIRST_WAIT_S", 0.0)
    started = {"fast": True, "latency": "0s", "seed": 1, "stream_chunks": 5, **switches}

    async def scenario():
        server = await serve(changed(SimulatorSettings(), started))
        door = HttpDoor(HttpSettings())
        try:
            cutting = Cutting(server.base_url, door)
            whole, _ = await cutting.followed()
            assert whole.reasoning
            length = await cutting.stream_length()
            assert length > SHORTEST_STREAM
            places = range(1, length + 1, every)
            for place in places:
                await cutting.switch(stream_cut_after_bytes=place)
                streamed, asked = await cutting.followed()
                said = (streamed.content, streamed.reasoning, streamed.finish_reason)
                assert said == (asked.content, whole.reasoning, "stop"), f"cut after {place} bytes"
            return len(places), (await cutting.summary())["faults"]["stream_cut"]
        finally:
            await door.close()
            await server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(scenario())


FRAMINGS = pytest.mark.parametrize("named", [True, False], ids=["named", "bare"])
BASES = pytest.mark.parametrize("base", [0, 1])


@BASES
@FRAMINGS
def test_a_stream_that_is_cut_once_loses_and_doubles_nothing(monkeypatch, base, named):
    places, cuts = cut(monkeypatch, 7, stream_cuts=1, stream_offset_base=base, stream_named=named)
    assert cuts == places


@BASES
def test_nor_does_one_that_is_cut_again_and_again(monkeypatch, base):
    places, cuts = cut(monkeypatch, 97, stream_cuts=3, stream_offset_base=base, stream_piece_bytes=5)
    assert cuts > places  # what is left after a late cut is too short for another


@pytest.mark.chaos
@BASES
@FRAMINGS
@pytest.mark.parametrize("cuts", [1, 3])
@pytest.mark.parametrize("comments", [False, True], ids=["plain", "comments"])
def test_after_every_single_byte(monkeypatch, base, named, cuts, comments):
    switches = {"stream_offset_base": base, "stream_named": named, "stream_comments": comments}
    places, found = cut(monkeypatch, 1, stream_cuts=cuts, **switches)
    assert found >= places
