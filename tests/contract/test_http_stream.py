"""Streams through the door against servers that misbehave at the socket, and what the API makes of them."""

import asyncio
import contextlib
import gzip
import socket
import struct

import orjson
import pytest
import uvloop

from pipeline.core.account import Secret
from pipeline.core.answers import AccountRefused, Ambiguous, Answered, Completed, Running, Throttled
from pipeline.core.policy import STREAM, SYNC_STREAM
from pipeline.edges import follower
from pipeline.edges.foxapi import FoxApi
from pipeline.edges.http import HttpDoor, HttpReply, HttpStream, NoAnswerError, NotSentError
from pipeline.edges.http_transport import Headers, HttpSettings

KEY = "sk-wire-0123456789"
SETTINGS = HttpSettings(connect_timeout_s=0.4, read_timeout_s=0.4, total_timeout_s=3, max_body=1_000_000, idle_s=2)
HEADERS = Headers({"authorization": f"Bearer {KEY}", "accept-encoding": "identity"})
BODY = b'{"prompt":"Describe the video."}'
DEADLINE_S = 10
OPENED = b"HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def piece(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunk(content=None, finish=None, name=b"chunk"):
    delta = {} if content is None else {"content": content}
    body = orjson.dumps({"id": "c-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    return piece((b"event: " + name + b"\n" if name else b"") + b"data: " + body + b"\n\n")


def reply(status: int, body: bytes, kind: bytes = b"application/json") -> bytes:
    head = b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
    return head % (status, kind, len(body)) + body


DONE = piece(b"data: [DONE]\n\n")
CUT, HANG = b"<cut>", b"<hang>"


class Server:
    """Answers the n-th request with the n-th script, the last for ever: bytes, what to do, or what to await."""

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.asked: list[str] = []
        self.connections = 0
        self.left = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self):
        listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            listening.close()

    async def _serve(self, reader, writer):
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next((line for line in head.lower().split("\r\n") if "content-length" in line), ":0")
                await reader.readexactly(int(length.split(":")[1]))
                self.asked.append(head.split("\r\n")[0])
                for step in self.scripts[min(len(self.asked), len(self.scripts)) - 1]:
                    if step is HANG:
                        await reader.read()
                    elif step is CUT:
                        await writer.drain()
                        linger = struct.pack("ii", 1, 0)
                        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        writer.transport.abort()
                        return
                    elif callable(step):
                        await step()
                    else:
                        writer.write(step)
                        await writer.drain()
        self.left.set()
        writer.close()


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def run(request):
    def runner(coroutine):
        with asyncio.Runner(loop_factory=request.param) as loop:
            return loop.run(asyncio.wait_for(coroutine, DEADLINE_S))

    return runner


@contextlib.asynccontextmanager
async def a_door(settings=SETTINGS):
    door = HttpDoor(settings)
    try:
        yield door
    finally:
        await door.close()


async def read(came):
    """What came over a stream, and how it ended."""
    assert isinstance(came, HttpStream)
    got = b""
    try:
        while (data := await came.next()) is not None:
            got += data
    except NoAnswerError as error:
        return got, error
    finally:
        await came.close()
    return got, None


def streamed(run, method, *scripts, settings=SETTINGS):
    """What one request brought, how it ended, and how often the server was asked."""

    async def scenario():
        async with Server(*scripts).running() as server, a_door(settings) as door:
            try:
                came = await door.stream(method, server.url, HEADERS, BODY if method == "POST" else None)
            except (NotSentError, NoAnswerError) as error:
                return b"", error, server
            if isinstance(came, HttpReply):
                return came, None, server
            return *await read(came), server

    return run(scenario())


METHODS = pytest.mark.parametrize("method", ["GET", "POST"])


@METHODS
def test_a_stream_comes_piece_by_piece_and_ends(run, method):
    got, broke, server = streamed(run, method, [OPENED, piece(b"data: a\n"), piece(b"\ndata: b\n\n"), END])
    assert (got, broke) == (b"data: a\n\ndata: b\n\n", None)
    assert server.asked == [f"{method} / HTTP/1.1"]


@METHODS
@pytest.mark.parametrize(
    ("script", "got"),
    [
        ([OPENED, piece(b"data: a\n\n"), CUT], b"data: a\n\n"),
        ([OPENED, piece(b"data: a\n\n"), HANG], b"data: a\n\n"),
        ([OPENED, HANG], b""),
        ([OPENED, CUT], b""),
        ([OPENED, piece(b"data: a\n\n"), b"nonsense\r\n"], b"data: a\n\n"),
    ],
    ids=["reset", "silence", "silence after the head", "reset after the head", "nonsense"],
)
def test_a_stream_that_breaks_off_is_told_and_is_not_asked_for_again(run, method, script, got):
    found, broke, server = streamed(run, method, script)
    assert isinstance(broke, NoAnswerError)
    assert broke.problem.code == "no_answer"
    assert found in (got, b"")  # a reset may overtake what was sent before it
    assert len(server.asked) == 1
    assert broke.__cause__ is broke.__context__ is None


@METHODS
def test_a_request_that_is_not_answered_at_all_breaks_off_as_any_other(run, method):
    _, broke, server = streamed(run, method, [CUT])
    assert isinstance(broke, NoAnswerError)
    assert len(server.asked) <= (1 if method == "POST" else 2)


@METHODS
def test_a_refused_connection_is_nothing_sent(run, method):
    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with a_door() as door:
            await door.stream(method, url, HEADERS)

    with pytest.raises(NotSentError):
        run(scenario())


@METHODS
@pytest.mark.parametrize(
    ("script", "status", "body"),
    [
        ([reply(200, b'{"id":"task-1"}')], 200, b'{"id":"task-1"}'),
        ([reply(200, b"<html>", b"text/html")], 200, b"<html>"),
        ([reply(404, b"data: x\n\n", b"text/event-stream")], 404, b"data: x\n\n"),
        ([reply(307, b"")], 307, b""),
    ],
    ids=["json", "html", "error", "redirect"],
)
def test_what_is_no_stream_is_a_whole_reply(run, method, script, status, body):
    found, _, server = streamed(run, method, script)
    assert (found.status, found.body) == (status, body)
    assert len(server.asked) == 1


def test_a_stream_that_drips_is_given_up_and_one_that_floods_too(run):
    drip = [OPENED, *[piece(b": x\n")] * 3, HANG]

    async def slowly():
        async with Server(drip).running() as server, a_door() as door:
            came = await door.stream("GET", server.url, HEADERS)
            came._until = 0.0  # its time is over
            return await read(came)

    _, broke = run(slowly())
    assert "did not come in time" in broke.problem.message
    settings = HttpSettings(max_body=1_000)
    got, broke, _ = streamed(run, "GET", [OPENED, *[piece(b"x" * 400)] * 50, HANG], settings=settings)
    assert broke.problem.code == "body_too_large"
    assert len(got) <= 1_000


def test_the_time_of_an_exchange_runs_while_its_head_is_waited_for(run):
    async def scenario():
        now = asyncio.get_running_loop().time
        asked_at = []

        async def later():
            asked_at.append(now())
            await asyncio.sleep(0.05)  # the head's own time, which is what is looked at

        async with Server([later, OPENED, HANG]).running() as server, a_door() as door:
            came = await door.stream("POST", server.url, HEADERS, BODY)
            await came.close()
            return came._until - asked_at[0]

    assert run(scenario()) <= SETTINGS.total_timeout_s


def test_a_compressed_stream_is_opened_within_the_bound(run):
    head = OPENED.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n")
    packed = gzip.compress(b"data: a\n\n" * 100)
    got, broke, _ = streamed(run, "GET", [head, piece(packed[:20]), piece(packed[20:]), END])
    assert (got, broke) == (b"data: a\n\n" * 100, None)
    got, broke, _ = streamed(run, "GET", [head, piece(gzip.compress(b"0" * 50_000_000)), END])
    assert (got, broke.problem.code) == (b"", "body_too_large")


def test_a_stream_that_was_read_to_its_end_gives_its_connection_back(run):
    async def scenario():
        async with Server([OPENED, piece(b"data: a\n\n"), END]).running() as server, a_door() as door:
            for _ in range(3):
                await read(await door.stream("GET", server.url, HEADERS))
            return server.connections

    assert run(scenario()) == 1


def test_a_stream_that_is_left_closes_its_connection(run):
    async def scenario():
        async with Server([OPENED, piece(b"data: a\n\n"), HANG]).running() as server, a_door() as door:
            came = await door.stream("GET", server.url, HEADERS)
            await came.next()
            await came.close()
            await server.left.wait()

    run(scenario())


def asked(run, monkeypatch, *scripts, mode=STREAM, path=""):
    """What the API makes of a server's streams, and what it asked for."""
    monkeypatch.setattr(follower, "_FIRST_WAIT_S", 0.0)

    async def scenario():
        async with Server(*scripts).running() as server, a_door() as door:
            api = FoxApi(server.url, Secret(KEY), door, clock=lambda: 0.0, mode=mode)
            answer = await (api.follow("a/b", path) if mode == STREAM else api.submit(BODY))
            return answer, [line.split(" ")[1] for line in server.asked]

    return run(scenario())


A, B, C = chunk("A "), chunk("brown "), chunk("dog.")
USUAL = "/v1/llm/generations/a%2Fb/stream"


@pytest.mark.parametrize("second", [[B, C], [A, B, C]], ids=["from 0", "from 1"])
def test_a_broken_stream_is_gone_on_with_where_it_broke(run, monkeypatch, second):
    silence = [OPENED, A, B, HANG]
    answer, paths = asked(run, monkeypatch, silence, [OPENED, *second, DONE, END])
    assert isinstance(answer, Completed)
    assert answer.completion.content == "A brown dog."
    assert paths == [USUAL, f"{USUAL}?offset=1"]


@pytest.mark.parametrize("refusal", [[reply(400, b"{}")], [OPENED, C, DONE, END]], ids=["refused", "elsewhere"])
def test_a_server_that_knows_no_offset_is_asked_for_the_whole_stream(run, monkeypatch, refusal):
    answer, paths = asked(run, monkeypatch, [OPENED, A, B, HANG], refusal, [OPENED, A, B, C, DONE, END])
    assert answer.completion.content == "A brown dog."
    assert paths == [USUAL, f"{USUAL}?offset=1", USUAL]


def test_reconnecting_is_bounded_where_nothing_new_comes(run, monkeypatch):
    answer, paths = asked(run, monkeypatch, [CUT])
    assert not isinstance(answer, Completed)
    assert len(paths) <= 2 * follower.FRUITLESS  # aiohttp may repeat each GET once
    answer, paths = asked(run, monkeypatch, [reply(503, b"")])
    assert answer == Running("its stream breaks off")
    assert len(paths) == follower.FRUITLESS


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"{}", AccountRefused),
        (403, b'{"error":{"type":"authentication_error"}}', AccountRefused),
        (403, b"<html>", Running),
        (429, b"{}", Throttled),
        (402, b"{}", Running),
        (404, b"{}", Running),
        (410, b"{}", Running),
        (200, b'{"status":"completed"}', Running),
    ],
)
def test_a_stream_that_is_refused_is_not_asked_for_again(run, monkeypatch, status, body, kind):
    answer, paths = asked(run, monkeypatch, [reply(status, body)])
    assert isinstance(answer, kind)
    assert len(paths) == 1


def test_a_stream_is_where_the_api_said(run, monkeypatch):
    script = [OPENED, A, DONE, END]
    assert asked(run, monkeypatch, script, path="/s/1")[1] == ["/s/1"]
    assert asked(run, monkeypatch, script, path="//elsewhere.invalid/s")[1] == [USUAL]


FINISHED = [OPENED, A, chunk("dog.", "stop")]


@pytest.mark.parametrize("mode", [STREAM, SYNC_STREAM])
def test_a_clean_end_after_the_reason_is_an_end(run, monkeypatch, mode):
    answer, paths = asked(run, monkeypatch, [*FINISHED, END], mode=mode)
    assert isinstance(answer, Completed | Answered)
    assert answer.completion.content == "A dog."
    assert len(paths) == 1


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ([*FINISHED, CUT], "no_answer"),
        ([OPENED, A, END], "bad_answer"),
        ([OPENED, END], "bad_answer"),
        ([OPENED, DONE, END], "bad_answer"),
        ([OPENED, piece(b"data: <html>\n\n"), END], "bad_answer"),
        ([OPENED, A, piece(b'event: done\ndata: {"total_chunks":2}\n\n'), END], "bad_answer"),
    ],
)
def test_a_post_whose_stream_does_not_end_well_may_have_been_billed(run, monkeypatch, script, code):
    answer, paths = asked(run, monkeypatch, script, mode=SYNC_STREAM)
    assert isinstance(answer, Ambiguous)
    assert answer.problem.code == code
    assert len(paths) == 1


@pytest.mark.parametrize("mode", [STREAM, SYNC_STREAM])
def test_a_key_that_is_echoed_is_masked_also_where_it_is_split(run, monkeypatch, mode):
    script = [OPENED, chunk(f"{KEY} or {KEY[:7]}"), chunk(f"{KEY[7:]}!"), chunk(KEY, "stop"), DONE, END]
    answer, _ = asked(run, monkeypatch, script, mode=mode)
    assert answer.completion.content == "[key] or [key]![key]"
    assert "0123456789" not in repr(answer)


@pytest.mark.parametrize("mode", [STREAM, SYNC_STREAM])
def test_a_key_that_is_echoed_in_an_error_is_masked(run, monkeypatch, mode):
    event = b'event: error\ndata: {"message":"%b %b"}\n\n' % (b"x" * 1990, KEY.encode())
    answer, _ = asked(run, monkeypatch, [OPENED, piece(event), END], mode=mode)
    assert "sk-" not in repr(answer)
