"""Streams of events, cut anywhere: the same events come of them, and nothing raises."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.sse import SseEvent, SseParser, SseTooLarge

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
