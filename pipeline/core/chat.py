"""The same question for an API of chat completions: a planned body as OpenAI's `POST /chat/completions` takes it.

Videos are `video_url` parts, which OpenAI's own types don't have; vLLM, OpenRouter and others take them, and made
their shape after `image_url`. They bear what the planned body has there: what is to be sent instead is put in when it
is sent.
"""

from typing import Any

import orjson

EFFORTS = {True: "medium", False: "none"}
"""What `reasoning` is there: models that think do so with medium effort by themselves, and none is the word for not at
all. A row that says nothing says nothing there either."""


def chat_body(body: bytes, *, stream: bool) -> bytes:
    """The body to send for a planned one; a stream tells at its end what the answer used."""
    asked: dict[str, Any] = orjson.loads(body)
    content: list[dict[str, Any]] = [{"type": "text", "text": asked["prompt"]}]
    content += [{"type": "video_url", "video_url": {"url": video}} for video in asked["video_urls"]]
    system = asked.get("system_prompt")
    messages: list[dict[str, Any]] = [] if system is None else [{"role": "system", "content": system}]
    chat: dict[str, Any] = {"model": asked["model"], "messages": [*messages, {"role": "user", "content": content}]}
    chat |= {name: asked[name] for name in ("max_tokens", "temperature") if name in asked}
    if "reasoning" in asked:
        chat["reasoning_effort"] = EFFORTS[asked["reasoning"]]
    if stream:
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    return orjson.dumps(chat)
