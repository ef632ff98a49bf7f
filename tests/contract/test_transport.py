"""The door against servers that misbehave at the socket: what it says happened, and what really went over the wire."""

import asyncio
import contextlib
import gzip
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import pytest
import uvloop

from pipeline.edges.http import HttpDoor, HttpReply, NoAnswerError, NotSentError
from pipeline.edges.http_transport import Headers, HttpSettings

SETTINGS = HttpSettings(connect_timeout_s=0.4, read_timeout_s=0.4, total_timeout_s=3, max_body=1_000_000, idle_s=2)
HEADERS = Headers({"authorization": "Bearer sk-wire-0123456789", "accept-encoding": "identity"})
BODY = b'{"prompt":"Describe the video."}'
DEADLINE_S = 10


def reply(body: bytes = b'{"ok":1}', head: bytes = b"HTTP/1.1 200 OK", extra: bytes = b"") -> bytes:
    return b"%b\r\ncontent-length: %d\r\n%b\r\n%b" % (head, len(body), extra, body)


class Connection:
    """One accepted socket; reads whole requests and counts them on the server."""

    def __init__(self, sock: socket.socket, server: "Server") -> None:
        self.sock = sock
        self.server = server
        self._loop = asyncio.get_running_loop()

    async def request(self) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        parts = [body]
        missing = int(fields.get(b"content-length", b"0")) - len(body)
        while missing > 0:
            parts.append(await self._more())
            missing -= len(parts[-1])
        self.server.requests.append((head, b"".join(parts)))
        self.server.asked.set()
        return head

    async def first_byte(self) -> None:
        """Wait until something has arrived, and leave it unread."""
        readable = self._loop.create_future()
        self._loop.add_reader(self.sock, lambda: readable.done() or readable.set_result(None))
        await readable
        self._loop.remove_reader(self.sock)

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.sock, data)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    async def _more(self) -> bytes:
        data = await self._loop.sock_recv(self.sock, 65536)
        if not data:
            raise ConnectionError("the client closed")
        return data


Behaviour = Callable[[Connection], Awaitable[None]]


@dataclass
class Server:
    """Answers `healthy` requests well, then behaves as told on that connection and on every later one."""

    behaviour: Behaviour
    healthy: int = 0
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)
    connections: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    @contextlib.asynccontextmanager
    async def running(self):
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/llm/generations"
        tasks = [asyncio.create_task(self._accept(listener))]
        self._tasks = tasks
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            listener.close()

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(listener)
            sock.setblocking(False)
            self.connections += 1
            self._tasks.append(asyncio.create_task(self._serve(Connection(sock, self))))

    async def _serve(self, connection: Connection) -> None:
        try:
            while len(self.requests) < self.healthy:
                await connection.request()
                await connection.send(reply())
            await self.behaviour(connection)
        except OSError:
            pass
        finally:
            self.left.set()
            connection.sock.close()


async def answer_well(connection: Connection) -> None:
    while True:
        await connection.request()
        await connection.send(reply())


async def close_after_the_body(connection: Connection) -> None:
    await connection.request()


async def reset_after_the_body(connection: Connection) -> None:
    await connection.request()
    connection.reset()


async def reset_before_reading(connection: Connection) -> None:
    await connection.first_byte()
    connection.reset()


async def stay_silent(connection: Connection) -> None:
    await connection.request()
    await asyncio.sleep(DEADLINE_S)


async def drip(connection: Connection) -> None:
    await connection.request()
    while True:
        await connection.send(b"H" if connection.server.requests else b"")
        await asyncio.sleep(0.1)


async def cut_the_head(connection: Connection) -> None:
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\ncontent-le")


async def cut_the_body(connection: Connection) -> None:
    await connection.request()
    await connection.send(reply(b'{"id":"task-1"}')[:-5])


async def cut_the_chunks(connection: Connection) -> None:
    await connection.request()
    await connection.send(b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"id"\r\n')


async def talk_nonsense(connection: Connection) -> None:
    await connection.request()
    await connection.send(b"220 mail.example ESMTP\r\n\r\n")


AMBIGUOUS = [
    close_after_the_body,
    reset_after_the_body,
    reset_before_reading,
    stay_silent,
    cut_the_head,
    cut_the_body,
    cut_the_chunks,
    talk_nonsense,
]


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def run(request):
    """Run a coroutine on either event loop, with a deadline."""

    def runner(coroutine):
        with asyncio.Runner(loop_factory=request.param) as loop:
            return loop.run(asyncio.wait_for(coroutine, DEADLINE_S))

    return runner


@contextlib.asynccontextmanager
async def a_door(settings: HttpSettings = SETTINGS):
    door = HttpDoor(settings)
    try:
        yield door
    finally:
        await door.close()


async def outcome(exchange: Awaitable[HttpReply]) -> HttpReply | NotSentError | NoAnswerError:
    try:
        return await exchange
    except (NotSentError, NoAnswerError) as error:
        return error


async def misbehaving(behaviour: Behaviour, method: str, reused: bool):
    """The outcome of one request, and how many whole requests the server had of it."""
    async with Server(behaviour, healthy=int(reused)).running() as server, a_door() as door:
        if reused:
            assert (await door.post(server.url, HEADERS, BODY)).status == 200
        call = door.post(server.url, HEADERS, BODY) if method == "POST" else door.get(server.url, HEADERS)
        result = await outcome(call)
        return result, len(server.requests) - int(reused), server.connections


@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
@pytest.mark.parametrize("behaviour", AMBIGUOUS, ids=lambda behaviour: behaviour.__name__)
def test_a_post_that_may_have_arrived_is_never_called_unsent_and_never_sent_twice(run, behaviour, reused):
    result, requests, connections = run(misbehaving(behaviour, "POST", reused))
    assert isinstance(result, NoAnswerError)
    assert result.problem.code == "no_answer"
    assert requests == (0 if behaviour is reset_before_reading else 1)
    assert connections == 1


@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
@pytest.mark.parametrize("behaviour", AMBIGUOUS, ids=lambda behaviour: behaviour.__name__)
def test_a_get_without_an_answer_goes_over_the_wire_twice_at_most(run, behaviour, reused):
    result, requests, _ = run(misbehaving(behaviour, "GET", reused))
    assert isinstance(result, NoAnswerError)
    assert requests <= 2


def test_a_server_that_drips_is_given_up(run):
    async def scenario():
        settings = HttpSettings(connect_timeout_s=0.4, read_timeout_s=5, total_timeout_s=0.5)
        async with Server(drip).running() as server, a_door(settings) as door:
            return await outcome(door.post(server.url, HEADERS, BODY)), len(server.requests)

    result, requests = run(scenario())
    assert isinstance(result, NoAnswerError)
    assert requests == 1


def test_a_refused_connection_is_nothing_sent(run):
    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        async with a_door() as door:
            return await outcome(door.post(f"http://127.0.0.1:{port}/", HEADERS, BODY))

    result = run(scenario())
    assert isinstance(result, NotSentError)
    assert result.problem.code == "connect_failed"


def test_a_server_that_went_away_between_two_posts_is_nothing_sent(run):
    async def scenario():
        async with a_door() as door:
            async with Server(answer_well).running() as server:
                await door.post(server.url, HEADERS, BODY)
            return await outcome(door.post(server.url, HEADERS, BODY)), len(server.requests)

    result, requests = run(scenario())
    assert isinstance(result, NotSentError)
    assert requests == 1


def test_a_connection_that_is_never_accepted_is_nothing_sent(run):
    async def scenario():
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for _ in range(8):  # more than the queue holds, so that the next handshake goes unanswered
                caller = stack.enter_context(socket.socket())
                caller.setblocking(False)
                caller.connect_ex(listener.getsockname())
            async with a_door() as door:
                return await outcome(door.post(f"http://127.0.0.1:{listener.getsockname()[1]}/", HEADERS, BODY))

    assert isinstance(run(scenario()), NotSentError)


@pytest.mark.parametrize("behaviour", [talk_nonsense, close_after_the_body, reset_before_reading, stay_silent])
def test_a_failed_tls_handshake_is_nothing_sent(run, behaviour):
    async def in_plain_text(connection: Connection) -> None:
        await connection.first_byte()
        if behaviour is talk_nonsense:
            await connection.send(reply())
        elif behaviour is stay_silent:
            await asyncio.sleep(DEADLINE_S)
        elif behaviour is reset_before_reading:
            connection.reset()

    async def scenario():
        async with Server(in_plain_text).running() as server, a_door() as door:
            return await outcome(door.post(server.url.replace("http:", "https:"), HEADERS, BODY)), server.requests

    result, requests = run(scenario())
    assert isinstance(result, NotSentError)
    assert requests == []


def test_a_name_that_does_not_exist_is_nothing_sent(run):
    async def scenario():
        async with a_door(HttpSettings()) as door:
            return await outcome(door.post("http://nowhere.invalid/v1", HEADERS, BODY))

    assert isinstance(run(scenario()), NotSentError)


def test_waiting_in_vain_for_a_free_connection_is_nothing_sent(run):
    async def scenario():
        settings = HttpSettings(connect_timeout_s=0.3, read_timeout_s=2, total_timeout_s=3, connections=1)
        async with Server(stay_silent).running() as server, a_door(settings) as door:
            first = asyncio.create_task(outcome(door.post(server.url, HEADERS, BODY)))
            await server.asked.wait()
            second = await outcome(door.post(server.url, HEADERS, BODY))
            return await first, second, len(server.requests)

    first, second, requests = run(scenario())
    assert isinstance(first, NoAnswerError)
    assert isinstance(second, NotSentError)
    assert requests == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_redirect_is_an_answer_and_is_not_followed(run, status, method):
    async def scenario():
        async with Server(answer_well).running() as target:

            async def redirect(connection: Connection) -> None:
                await connection.request()
                head = b"HTTP/1.1 %d Elsewhere" % status
                await connection.send(reply(b"", head, b"location: %b\r\n" % target.url.encode()))

            async with Server(redirect).running() as server, a_door() as door:
                post = door.post(server.url, HEADERS, BODY)
                result = await (post if method == "POST" else door.get(server.url, HEADERS))
                if method == "GET":
                    post.close()
                return result, len(server.requests), len(target.requests), target.url

    result, asked, followed, target_url = run(scenario())
    assert (result.status, asked, followed) == (status, 1, 0)
    assert result.headers["location"] == target_url


def test_a_healthy_connection_is_used_again(run):
    async def scenario():
        async with Server(answer_well).running() as server, a_door() as door:
            for _ in range(5):
                assert await door.post(server.url, HEADERS, BODY) == HttpReply(
                    200, {"content-length": "8"}, b'{"ok":1}'
                )
            return server.connections

    assert run(scenario()) == 1


def test_an_idle_connection_is_dropped_before_the_server_drops_it(run):
    async def scenario():
        settings = HttpSettings(idle_s=0.2)
        async with Server(answer_well).running() as server, a_door(settings) as door:
            await door.post(server.url, HEADERS, BODY)
            await server.left.wait()  # this server ends a connection only when the client closed it
            await door.post(server.url, HEADERS, BODY)
            return server.connections, len(server.requests)

    assert run(scenario()) == (2, 2)
    assert HttpSettings().idle_s < 5


def test_the_wire_shows_what_was_meant_and_nothing_of_the_environment(run, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def with_a_cookie(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.send(reply(extra=b"set-cookie: session=1; path=/\r\n"))

    async def scenario():
        async with Server(with_a_cookie).running() as server, a_door() as door:
            await door.post(server.url, HEADERS, BODY)
            await door.post(server.url, HEADERS, BODY)
            return server.requests

    (_, first_body), (head, body) = run(scenario())
    assert first_body == body == BODY
    assert b"cookie" not in head.lower()
    assert head.lower().count(b"authorization: bearer sk-wire-0123456789") == 1
    assert b"accept-encoding: identity" in head.lower()


def test_a_large_body_arrives_whole_and_sized(run):
    large = b"v" * 3_000_000

    async def scenario():
        async with Server(answer_well).running() as server, a_door() as door:
            await door.post(server.url, HEADERS, large)
            return server.requests

    [(head, body)] = run(scenario())
    assert body == large
    assert b"chunked" not in head.lower()


def test_a_refusal_that_comes_before_the_upload_ends_is_read(run):
    async def refuse_early(connection: Connection) -> None:
        await connection.first_byte()
        await connection.send(reply(b"too large", b"HTTP/1.1 413 Content Too Large", b"connection: close\r\n"))
        await asyncio.sleep(DEADLINE_S)

    async def scenario():
        async with Server(refuse_early).running() as server, a_door() as door:
            return await outcome(door.post(server.url, HEADERS, b"v" * 20_000_000))

    result = run(scenario())
    assert isinstance(result, HttpReply)
    assert (result.status, result.body) == (413, b"too large")


@pytest.mark.parametrize("head", [b"content-length: 999999999\r\n", b""], ids=["announced", "endless"])
def test_a_flood_is_not_read_to_its_end_and_its_connection_is_closed(run, head):
    async def flood(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        while True:
            await connection.send(b" " * 100_000)

    async def scenario():
        async with Server(flood).running() as server, a_door() as door:
            result = await outcome(door.post(server.url, HEADERS, BODY))
            await server.left.wait()
            return result

    result = run(scenario())
    assert isinstance(result, NoAnswerError)
    assert result.problem.code == "body_too_large"


@pytest.mark.parametrize(("size", "fits"), [(1_000_000, True), (50_000_000, False)], ids=["fits", "bomb"])
def test_a_compressed_body_is_opened_within_the_bound(run, size, fits):
    packed = gzip.compress(b"0" * size)

    async def compress(connection: Connection) -> None:
        await connection.request()
        await connection.send(reply(packed, extra=b"Content-Encoding: GZIP\r\n"))

    async def scenario():
        async with Server(compress).running() as server, a_door() as door:
            return await outcome(door.post(server.url, HEADERS, BODY))

    result = run(scenario())
    if fits:
        assert result.body == b"0" * size
    else:
        assert result.problem.code == "body_too_large"


def test_a_cancelled_post_is_cancelled_and_its_connection_is_closed(run):
    async def scenario():
        async with Server(stay_silent).running() as server, a_door() as door:
            post = asyncio.create_task(door.post(server.url, HEADERS, BODY))
            await server.asked.wait()
            post.cancel()
            with pytest.raises(asyncio.CancelledError):
                await post
            return len(server.requests)

    assert run(scenario()) == 1


def test_a_closed_door_sends_nothing(run):
    async def scenario():
        async with Server(answer_well).running() as server:
            door = HttpDoor(SETTINGS)
            await door.post(server.url, HEADERS, BODY)
            await door.close()
            return await outcome(door.post(server.url, HEADERS, BODY)), len(server.requests)

    result, requests = run(scenario())
    assert isinstance(result, NotSentError)
    assert requests == 1


def test_a_failure_carries_no_exception_that_could_show_the_request(run):
    for behaviour in (close_after_the_body, talk_nonsense):
        result, _, _ = run(misbehaving(behaviour, "POST", reused=False))
        assert result.__cause__ is None
        assert result.__context__ is None
        assert "sk-wire" not in f"{result!r} {result}"


class Held(httpx.AsyncByteStream):
    """A body of some pieces, of which it tells how many were taken; the last comes when it is let go."""

    def __init__(self, pieces: int, last: asyncio.Event) -> None:
        self.taken = 0
        self.pieces = pieces
        self.last = last

    async def __aiter__(self):
        for _ in range(self.pieces):
            self.taken += 1
            yield b" " * 100_000
        await self.last.wait()
        yield b"."


class Shelf(httpx.AsyncBaseTransport):
    """Answers each request with the next body."""

    def __init__(self, bodies):
        self.bodies = iter(bodies)

    async def handle_async_request(self, request):
        return httpx.Response(200, stream=next(self.bodies))


def test_few_large_bodies_are_held_at_a_time_and_none_waits_for_ever(run):
    async def scenario():
        last = asyncio.Event()
        bodies = [Held(9, last) for _ in range(6)]
        door = HttpDoor(SETTINGS, transport=Shelf(bodies))
        gets = [asyncio.create_task(door.get("http://api/", HEADERS)) for _ in bodies]
        for _ in range(500):  # far more turns of the loop than the readers need until they all wait
            await asyncio.sleep(0)
        held = sorted(body.taken for body in bodies)
        last.set()
        return held, [len(reply.body) for reply in await asyncio.gather(*gets)]

    held, read = run(scenario())
    assert held == [3, 3, 3, 3, 9, 9]
    assert read == [900_001] * 6


def test_a_small_answer_does_not_wait_for_large_ones(run):
    async def scenario():
        last, ready = asyncio.Event(), asyncio.Event()
        ready.set()
        door = HttpDoor(SETTINGS, transport=Shelf([Held(9, last), Held(9, last), Held(1, ready)]))
        large = [asyncio.create_task(door.get("http://api/", HEADERS)) for _ in range(2)]
        await asyncio.sleep(0)
        small = await door.get("http://api/", HEADERS)
        last.set()
        await asyncio.gather(*large)
        return len(small.body)

    assert run(scenario()) == 100_001


def test_a_header_that_is_no_utf_8_can_be_written_down_all_the_same(run):
    async def redirect(connection: Connection) -> None:
        await connection.request()
        await connection.send(reply(b"", b"HTTP/1.1 302 Found", b"location: http://caf\xfc.example/\r\n"))

    async def scenario():
        async with Server(redirect).running() as server, a_door() as door:
            return await door.get(server.url, HEADERS)

    assert run(scenario()).headers["location"].encode("utf-8") == "http://cafü.example/".encode()
