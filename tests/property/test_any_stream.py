"""Streams of events, cut anywhere: the same events come of them, and nothing raises."""

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.sse import SseEvent, SseParser, SseTooLarge
from pipeline.core.stream_answer import StreamAnswer, StreamState

LINES = st.sampled_from(
    [
        b"data: a",
        b"data:",
        b"data",
        b"event: chunk",
        b"event:",
        b": x",
        b"id: 1",
        b"",
        b"",
        b"data: \xc3\xa4",
        b"\xef\xbb\xbf",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
LIKELY = st.lists(st.tuples(LINES | st.binary(max_size=20), ENDS), max_size=25).map(
    lambda lines: b"".join(line + end for line, end in lines)
)
STREAMS = LIKELY | st.binary(max_size=200)


def fed(pieces, most):
    parser = SseParser(most)
    return [event for piece in pieces for event in parser.feed(piece)]


@st.composite
def cut(draw, streams=STREAMS):
    stream = draw(streams)
    places = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=30)))
    return stream, [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


@given(cut(), st.integers(0, 60))
def test_it_does_not_matter_where_a_stream_is_cut(stream_and_pieces, most):
    stream, pieces = stream_and_pieces
    whole = fed([stream], most)
    assert fed(pieces, most) == whole
    assert fed((stream[at : at + 1] for at in range(len(stream))), most) == whole
    assert SseTooLarge() not in whole[:-1]


TEXTS = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)
EVENTS = st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=4)), max_size=8)


@given(EVENTS, ENDS, st.booleans())
def test_what_was_written_is_what_is_read(events, end, marked):
    written = "\ufeff".encode() if marked else b""
    for name, lines in events:
        for line in (f"event: {name}", *(f"data: {line}" for line in lines), ""):
            written += line.encode() + end
    expected = [SseEvent(name, "\n".join(lines).encode()) for name, lines in events]
    assert fed([written], 10_000) == expected


LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5)
KEYS = st.sampled_from(
    ["id", "model", "created", "choices", "index", "delta", "content", "reasoning", "finish_reason", "usage", "error"]
)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5))
CHOICE = st.dictionaries(st.sampled_from(["index", "delta", "finish_reason"]), JSON)
ANY_CHUNK = st.fixed_dictionaries({"choices": st.lists(CHOICE, max_size=2), "usage": JSON, "id": JSON})
DATA = (JSON | ANY_CHUNK).map(orjson.dumps) | st.binary(max_size=30) | st.just(b"[DONE]") | st.just(rb'"\ud800"')
ANY_EVENTS = st.lists(
    st.builds(SseEvent, st.sampled_from(["", "chunk", "done", "error", "ping"]), DATA) | st.just(SseTooLarge()),
    max_size=8,
)


@settings(max_examples=40)
@given(st.lists(ANY_EVENTS, max_size=3))
def test_any_events_over_any_connections_are_taken(connections):
    answer = StreamAnswer()
    for events in connections:
        for event in events:
            answer.take(event)
        orjson.loads(answer.whole())
        assert (answer.problem is not None) == (answer.state is StreamState.FAILED)
        if answer.state not in (StreamState.GOING_ON, StreamState.ASTRAY):
            break
        answer.go_on()


def a_chunk(text):
    return SseEvent("chunk", orjson.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}))


@given(
    st.lists(st.sampled_from(["", "a", "b", "ha "]), min_size=1, max_size=20),
    st.lists(st.integers(0, 20), max_size=6),
    st.sampled_from([0, 1, None]),
    st.booleans(),
)
def test_wherever_a_stream_breaks_it_comes_whole(texts, breaks, base, named):
    """`base` None is a server that takes no notice of an offset."""
    chunks = [a_chunk(text) for text in texts]
    last = SseEvent("done", b'{"total_chunks":%d}' % len(chunks)) if named else SseEvent("", b"[DONE]")
    answer = StreamAnswer()
    offset = None
    for lasts in [*breaks, None, None]:  # one that is not broken may be asked for again from its start
        start = 0 if offset is None or base is None else offset - base
        for event in [*chunks[start:], last][:lasts]:
            answer.take(event)
        if answer.state is StreamState.WHOLE:
            break
        assert answer.state in (StreamState.GOING_ON, StreamState.ASTRAY)
        offset = answer.go_on()
    assert answer.state is StreamState.WHOLE
    assert orjson.loads(answer.whole())["choices"][0]["message"]["content"] == "".join(texts)
    assert answer.counted == len(chunks)
