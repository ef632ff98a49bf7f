"""What is an event of a stream, and what is none."""

import pytest

from pipeline.core.sse import SseEvent, SseParser, SseTooLarge


def parsed(*pieces, most=1_000):
    parser = SseParser(most)
    return [event for piece in pieces for event in parser.feed(piece)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [("", b"a")]),
        (b"event: chunk\ndata: {}\n\nevent: done\ndata: 1\n\n", [("chunk", b"{}"), ("done", b"1")]),
        (b"data: a\r\rdata: b\r\n\r\ndata: c\n\n", [("", b"a"), ("", b"b"), ("", b"c")]),
        (b"data:a\ndata: b\ndata:  c\n\n", [("", b"a\nb\n c")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("", b"a")]),
        (b": keep-alive\n\ndata: a\n: and another\n\n", [("", b"a")]),
        (b"id: 7\nretry: 100\nnonsense\nother: x\ndata: a\n\n", [("", b"a")]),
        (b"event: lost\n\ndata: a\n\n", [("", b"a")]),
        (b"data\n\n", [("", b"")]),
        (b"data\ndata\n\n", [("", b"\n")]),
        (b"data: \xc3\xa4\xf0\x9f\x90\x95\n\n", [("", "ä🐕".encode())]),
        (b"event: \xff\ndata: \xff\n\n", [("\ufffd", b"\xff")]),
        (b"data: a\n\ndata: unfinished\n", [("", b"a")]),
        (b"data: a\n\ndata: unfinished", [("", b"a")]),
        (b"\n\n\r\n\r\n", []),
        (b" data: a\n\nDATA: a\n\n", []),
    ],
)
def test_what_a_stream_holds(stream, events):
    expected = [SseEvent(*event) for event in events]
    assert parsed(stream) == expected
    assert parsed(*(stream[at : at + 1] for at in range(len(stream)))) == expected


def test_a_line_end_of_two_bytes_may_come_in_two_pieces():
    assert parsed(b"data: a\r", b"", b"\n", b"\r", b"\n", b"data: b\n\n") == [SseEvent("", b"a"), SseEvent("", b"b")]


@pytest.mark.parametrize("line", [b"data: " + b"a" * 100, b": " + b"a" * 100, b"data: aaaaaaaaaaaa\n" * 10])
@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_an_event_beyond_the_bound_is_told_once_and_nothing_after_it(line, size):
    stream = b"data: first\n\n" + line + b"\n\ndata: never\n\n"
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert parsed(*pieces, most=99) == [SseEvent("", b"first"), SseTooLarge()]


def test_lines_and_events_within_the_bound_are_not_counted_together():
    assert len(parsed(b": comment\n" * 100 + b"data: aaaa\n\n" * 100, most=20)) == 100
