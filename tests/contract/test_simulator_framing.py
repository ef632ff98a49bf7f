import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.simulator.messages import NoAnswer, Response
from pipeline.simulator.protocol import Connection

BODY = b'{"model":"m"}'
HEAD = b"POST /submit?x=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer sk-a\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = (
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n" + BODY[:5] + b"\r\n8;note=x\r\n" + BODY[5:] + b"\r\n0\r\n\r\n"
)
GET = b"GET /task HTTP/1.1\r\nHost: a\r\n\r\n"


class Wire:
    """The transport's side of a connection: what was written, whether it is open, whether it reads."""

    def __init__(self, peer="127.0.0.1"):
        self.sent, self.open, self.reading, self._peer = b"", True, True, peer

    def write(self, data):
        assert self.open
        self.sent += data

    def get_extra_info(self, _name):
        return (self._peer, 1)

    def is_closing(self):
        return not self.open

    def close(self):
        self.open = False

    abort = close

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    @property
    def statuses(self):
        return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+) ", self.sent)]


class Talk:
    """A connection whose requests are written down and answered with their number."""

    def __init__(self, answer=None, limit=1000, peer="127.0.0.1"):
        self.requests, self.wire, self.connections = [], Wire(peer), set()
        self._answer = answer or (lambda number: Response(200, b"answer %d" % number))
        self.connection = Connection(self._handle, limit, self.connections)
        self.connection.connection_made(self.wire)

    def _handle(self, request):
        self.requests.append(request)
        return self._answer(len(self.requests))

    def hear(self, *pieces):
        for piece in pieces:
            self.connection.data_received(piece)
        return self


def in_a_loop(*pieces):
    """Have the pieces heard while a loop runs, as refusals set a timer."""

    async def scene():
        return Talk().hear(*pieces)

    return asyncio.run(scene())


@pytest.mark.parametrize("whole", [WHOLE, CHUNKED], ids=["length", "chunked"])
def test_a_request_split_at_every_byte_is_the_same_request(whole):
    for cut in range(1, len(whole)):
        talk = Talk().hear(whole[:cut], whole[cut:])
        (request,) = talk.requests
        assert (request.method, request.path, request.query, request.body) == ("POST", "/submit", "x=1", BODY)
        assert request.authorization == "Bearer sk-a"
        assert talk.wire.sent.endswith(b"Content-Length: 8\r\n\r\nanswer 1")


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_however_a_stream_of_requests_is_cut_the_requests_are_the_same(data):
    stream = b"".join(data.draw(st.lists(st.sampled_from([WHOLE, CHUNKED, GET]), min_size=1, max_size=5)))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=12)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole, cut = Talk().hear(stream), Talk().hear(*pieces)
    assert cut.requests == whole.requests
    assert cut.wire.sent == whole.wire.sent
    assert cut.wire.open


def test_a_connection_is_kept_for_the_next_request():
    talk = Talk().hear(GET, GET)
    assert len(talk.requests) == 2
    assert talk.wire.open
    assert b"Connection: close" not in talk.wire.sent


def test_a_client_that_asks_for_it_gets_the_connection_closed_after_the_answer():
    talk = Talk().hear(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), b"more")
    assert talk.wire.statuses == [200]
    assert b"Connection: close" in talk.wire.sent
    assert not talk.wire.open


def test_an_http_1_0_client_gets_the_connection_closed():
    assert not Talk().hear(b"GET / HTTP/1.0\r\n\r\n").wire.open


def test_a_head_request_gets_the_length_without_the_body():
    sent = Talk().hear(GET.replace(b"GET", b"HEAD")).wire.sent
    assert sent.endswith(b"Content-Length: 8\r\n\r\n")


@pytest.mark.parametrize(
    "noise",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        HEAD + b"Content-Length: x\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_bytes_that_are_no_http_get_400_and_the_connection_closed(noise):
    talk = in_a_loop(noise)
    assert talk.wire.statuses == [400]
    assert not talk.wire.open
    assert not talk.requests


def test_an_upgrade_is_not_taken_up_but_the_request_is_answered():
    talk = in_a_loop(b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert talk.wire.statuses == [200]
    assert not talk.wire.open


def test_what_came_before_the_noise_is_answered_first():
    talk = in_a_loop(GET + b"noise\r\n\r\n")
    assert talk.wire.statuses == [200, 400]


def test_an_endless_head_is_refused():
    talk = in_a_loop(b"GET / HTTP/1.1\r\nX: ", *[b"x" * 65_536] * 20)
    assert talk.wire.statuses == [400]
    assert not talk.wire.open


def test_a_body_announced_too_large_gets_413_in_html_before_it_is_sent():
    talk = in_a_loop(HEAD + b"Content-Length: 1001\r\n\r\n")
    assert talk.wire.statuses == [413]
    assert b"Content-Type: text/html" in talk.wire.sent
    assert not talk.requests


def test_a_client_that_still_sends_its_too_large_body_is_heard_out():
    announced = HEAD + b"Content-Length: 1001\r\n\r\n"
    assert in_a_loop(announced, b"x" * 1000).wire.open
    assert not in_a_loop(announced, b"x" * 1000, b"x").wire.open


def test_a_chunked_body_beyond_the_bound_gets_413():
    chunk = b"190\r\n" + b"x" * 400 + b"\r\n"
    talk = in_a_loop(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk, chunk, chunk, b"0\r\n\r\n")
    assert talk.wire.statuses == [413]
    assert not talk.wire.open


def test_a_client_that_waits_for_leave_to_send_its_body_gets_it():
    head = HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    talk = in_a_loop(head)
    assert talk.wire.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert talk.hear(BODY).requests[0].body == BODY


def test_a_hangup_closes_without_a_byte():
    talk = Talk(lambda _number: NoAnswer.HANGUP).hear(GET + GET)
    assert (talk.wire.sent, talk.wire.open, len(talk.requests)) == (b"", False, 1)


def test_pipelined_requests_are_answered_in_their_order_even_when_the_first_takes_longer():
    async def scene():
        gate, answered = asyncio.Event(), asyncio.Event()

        async def late():
            await gate.wait()
            return Response(200, b"late")

        def second():
            answered.set()
            return Response(200, b"at once")

        talk = Talk(lambda number: late() if number == 1 else second())
        talk.hear(GET, GET)
        assert (talk.wire.sent, talk.wire.reading) == (b"", False)
        gate.set()
        await answered.wait()
        assert talk.wire.sent.index(b"late") < talk.wire.sent.index(b"at once")
        assert talk.wire.reading

    asyncio.run(asyncio.wait_for(scene(), 5))


def test_a_client_that_does_not_read_is_not_read_from():
    talk = Talk()
    talk.connection.pause_writing()
    assert not talk.wire.reading
    talk.connection.resume_writing()
    assert talk.wire.reading


@pytest.mark.parametrize(
    ("peer", "near"), [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("10.0.0.1", False), ("fe80::1", False)]
)
def test_a_peer_on_this_machine_is_told_from_others(peer, near):
    assert Talk(peer=peer).hear(GET).requests[0].from_loopback is near


def test_a_lost_connection_leaves_the_set_of_the_living():
    talk = Talk()
    assert len(talk.connections) == 1
    talk.connection.connection_lost(None)
    assert not talk.connections
