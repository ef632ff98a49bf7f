"""A planned body as an API of chat completions takes it, held against the official client's own types."""

import orjson
import pytest
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from pydantic import TypeAdapter

from pipeline.core.chat import chat_body
from pipeline.core.requests import Request

VIDEO = "https://videos.example/a.mp4"
FULL = {"system_prompt": "Be brief.", "temperature": 0.5, "max_tokens": 2000, "reasoning": True}
TYPES = {
    False: TypeAdapter(CompletionCreateParamsNonStreaming),
    True: TypeAdapter(CompletionCreateParamsStreaming),
}


def asked(*, stream=False, videos=(VIDEO,), **options):
    body = Request(0, "a", 1, "qwen3-vl", "What is there?", videos, **options).body()
    return orjson.loads(chat_body(body, stream=stream))


def drained(value):
    """Pydantic reads an Iterable when somebody iterates over it."""
    if isinstance(value, dict):
        return {name: drained(item) for name, item in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else [drained(item) for item in value]


def as_official(chat):
    """Its videos as images: the one part that the official types do not know has the shape of theirs."""
    text = orjson.dumps(chat).replace(b'"video_url"', b'"image_url"')
    return orjson.loads(text)


def test_a_row_becomes_a_message_with_its_text_and_its_video():
    assert asked() == {
        "model": "qwen3-vl",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is there?"},
                    {"type": "video_url", "video_url": {"url": VIDEO}},
                ],
            }
        ],
    }


def test_each_video_is_a_part_in_the_rows_order():
    parts = asked(videos=(VIDEO, "https://videos.example/b.mp4"))["messages"][0]["content"]
    assert [part["video_url"]["url"] for part in parts[1:]] == [VIDEO, "https://videos.example/b.mp4"]


def test_the_options_of_a_row_go_along():
    chat = asked(**FULL)
    assert chat["messages"][0] == {"role": "system", "content": "Be brief."}
    assert {name: chat[name] for name in ("temperature", "max_tokens", "reasoning_effort")} == {
        "temperature": 0.5,
        "max_tokens": 2000,
        "reasoning_effort": "medium",
    }


def test_a_row_that_is_not_to_think_says_so_and_one_that_does_not_care_says_nothing():
    assert asked(reasoning=False)["reasoning_effort"] == "none"
    assert "reasoning_effort" not in asked()


def test_a_stream_is_asked_to_tell_what_it_used():
    assert asked(stream=True)["stream_options"] == {"include_usage": True}
    assert "stream" not in asked()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("options", [{}, FULL, {"reasoning": False}], ids=["plain", "full", "no-reasoning"])
def test_the_official_types_take_the_body(options, stream):
    chat = as_official(asked(stream=stream, **options))
    read = drained(TYPES[stream].validate_python(chat))
    assert read == chat, "nothing was left out, or read as something else"


def test_the_official_types_notice_a_wrong_body():
    chat = as_official(asked())
    chat["messages"][0]["content"][1]["type"] = "a_video"
    with pytest.raises(ValueError, match="image_url"):
        drained(TYPES[False].validate_python(chat))
