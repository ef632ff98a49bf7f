import asyncio
from contextlib import suppress
from hashlib import sha256

import aiohttp
import orjson
import pytest

from pipeline.simulator.digest import digest
from tests import simulator_client

URL = "https://a.example/v.mp4"
QUESTION = {"model": "gemini-2.5-pro", "prompt": "Describe the video.", "video_urls": [URL]}
SUBMIT = "/v1/llm/generations"


class Client(simulator_client.Client):
    """Short words for what tests ask of answers in each mode."""

    async def submit(self, **fields):
        status, body, _ = await self.call("POST", SUBMIT, json={**QUESTION, **fields})
        return status, orjson.loads(body)

    async def query(self, generation_id):
        return await self.json(f"/v1/tasks/{generation_id}")

    async def ended(self, generation_id):
        while True:
            if (task := await self.query(generation_id))["status"] in ("completed", "failed"):
                return task
            await asyncio.sleep(0.01)

    async def stream(self, path, read=None, method="GET", **more):
        """Status, bytes of the body as far as they came, and whether it came to its end."""
        got = bytearray()
        async with self.session.request(method, path, **more) as answer:
            try:
                async for data in answer.content.iter_any():
                    got += data
                    if read and read(got):
                        return answer.status, bytes(got), False
            except (aiohttp.ClientPayloadError, aiohttp.ClientOSError):
                return answer.status, bytes(got), False
            return answer.status, bytes(got), True

    async def posts(self):
        return (await self.json("/admin/posts"))["posts"]

    async def summary(self):
        return await self.json("/admin/summary")

    async def until(self, holds):
        while True:
            if holds(found := await self.summary()):
                return found
            await asyncio.sleep(0.01)


def play(scene, **switches):
    simulator_client.play(Client, scene, **{"latency": "100ms", **switches})


def events(body):
    """The events of a stream as (name, data), comments left out."""
    found = []
    for block in body.decode().replace("\r\n", "\n").split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            fields = dict(line.split(": ", 1) for line in lines)
            found.append((fields.get("event"), fields["data"]))
    return found


def chunks(body):
    return [orjson.loads(data) for name, data in events(body) if name in ("chunk", None) and data != "[DONE]"]


def said(body, name="content"):
    deltas = [choice["delta"] for chunk in chunks(body) for choice in chunk["choices"]]
    return "".join(delta.get(name) or "" for delta in deltas)


# sync


def test_a_sync_post_is_answered_with_the_completion_itself_when_the_generation_ends():
    async def scene(client):
        began = asyncio.get_running_loop().time()
        status, completion = await client.submit(sync=True, reasoning=True)
        assert asyncio.get_running_loop().time() - began >= 0.2
        assert (status, completion["object"]) == (200, "chat.completion")
        message = completion["choices"][0]["message"]
        assert message["content"].endswith(digest([URL.encode()], QUESTION["prompt"]))
        assert message["reasoning_content"]
        (post,) = await client.posts()
        assert (post["mode"], post["outcome"], post["answered"]) == ("sync", "completed", True)
        assert post["cost"] == completion["usage"]["cost"]
        assert (await client.summary())["post_answers"] == {"200": 1}

    play(scene, latency="200ms")


def test_a_client_that_leaves_a_sync_post_is_billed_all_the_same():
    async def scene(client):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.submit(sync=True)
        await client.until(lambda summary: summary["completed"] == 1)
        (post,) = await client.posts()
        assert (post["answered"], post["cost"] > 0) == (False, True)
        assert (await client.summary())["post_answers"] == {"gone": 1}

    play(scene, latency="300ms")


@pytest.mark.parametrize(
    ("told", "status", "answered"), [("status", 500, False), ("task", 200, True), ("error", 200, True)]
)
def test_a_sync_post_tells_of_a_failed_generation_in_one_of_three_ways(told, status, answered):
    async def scene(client):
        found, body = await client.submit(sync=True)
        assert found == status
        assert body["error"]["code"] == "timeout"
        assert ("status" in body) == (told == "task")
        assert (await client.posts())[0]["answered"] is answered

    play(scene, sync_errors=told, fail_rate=1, fail_codes="timeout", latency="0s")


def test_a_sync_answer_may_come_as_a_task():
    async def scene(client):
        status, task = await client.submit(sync=True)
        assert (status, task["object"], task["status"]) == (200, "llm.generation.task", "completed")
        assert task["results"][0]["object"] == "chat.completion"

    play(scene, sync_task=True, latency="0s")


def test_a_sync_post_beyond_the_limit_gets_504_and_its_generation_goes_on():
    async def scene(client):
        status, body = await client.submit(sync=True)
        assert (status, body["error"]["type"]) == (504, "server_error")
        assert (await client.summary())["open"] == 1
        await client.until(lambda summary: summary["completed"] == 1)
        assert not (await client.posts())[0]["answered"]

    play(scene, sync_limit=0.05, latency="300ms")


@pytest.mark.parametrize("rate", ["submit_cut_rate", "submit_garbled_rate", "hangup_after_rate", "error_after_rate"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_fault_of_the_post_leaves_a_generation_that_is_billed_and_not_answered(rate, stream):
    async def scene(client):
        with suppress(aiohttp.ClientError):
            await client.call("POST", SUBMIT, json={**QUESTION, "sync": True, "stream": stream})
        summary = await client.until(lambda summary: summary["completed"] == 1)
        assert (summary["posts_unanswered"], summary["faults"][rate.removesuffix("_rate")]) == (1, 1)

    play(scene, **{rate: 1}, latency="20ms")


def test_a_model_may_need_reasoning():
    async def scene(client):
        status, body = await client.submit()
        assert (status, body["error"]["type"]) == (422, "invalid_request_error")
        assert (await client.submit(reasoning=True))[0] == 200

    play(scene, reasoning_required="gemini-2.5-pro")


# stream


def test_a_stream_says_what_the_query_says_and_what_was_thought_besides():
    async def scene(client):
        _, task = await client.submit(stream=True, reasoning=True)
        path = task["stream"]["url"]
        assert path == f"{SUBMIT}/{task['id']}/stream"
        status, body, whole = await client.stream(path)
        assert (status, whole) == (200, True)
        found = events(body)
        assert {name for name, _ in found[:-1]} == {"chunk"}
        assert found[-1] == ("done", f'{{"total_chunks":{len(found) - 1}}}')
        first, *_, last = chunks(body)
        assert first["object"] == "chat.completion.chunk"
        assert first["choices"][0]["delta"]["role"] == "assistant"
        assert last["choices"][0]["finish_reason"] == "stop"
        names = [next(iter(chunk["choices"][0]["delta"]), "") for chunk in chunks(body)]
        assert names == sorted(names, key=["role", "reasoning_content", "content", ""].index)
        message = (await client.query(task["id"]))["results"][0]["choices"][0]["message"]
        assert said(body) == message["content"]
        assert said(body, "reasoning_content")
        assert "reasoning_content" not in message
        summary = await client.summary()
        assert (summary["stream_connections"], summary["open_streams"]) == (1, 0)
        assert summary["stream_chunks"] == len(found) - 1
        assert (await client.posts())[0]["mode"] == "stream"

    play(scene)


def test_chunks_come_while_the_generation_is_processing():
    async def scene(client):
        _, task = await client.submit(stream=True)
        _, body, _ = await client.stream(task["stream"]["url"], read=lambda got: got.count(b"\n\n") > 1)
        assert body.count(b"\n\n") < 10
        assert (await client.query(task["id"]))["status"] == "processing"

    play(scene, latency="2s")


@pytest.mark.parametrize("base", [0, 1])
def test_an_offset_goes_on_where_another_connection_stopped(base):
    async def scene(client):
        _, task = await client.submit(stream=True)
        path = task["stream"]["url"]
        _, whole, _ = await client.stream(path)
        for offset in (0, 1, 5, len(chunks(whole)), 10**6):
            _, rest, _ = await client.stream(f"{path}?offset={offset}")
            assert chunks(rest) == chunks(whole)[max(0, offset - base) :]
            assert events(rest)[-1] == events(whole)[-1]
        for offset in ("-1", "x", "", "1.5"):
            assert (await client.stream(f"{path}?offset={offset}"))[0] == 400

    play(scene, stream_offset_base=base, latency="0s")


def test_any_number_of_connections_follow_one_generation():
    async def scene(client):
        _, task = await client.submit(stream=True)
        bodies = await asyncio.gather(*(client.stream(task["stream"]["url"]) for _ in range(20)))
        assert len({body for _, body, _ in bodies}) == 1
        assert (await client.summary())["max_open_streams"] == 20

    play(scene)


def test_a_failed_generation_ends_its_stream_with_an_error():
    async def scene(client):
        _, task = await client.submit(stream=True)
        _, body, whole = await client.stream(task["stream"]["url"])
        assert (events(body)[-1][0], whole) == ("error", True)
        assert "timeout" in orjson.loads(events(body)[-1][1])["message"]
        assert (await client.query(task["id"]))["status"] == "failed"

    play(scene, fail_rate=1, fail_codes="timeout")


def test_only_a_generation_that_was_asked_for_one_has_a_stream_and_only_for_a_key():
    async def scene(client):
        _, task = await client.submit()
        assert task["stream"] is None
        assert (await client.stream(f"{SUBMIT}/{task['id']}/stream"))[0] == 400
        assert (await client.stream(f"{SUBMIT}/task-llmrouter-1-00000000/stream"))[0] == 404
        _, task = await client.submit(stream=True)
        assert (await client.stream(task["stream"]["url"], headers={"Authorization": ""}))[0] == 401
        assert (await client.call("POST", task["stream"]["url"]))[0] == 405

    play(scene)


def test_a_stream_is_kept_for_a_while():
    async def scene(client):
        _, task = await client.submit(stream=True)
        await client.ended(task["id"])
        assert (await client.stream(task["stream"]["url"]))[0] == 410
        await client.set(stream_gone_status=404)
        assert (await client.stream(task["stream"]["url"]))[0] == 404
        await client.set(stream_kept=60)
        assert (await client.stream(task["stream"]["url"]))[0] == 200

    play(scene, stream_kept=0, latency="0s")


def test_a_stream_may_be_named_by_a_whole_url():
    async def scene(client):
        _, task = await client.submit(stream=True)
        assert task["stream"]["url"] == f"{client.server.base_url}{SUBMIT}/{task['id']}/stream"

    play(scene, stream_url_absolute=True)


# sync and stream


@pytest.mark.parametrize("framing", ["named", "bare"])
def test_a_sync_stream_is_the_posts_own_answer(framing):
    async def scene(client):
        status, body, headers = await client.call("POST", SUBMIT, json={**QUESTION, "sync": True, "stream": True})
        assert (status, headers["Content-Type"]) == (200, "text/event-stream")
        assert said(body).endswith(digest([URL.encode()], QUESTION["prompt"]))
        assert events(body)[-1][0] == ("done" if framing == "named" else None)
        assert (events(body)[-1][1] == "[DONE]") == (framing == "bare")
        (post,) = await client.posts()
        assert (post["mode"], post["answered"], post["outcome"]) == ("sync-stream", True, "completed")

    play(scene, sync_stream_framing=framing)


def test_a_sync_stream_that_its_client_leaves_is_not_answered_and_billed():
    async def scene(client):
        async with client.session.post(SUBMIT, json={**QUESTION, "sync": True, "stream": True}) as answer:
            await answer.content.readany()
            answer.close()
        summary = await client.until(lambda summary: summary["completed"] == 1)
        assert (summary["posts_unanswered"], summary["open_streams"]) == (1, 0)

    play(scene, latency="300ms")


def test_a_sync_stream_beyond_the_limit_breaks_off():
    async def scene(client):
        status, got, whole = await client.stream(SUBMIT, method="POST", json={**QUESTION, "sync": True, "stream": True})
        assert (status, whole) == (200, False)
        assert 0 < got.count(b"\n\n") < 20
        assert (await client.summary())["posts_unanswered"] == 1

    play(scene, sync_limit=0.3, latency="1s")


# how streams are written, and what goes wrong with them


@pytest.mark.parametrize("usage", ["off", "last", "extra"])
def test_usage_is_in_the_last_chunk_or_in_one_more_or_nowhere(usage):
    async def scene(client):
        _, task = await client.submit(stream=True)
        _, body, _ = await client.stream(task["stream"]["url"])
        *rest, last = chunks(body)
        assert not any("usage" in chunk for chunk in rest)
        assert ("usage" in last) == (usage != "off")
        assert (last["choices"] == []) == (usage == "extra")

    play(scene, stream_usage=usage, latency="0s")


@pytest.mark.parametrize("how", [{"stream_piece_bytes": 1}, {"stream_piece_bytes": 7}, {"stream_comments": True}])
def test_however_a_stream_is_written_it_says_the_same(how):
    async def scene(client):
        _, task = await client.submit(stream=True)
        _, plain, _ = await client.stream(task["stream"]["url"])
        await client.set(**how)
        _, body, whole = await client.stream(task["stream"]["url"])
        assert whole
        assert events(body) == events(plain)
        assert (b"\r\n" in body) == ("stream_comments" in how)
        assert (b": keep-alive" in body) == ("stream_comments" in how)

    play(scene, latency="0s")


def test_pieces_go_out_one_by_one():
    async def scene(client):
        _, task = await client.submit(stream=True)
        sizes = []
        async with client.session.get(task["stream"]["url"]) as answer:
            size = 0
            async for data, ends in answer.content.iter_chunks():
                size += len(data)
                if ends:
                    sizes.append(size)
                    size = 0
        assert set(sizes[:-1]) == {100}

    play(scene, stream_piece_bytes=100)


def test_events_of_a_tasks_stream_may_be_unnamed():
    async def scene(client):
        _, task = await client.submit(stream=True)
        _, body, _ = await client.stream(task["stream"]["url"])
        assert {name for name, _ in events(body)} == {None}
        assert events(body)[-1] == (None, "[DONE]")

    play(scene, stream_named=False)


def test_an_answers_content_comes_in_as_many_chunks_as_told():
    async def scene(client):
        for wanted in (1, 3, 50):
            await client.set(stream_chunks=wanted)
            _, task = await client.submit(stream=True)
            _, body, _ = await client.stream(task["stream"]["url"])
            assert len(chunks(body)) == wanted + 2

    play(scene, latency="0s")


def test_every_connection_is_cut_after_exactly_so_many_bytes():
    async def scene(client):
        _, task = await client.submit(stream=True)
        path = task["stream"]["url"]
        _, whole, _ = await client.stream(path)
        for after in (1, 100, len(whole) - 1, len(whole)):
            await client.set(stream_cut_after_bytes=after)
            _, body, ended = await client.stream(path)
            assert (body, ended) == (whole[:after], False)
        await client.set(stream_cut_after_bytes=len(whole) + 1)
        assert await client.stream(path) == (200, whole, True)
        assert (await client.summary())["faults"] == {"stream_cut": 4}

    play(scene, latency="0s")


def test_so_many_connections_of_a_generation_are_cut_and_then_no_more():
    async def scene(client):
        _, task = await client.submit(stream=True)
        ends = [(await client.stream(task["stream"]["url"]))[2] for _ in range(4)]
        assert ends == [False, False, True, True]

    play(scene, latency="0s", stream_cut_rate=1, stream_cuts=2)


def test_a_stream_can_be_cut_in_the_middle_or_end_in_an_untrue_error():
    async def scene(client):
        _, task = await client.submit(stream=True)
        path = task["stream"]["url"]
        _, whole, _ = await client.stream(path)
        await client.set(stream_cut_rate=1)
        _, body, ended = await client.stream(path)
        assert not ended
        assert whole.startswith(body)
        assert 0 < len(body) < len(whole)
        await client.set(stream_cut_rate=0, stream_error_rate=1)
        _, body, ended = await client.stream(path)
        assert (events(body)[-1][0], ended) == ("error", True)
        assert 0 < len(chunks(body)) < len(chunks(whole))
        assert (await client.query(task["id"]))["status"] == "completed"

    play(scene, latency="0s")


def test_a_stream_can_fall_silent_and_a_sync_stream_then_has_no_answer():
    async def scene(client):
        _, task = await client.submit(stream=True)
        path = task["stream"]["url"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.stream(path)
        assert (await client.until(lambda summary: not summary["open_streams"]))["faults"] == {"stream_silence": 1}

    play(scene, latency="0s", stream_silence_rate=1)


def test_a_stream_may_be_missing_while_its_generation_lives():
    async def scene(client):
        _, task = await client.submit(stream=True)
        assert (await client.stream(task["stream"]["url"]))[0] == 404
        assert (await client.query(task["id"]))["status"] == "completed"
        await client.set(stream_missing_rate=0)
        assert (await client.stream(task["stream"]["url"]))[0] == 200

    play(scene, latency="0s", stream_missing_rate=1)


def test_a_fault_of_streams_moves_nothing_else_of_a_seeded_run():
    ends = []

    async def scene(client):
        tasks = [(await client.submit(stream=True))[1] for _ in range(20)]
        for task in tasks:
            await client.stream(task["stream"]["url"])
        ends.append([(task["id"][-8:], (await client.ended(task["id"]))["status"]) for task in tasks])

    for rate in (0, 0.5):
        play(scene, latency="0s", fail_rate=0.5, stream_cut_rate=rate, stream_missing_rate=rate)
    assert ends[0] == ends[1]


def test_two_hundred_streams_at_once_are_all_whole():
    async def scene(client):
        async def one(number):
            _, task = await client.submit(stream=True, prompt=f"Question {number}")
            _, body, whole = await client.stream(task["stream"]["url"])
            assert whole
            return said(body).rpartition("digest: ")[2]

        client.session.connector._limit = 0
        found = await asyncio.gather(*map(one, range(200)))
        assert found == [digest([URL.encode()], f"Question {number}") for number in range(200)]

    play(scene, latency="uniform:0s,500ms")


def test_the_hash_of_what_was_said_is_the_same_in_every_mode():
    async def scene(client):
        _, completion = await client.submit(sync=True)
        _, task = await client.submit(stream=True)
        _, body, _ = await client.stream(task["stream"]["url"])
        _, own, _ = await client.call("POST", SUBMIT, json={**QUESTION, "sync": True, "stream": True})
        texts = [completion["choices"][0]["message"]["content"], said(body), said(own)]
        assert len({sha256(text.encode()).hexdigest() for text in texts}) == 1

    play(scene, latency="0s")
