"""A body with its videos in it, made piece by piece."""

import asyncio
from base64 import b64encode

import orjson
import pytest

from pipeline.edges.payload import BrokenBodyError, InlineVideo, Payload, RawVideo, spliced

REFERENCE = "file:///a.mp4#size=1&sha256=" + "0" * 64


def in_pieces(data, size):
    async def pieces():
        for start in range(0, len(data), size):
            yield data[start : start + size]

    return pieces


def whole(payload):
    async def gather():
        return b"".join([piece async for piece in payload])

    return asyncio.run(gather())


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 6, 1000])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_base64_is_the_same_however_the_file_comes(length, size):
    data = bytes(i % 251 for i in range(length))
    video = InlineVideo("video/mp4", length, in_pieces(data, size))
    body = orjson.dumps({"video_urls": [REFERENCE], "prompt": "p"})
    payload = spliced(body, {REFERENCE: video})
    sent = whole(payload)
    assert orjson.loads(sent)["video_urls"] == [f"data:video/mp4;base64,{b64encode(data).decode()}"]
    assert len(sent) == payload.length
    assert whole(payload) == sent


def test_a_prompt_that_reads_like_a_reference_stays_as_it_is():
    body = orjson.dumps({"model": "m", "prompt": REFERENCE, "video_urls": [REFERENCE, 's3://b/ä".mp4', REFERENCE]})
    sent = spliced(body, {REFERENCE: "https://one.example/1.mp4", 's3://b/ä".mp4': 'https://two.example/?a="&b'})
    assert orjson.loads(sent) == {
        "model": "m",
        "prompt": REFERENCE,
        "video_urls": ["https://one.example/1.mp4", 'https://two.example/?a="&b', "https://one.example/1.mp4"],
    }


def test_the_url_of_a_chat_message_is_replaced_and_its_text_is_not():
    parts = [{"type": "text", "text": REFERENCE}, {"type": "video_url", "video_url": {"url": REFERENCE}}]
    sent = spliced(orjson.dumps({"messages": [{"role": "user", "content": parts}]}), {REFERENCE: "https://x.example/"})
    text, video = orjson.loads(sent)["messages"][0]["content"]
    assert (text["text"], video["video_url"]["url"]) == (REFERENCE, "https://x.example/")


def test_a_body_without_references_is_the_same_object():
    body = b'{"video_urls":["https://a.example/b.mp4"]}'
    assert spliced(body, {}) is body


@pytest.mark.parametrize("announced", [9, 11])
def test_a_file_of_another_length_breaks_the_body(announced):
    with pytest.raises(BrokenBodyError):
        whole(Payload([RawVideo(announced, in_pieces(b"0123456789", 4))]))
