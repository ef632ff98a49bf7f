"""One promise for each fault that can be switched on in mid-run, over real HTTP, in both event loops it may run in."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time

import aiohttp
import orjson
import psutil
import pytest
import uvloop

from pipeline.simulator.server import serve
from pipeline.simulator.settings import SimulatorSettings, changed

KEY = {"Authorization": "Bearer sk-test"}
QUESTION = {"model": "gemini-2.5-pro", "prompt": "Describe the video.", "video_urls": ["https://a.example/v.mp4"]}
SUBMIT = "/v1/llm/generations"
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Client:
    def __init__(self, server, session):
        self.server, self._session = server, session
        self.kept = []  # sockets that stay open until the simulator has closed

    async def call(self, method, path, **more):
        async with self._session.request(method, self.server.base_url + path, headers=KEY, **more) as answer:
            return answer.status, await answer.read(), answer.headers

    async def submit(self):
        status, body, _ = await self.call("POST", SUBMIT, json=QUESTION)
        return status, orjson.loads(body)

    async def query(self, task):
        status, body, _ = await self.call("GET", f"/v1/tasks/{task['id']}")
        return status, orjson.loads(body)

    async def set(self, **switches):
        status, body, _ = await self.call("POST", "/admin/settings", json=switches)
        assert status == 200, body

    async def summary(self):
        return orjson.loads((await self.call("GET", "/admin/summary"))[1])

    async def posts(self):
        return orjson.loads((await self.call("GET", "/admin/posts"))[1])["posts"]

    async def answered(self):
        return [post["answered"] for post in await self.posts()]

    async def refuse(self, seconds):
        """Have connections refused, and try one until it is."""
        assert (await self.call("POST", f"/admin/refuse?seconds={seconds}"))[0] == 200
        self.raw().close()

    def raw(self, path=SUBMIT, method="POST"):
        """A request on a socket of its own, sent and not read."""
        wire = socket.create_connection((self.server.host, self.server.port), timeout=10)
        body = orjson.dumps(QUESTION) if method == "POST" else b""
        head = f"{method} {path} HTTP/1.1\r\nAuthorization: Bearer sk-test\r\nContent-Length: {len(body)}\r\n\r\n"
        wire.sendall(head.encode() + body)
        return wire

    async def settled(self, reached):
        """Wait until the books say so: what the system tells of a closed socket comes a moment later."""
        deadline = time.monotonic() + 10
        while not reached(found := await self.summary()):
            assert time.monotonic() < deadline, found
        return found


@pytest.fixture(params=LOOPS)
def play(request):
    """Act a scene with a client and a simulator whose switches are all off but for those named."""

    def act(scene, **switches):
        async def whole():
            server = await serve(changed(SimulatorSettings(), {"fast": True, "latency": "0s", "seed": 1, **switches}))
            try:
                async with aiohttp.ClientSession() as session:
                    client = Client(server, session)
                    await asyncio.wait_for(scene(client), 20)
            finally:
                await server.close()
            for wire in client.kept:
                wire.close()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, "a simulator that has closed has left tasks behind"

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(whole())

    return act


async def heard(wire):
    """What comes over a raw socket until its end; a reset is raised."""
    wire.setblocking(False)
    pieces = []
    while piece := await asyncio.get_running_loop().sock_recv(wire, 65_536):
        pieces.append(piece)
    return b"".join(pieces)


# Answers that break off, stay out or never end.


def test_a_cut_answer_announces_its_length_and_ends_in_a_reset_half_way(play):
    async def scene(client):
        await client.set(submit_cut_rate=1)
        with client.raw() as wire:
            wire.setblocking(False)
            head, _, body = (await asyncio.get_running_loop().sock_recv(wire, 65_536)).partition(b"\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                await heard(wire)
        (post,) = await client.posts()
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert body.startswith(b'{"id":"%s"' % post["id"].encode())
        announced = int(head.partition(b"Content-Length: ")[2])
        assert len(body) == announced // 2
        assert not post["answered"]

    play(scene)


@pytest.mark.parametrize("rate", ["submit_cut_rate", "hangup_after_rate"])
def test_a_generation_whose_answer_broke_off_runs_to_its_end_and_is_billed(play, rate):
    async def scene(client):
        await client.set(**{rate: 1})
        with pytest.raises(aiohttp.ClientError):
            await client.submit()
        summary = await client.summary()
        assert (summary["posts_accepted"], summary["posts_unanswered"], summary["completed"]) == (1, 1, 1)
        assert summary["cost"] > 0
        assert summary["faults"] == {rate.removesuffix("_rate"): 1}

    play(scene)


def test_a_poll_is_cut_in_mid_body_and_the_next_one_is_not(play):
    async def scene(client):
        _, task = await client.submit()
        await client.set(query_cut_rate=1)
        with pytest.raises(aiohttp.ClientError):
            await client.query(task)
        await client.set(query_cut_rate=0)
        assert (await client.query(task))[1]["status"] == "completed"
        assert (await client.summary())["query_answers"] == {"cut": 1, "200": 1}

    play(scene)


@pytest.mark.parametrize(("rate", "created"), [("submit_silence_rate", 1), ("query_silence_rate", 0)])
def test_a_silent_api_keeps_the_connection_open_and_others_are_answered(play, rate, created):
    async def scene(client):
        await client.set(**{rate: 1})
        method, path = ("POST", SUBMIT) if created else ("GET", "/v1/tasks/" + await an_id(client))
        with client.raw(path, method) as wire:
            await client.settled(lambda summary: summary["faults"])
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(heard(wire), 0.2)
            assert (await client.summary())["posts_unanswered"] == created
            # The connection is still silent when the simulator closes: `play` asserts that nothing is left of it.
            client.kept.append(wire.dup())
            await client.summary()

    play(scene)


async def an_id(client):
    return (await client.submit())[1]["id"]


def test_a_flood_comes_in_chunks_and_its_answer_is_at_the_end(play):
    async def scene(client):
        await client.set(submit_flood_rate=1, flood_bytes=3_000_001)
        status, body, headers = await client.call("POST", SUBMIT, json=QUESTION)
        assert (status, headers["Transfer-Encoding"], "Content-Length" in headers) == (200, "chunked", False)
        (post,) = await client.posts()
        assert (body[:3_000_001].strip(), orjson.loads(body)["id"]) == (b"", post["id"])
        assert post["answered"]
        await client.set(flood_rate=1, flood_bytes=70_000)
        assert len((await client.call("GET", f"/v1/tasks/{post['id']}"))[1]) > 70_000

    play(scene)


def test_a_flood_waits_for_its_reader_and_stops_when_the_client_hangs_up(play):
    async def scene(client):
        await client.set(submit_flood_rate=1, flood_bytes=10**15)  # no memory would hold it
        before = psutil.Process().memory_info().rss
        with client.raw() as wire:
            wire.setblocking(False)
            loop = asyncio.get_running_loop()
            received = 0
            while received < 60_000_000:
                received += len(await loop.sock_recv(wire, 1 << 20))
            assert (await client.summary())["posts_unanswered"] == 1
        after = psutil.Process().memory_info().rss
        assert after - before < 30_000_000
        await gone(client)
        assert await client.answered() == [False]

    play(scene)


async def gone(client):
    """Wait until only the connection that asks is left."""
    deadline = time.monotonic() + 10
    while len(client.server._connections) > 1:
        assert time.monotonic() < deadline
        await client.summary()


# No connection at all.


def test_connections_are_refused_for_a_while_and_the_books_go_on(play):
    async def scene(client):
        _, task = await client.submit()
        with pytest.raises(ConnectionRefusedError):
            await client.refuse(0.3)
        deadline = time.monotonic() + 10
        while True:
            try:
                client.raw().close()
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
            else:
                break
        assert (await client.query(task))[1]["status"] == "completed"

    play(scene)


def test_a_connection_that_stands_has_one_more_answer_and_is_told_to_close(play):
    async def scene(client):
        _, _, before = await client.call("GET", "/admin/summary")
        _, _, refusing = await client.call("POST", "/admin/refuse?seconds=60")
        assert ("Connection" in before, refusing["Connection"]) == (False, "close")
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.submit()
        assert client.server.app.generations.books.accepted == 0, "what was refused was never sent"

    play(scene)


def test_refusing_again_counts_from_then_on_and_the_admin_wants_a_number(play):
    async def scene(client):
        assert (await client.call("POST", "/admin/refuse?seconds=soon"))[0] == 400
        client.server.app.refuse(60)
        client.server.app.refuse(0)
        deadline = time.monotonic() + 10
        while True:
            try:
                assert (await client.submit())[0] == 200
                (await client.summary())
            except aiohttp.ClientConnectorError:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
            else:
                break

    play(scene)


# Answers that came whole and can't be used.


@pytest.mark.parametrize(
    ("kind", "content_type", "begin", "end"),
    [
        ("html", "text/html", b"<html>", b"</html>\r\n"),
        ("truncated", "application/json", b'{"id":"task-', b""),
        ("invalid", "application/json", b"{'id':'task-", b"}"),
        ("empty", "application/json", b"", b""),
    ],
)
def test_a_garbled_answer_is_a_whole_200_that_is_no_json(play, kind, content_type, begin, end):
    async def scene(client):
        task = (await client.submit())[1]
        await client.set(garbled_kind=kind, submit_garbled_rate=1, query_garbled_rate=1)
        for method, path in (("POST", SUBMIT), ("GET", f"/v1/tasks/{task['id']}")):
            status, body, headers = await client.call(method, path, json=QUESTION)
            assert (status, headers["Content-Type"]) == (200, content_type)
            assert body.startswith(begin)
            assert body.endswith(end)
            assert int(headers["Content-Length"]) == len(body)
            with pytest.raises(orjson.JSONDecodeError):
                orjson.loads(body)
        assert await client.answered() == [True, False]
        assert (await client.summary())["faults"] == {"submit_garbled": 1, "query_garbled": 1}

    play(scene)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize(("rate", "created"), [("error_before_rate", 0), ("error_after_rate", 1)])
def test_a_server_error_may_or_may_not_have_created_a_generation(play, status, rate, created):
    async def scene(client):
        await client.set(**{rate: 1, "error_status": status})
        answered, body, headers = await client.call("POST", SUBMIT, json=QUESTION)
        is_html = status == 502
        assert (answered, headers["Content-Type"]) == (status, "text/html" if is_html else "application/json")
        assert b"Bad Gateway" in body if is_html else orjson.loads(body)["error"]["type"] == "server_error"
        summary = await client.summary()
        assert (summary["posts_accepted"], summary["posts_unanswered"]) == (created, created)
        assert summary["faults"] == {rate.removesuffix("_rate"): 1}

    play(scene)


# Answers that are well formed and wrong.


def test_an_id_that_comes_twice_leaves_two_generations_in_the_books(play):
    async def scene(client):
        await client.set(duplicate_id_rate=1)
        first, second = (await client.submit())[1], (await client.submit())[1]
        posts = await client.posts()
        assert first["id"] == second["id"] == posts[0]["id"] != posts[1]["id"]
        assert [post["answered"] for post in posts] == [True, False]
        assert all(post["cost"] > 0 for post in posts)
        assert (await client.summary())["faults"] == {"duplicate_id": 1}, "the first generation has no earlier one"

    play(scene)


def test_null_results_are_there_at_the_next_poll_and_lost_results_never(play):
    async def scene(client):
        _, task = await client.submit()
        await client.set(null_results_rate=1)
        _, found = await client.query(task)
        assert (found["status"], found["results"], found["error"]) == ("completed", None, None)
        await client.set(null_results_rate=0, lost_results_rate=1)
        assert (await client.query(task))[1]["results"] is not None
        _, lost = await client.submit()
        await client.set(lost_results_rate=0)
        for _ in range(2):
            _, found = await client.query(lost)
            assert (found["status"], found["results"]) == ("completed", None)
        assert [post["cost"] > 0 for post in await client.posts()] == [True, True]
        assert (await client.summary())["faults"] == {"null_results": 1}

    play(scene)


def test_a_running_generation_has_no_results_to_hide(play):
    async def scene(client):
        _, task = await client.submit()
        assert (await client.query(task))[1]["status"] in ("pending", "processing")
        assert (await client.summary())["faults"] == {}

    play(scene, latency="1h", null_results_rate=1)


def test_a_status_that_nobody_knows_passes_with_the_switch(play):
    async def scene(client):
        _, task = await client.submit()
        await client.set(unknown_status_rate=1)
        _, found = await client.query(task)
        assert (found["status"], found["results"], found["error"]) == ("archiving", None, None)
        await client.set(unknown_status_rate=0)
        assert (await client.query(task))[1]["status"] == "completed"

    play(scene)


@pytest.mark.parametrize("skew", [-86_400, 86_400])
def test_a_wrong_creation_time_is_told_and_nothing_else_moves(play, skew):
    async def scene(client):
        await client.set(created_skew_s=skew)
        _, task = await client.submit()
        (post,) = await client.posts()
        _, found = await client.query(task)
        assert task["created"] == found["created"] == found["results"][0]["created"] == int(post["received_at"]) + skew

    play(scene)


@pytest.mark.parametrize("text", ["99999999999", "-5", "soon", "inf"])
def test_an_absurd_retry_after_goes_out_as_it_is(play, text):
    async def scene(client):
        await client.set(submit_throttle_rate=1, query_throttle_rate=1, retry_after=3, retry_after_text=text)
        for method, path in (("POST", SUBMIT), ("GET", "/v1/tasks/x")):
            status, _, headers = await client.call(method, path, json=QUESTION)
            assert (status, headers["Retry-After"]) == (429, text)

    play(scene)


# The account in mid-run.


def test_a_key_that_is_revoked_in_mid_run_stops_polls_too_until_it_is_given_back(play):
    async def scene(client):
        _, task = await client.submit()
        await client.set(keys=["sk-other"])
        assert ((await client.submit())[0], (await client.query(task))[0]) == (401, 401)
        await client.set(keys=["sk-test"])
        assert ((await client.submit())[0], (await client.query(task))[0]) == (200, 200)
        assert (await client.summary())["refused"] == {"401": 1}

    play(scene)


def test_a_balance_that_is_used_up_stops_posts_and_no_poll_until_it_is_filled(play):
    async def scene(client):
        _, task = await client.submit()
        spent = (await client.summary())["cost"]
        await client.set(balance=spent)
        assert ((await client.submit())[0], (await client.query(task))[0]) == (402, 200)
        await client.set(balance=2 * spent)
        assert (await client.submit())[0] == 200
        assert (await client.submit())[0] == 402

    play(scene)


# What the books say of answers.


def test_a_post_counts_as_unanswered_until_its_answer_is_out(play):
    async def scene(client):
        post = asyncio.ensure_future(client.submit())
        await client.settled(lambda summary: summary["posts_unanswered"] == 1)
        await post
        assert (await client.summary())["posts_unanswered"] == 0
        assert await client.answered() == [True]

    play(scene, submit_delay="300ms")


def test_a_client_that_left_before_its_answer_was_not_answered(play):
    async def scene(client):
        client.raw().close()
        await client.settled(lambda summary: summary["posts_accepted"] == summary["posts_unanswered"] == 1)

    play(scene, submit_delay="100ms")


def test_a_client_that_left_with_its_answer_unread_was_not_answered(play):
    async def scene(client):
        with client.raw():
            await client.settled(lambda summary: summary["posts_accepted"] == 1)
        await client.settled(lambda summary: summary["posts_unanswered"] == 1)

    play(scene)


def test_a_client_that_read_its_answer_and_left_was_answered(play):
    async def scene(client):
        with client.raw() as wire:
            wire.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(wire, 65_536)
        await gone(client)
        assert await client.answered() == [True]

    play(scene)


def test_a_client_that_is_killed_while_its_request_lies_unread_was_not_answered():
    switches = ["--fast", "--latency", "0s", "--port", "0"]
    command = [sys.executable, "-m", "pipeline.simulator", *switches]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            host, port = running.stdout.readline().rpartition("//")[2].split(":")
            body = orjson.dumps(QUESTION)
            head = b"POST %b HTTP/1.1\r\nAuthorization: Bearer sk-test\r\nContent-Length: %d\r\n\r\n"
            os.kill(running.pid, signal.SIGSTOP)
            with socket.create_connection((host, int(port)), timeout=10) as wire:
                wire.sendall(head % (SUBMIT.encode(), len(body)) + body)
            os.kill(running.pid, signal.SIGCONT)
            deadline = time.monotonic() + 10
            while (summary := admin_summary(host, int(port)))["posts_unanswered"] != 1:
                assert time.monotonic() < deadline, summary
            assert summary["posts_accepted"] == 1
        finally:
            running.kill()


def admin_summary(host, port):
    with socket.create_connection((host, port), timeout=10) as wire:
        wire.sendall(b"GET /admin/summary HTTP/1.1\r\nConnection: close\r\n\r\n")
        return orjson.loads(b"".join(iter(lambda: wire.recv(65_536), b"")).partition(b"\r\n\r\n")[2])
