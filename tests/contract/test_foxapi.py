"""The API port over a real socket: what goes out, what comes back as values, and that the key stays inside."""

import asyncio
import contextlib
import socket
import traceback
from urllib.parse import unquote

import orjson
import pytest
import uvloop

from pipeline.core.account import Secret
from pipeline.core.answers import (
    Accepted,
    AccountRefused,
    Ambiguous,
    Completed,
    NothingSent,
    Refused,
    Running,
    Throttled,
    Trouble,
)
from pipeline.core.errors import SettingsError
from pipeline.edges.foxapi import FoxApi
from pipeline.edges.http import DoorError, HttpDoor, HttpReply
from pipeline.edges.http_transport import HttpSettings

KEY = "sk-secret/0123456789abcdef"
SETTINGS = HttpSettings(connect_timeout_s=2, read_timeout_s=0.5, total_timeout_s=3)
NOW = 1_776_874_565.0


class Api:
    """A server that answers every request with `status`, `headers` and `body`, and keeps what it was asked."""

    def __init__(self, status=200, body=b"", headers=b"", *, echo=False):
        self.status = status
        self.body = body
        self.headers = headers
        self.echo = echo
        self.asked = []
        self.connections = []

    async def serve(self, reader, writer):
        self.connections.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((line for line in head.lower().split(b"\r\n") if b"content-length" in line), b":0")
                self.asked.append((head.decode(), await reader.readexactly(int(length.split(b":")[1]))))
                body = self.echoing(head) if self.echo else self.body
                lines = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n%b\r\n" % (self.status, len(body), self.headers)
                writer.write(lines + body)
                await writer.drain()

    def echoing(self, head):
        line = next(line for line in head.decode().split("\r\n") if line.lower().startswith("authorization"))
        return self.body.replace(b"ECHO", line.encode()).replace(b"ESCAPED", line.replace("/", r"\/").encode())


@contextlib.asynccontextmanager
async def talking_to(server, base_path=""):
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    door = HttpDoor(SETTINGS)
    try:
        yield FoxApi(f"http://127.0.0.1:{port}{base_path}", Secret(KEY), door, clock=lambda: NOW)
    finally:
        await door.close()
        for writer in server.connections:
            writer.close()
        listening.close()


def run(coroutine):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(coroutine, 20))


def submitted(server, body=b'{"prompt":"p"}', base_path=""):
    async def scenario():
        async with talking_to(server, base_path) as api:
            return await api.submit(body)

    return run(scenario())


def queried(server, generation_id="task-1"):
    async def scenario():
        async with talking_to(server) as api:
            return await api.query(generation_id)

    return run(scenario())


def test_a_submission_is_one_post_of_the_given_bytes_with_the_key():
    server = Api(body=b'{"id":"task-llmrouter-1-a","status":"pending"}')
    assert submitted(server, b'{"prompt":"p"}') == Accepted("task-llmrouter-1-a")
    [(head, body)] = server.asked
    assert head.startswith("POST /v1/llm/generations HTTP/1.1\r\n")
    assert f"authorization: Bearer {KEY}\r\n" in head or f"Authorization: Bearer {KEY}\r\n" in head
    assert "content-type: application/json\r\n" in head.lower()
    assert body == b'{"prompt":"p"}'


@pytest.mark.parametrize("base_path", ["/eu", "/eu/"])
def test_a_base_url_may_have_a_path(base_path):
    server = Api(body=b'{"id":"task-1"}')
    submitted(server, base_path=base_path)
    assert server.asked[0][0].startswith("POST /eu/v1/llm/generations ")


@pytest.mark.parametrize("generation_id", ["task-llmrouter-1-a", "a/b?c#d", "a b%2F", "tâche", "..x", "x" * 500])
def test_a_query_asks_for_exactly_that_id(generation_id):
    server = Api(body=b'{"status":"processing"}')
    assert queried(server, generation_id) == Running("processing")
    path = server.asked[0][0].split(" ")[1]
    assert path.startswith("/v1/tasks/")
    assert path.count("/") == 3
    assert unquote(path.removeprefix("/v1/tasks/")) == generation_id


@pytest.mark.parametrize("generation_id", ["", "x" * 100_000, "\ud800", "."])
def test_an_id_that_can_not_be_asked_for_is_no_exception(generation_id):
    queried(Api(404), generation_id)


def test_a_completed_generation_comes_back_as_a_completion():
    answer = {"choices": [{"message": {"content": "A dog."}}], "usage": {"prompt_tokens": 9}}
    found = queried(Api(body=orjson.dumps({"status": "completed", "results": [answer]})))
    assert isinstance(found, Completed)
    assert (found.completion.content, found.completion.prompt_tokens) == ("A dog.", 9)


def test_retry_after_is_read_with_the_given_clock_and_ceiling():
    date = b"retry-after: Wed, 22 Apr 2026 16:16:25 GMT\r\n"
    assert submitted(Api(429, headers=date)).retry_after == pytest.approx(20, abs=0.001)
    assert submitted(Api(429, headers=b"Retry-After: 86400\r\n")).retry_after == 300
    assert isinstance(queried(Api(429, headers=b"Retry-After: 2\r\n")), Throttled)


def test_an_unreachable_api_is_nothing_sent_for_a_submission_and_trouble_for_a_query():
    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        door = HttpDoor(SETTINGS)
        api = FoxApi(f"http://127.0.0.1:{port}", Secret(KEY), door, clock=lambda: NOW)
        answers = await api.submit(b"{}"), await api.query("task-1")
        await door.close()
        return answers

    sent, asked = run(scenario())
    assert isinstance(sent, NothingSent)
    assert isinstance(asked, Trouble)
    assert sent.problem.code == asked.problem.code == "connect_failed"


def test_an_answer_that_breaks_off_is_ambiguous_for_a_submission_and_trouble_for_a_query():
    class Cut(Api):
        async def serve(self, reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n" + b'{"id":"task-1"')
            writer.close()

    for answer, expected in ((submitted(Cut()), Ambiguous), (queried(Cut()), Trouble)):
        assert isinstance(answer, expected)
        assert answer.problem.code == "no_answer"


def test_a_redirect_is_refused_and_named():
    answer = submitted(Api(307, headers=b"location: https://new.example/v1\r\n"))
    assert isinstance(answer, Refused)
    assert answer.problem.code == "http_307"
    assert "new.example" in answer.problem.message


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"message":"Bad header ECHO","type":"authentication_error"}}',
        b'{"error":{"message":"Bad header ESCAPED","type":"authentication_error"}}',
        b'{"error":{"message":"m","type":"authentication_error","code":"ECHO"}}',
        b"<html>ECHO</html>",
        b"x" * 1970 + b"ECHO",
    ],
)
@pytest.mark.parametrize("status", [200, 400, 401, 404, 422, 429, 500])
def test_a_key_that_the_server_echoes_is_masked(status, body):
    for read in (submitted, queried):
        answer = read(Api(status, body, echo=True))
        assert "secret" not in repr(answer)
        assert "sk-" not in repr(answer)


def test_a_key_echoed_in_an_answer_does_not_reach_the_dataset():
    body = b'{"status":"completed","results":[{"choices":[{"message":{"content":"ECHO"}}]}]}'
    answer = queried(Api(200, body, echo=True))
    assert isinstance(answer, Completed)
    assert KEY not in answer.completion.content + answer.completion.response


def test_the_key_is_in_no_repr_and_in_no_chain_of_exceptions():
    async def scenario():
        server = Api(body=b"")
        server.headers = b"x" * 100_000 + b": y\r\n"  # more than the parser takes: an error that knows the request
        async with talking_to(server) as api:
            assert isinstance(await api.submit(b"{}"), Ambiguous)
            try:
                await api._door.post(api._submit_url, api._post_headers, b"{}")
            except DoorError as error:
                return repr(api), repr(api._post_headers), "".join(traceback.format_exception(error)), repr(error)
        return ()

    shown = run(scenario())
    assert len(shown) == 4
    for text in shown:
        assert KEY not in text


def test_a_cancelled_submission_stays_cancelled():
    class Silent(Api):
        async def serve(self, reader, writer):
            self.connections.append(writer)
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            arrived.set()

    arrived = asyncio.Event()

    async def scenario():
        server = Silent()
        async with talking_to(server) as api:
            task = asyncio.create_task(api.submit(b"{}"))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return len(server.asked)

    assert run(scenario()) == 1


def test_a_short_key_masks_nothing_so_that_answers_stay_whole():
    class Door:
        async def get(self, url, headers):
            return HttpReply(200, {}, b'{"status":"processing"}')

    api = FoxApi("http://api.example", Secret("s"), Door(), clock=lambda: NOW)
    assert run(api.query("task-1")) == Running("processing")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example",
        "ftp://api.example",
        "https://",
        "https://h:99999",
        "http://[::",
        "https://h/?a=1",
        "https://h/#f",
    ],
)
def test_a_base_url_that_can_not_be_used_is_refused_at_once(url):
    with pytest.raises(SettingsError):
        FoxApi(url, Secret(KEY), HttpDoor(SETTINGS), clock=lambda: NOW)


def test_a_base_url_with_a_password_is_refused_without_showing_it():
    with pytest.raises(SettingsError) as caught:
        FoxApi("https://u:hunter2@h", Secret(KEY), HttpDoor(SETTINGS), clock=lambda: NOW)
    assert "hunter2" not in str(caught.value)


def test_a_refused_key_is_the_accounts_trouble():
    answer = submitted(Api(401, b'{"error":{"message":"no","type":"authentication_error"}}'))
    assert isinstance(answer, AccountRefused)
    assert not answer.polling_works
