"""A ChatCompletion from the outside, in the dataset's words. Nothing here may raise on any JSON object."""

from typing import Any

from pipeline.core import loose
from pipeline.core.answers import Completion


def completion_of(answer: dict[str, Any], credits_: float | None = None) -> Completion:
    """Return what the dataset keeps of a ChatCompletion, whatever its fields hold.

    `credits_` is what the task says that it cost, which is not the answer's own usage.
    """
    choices = answer.get("choices")
    choice = loose.mapping(choices[0]) if isinstance(choices, list) and choices else {}
    message = loose.mapping(choice.get("message"))
    usage = loose.mapping(answer.get("usage"))
    asked = loose.mapping(usage.get("prompt_tokens_details"))
    return Completion(
        content=content_of(message.get("content")),
        reasoning=loose.string(message.get("reasoning_content")) or loose.string(message.get("reasoning")),
        finish_reason=loose.string(choice.get("finish_reason")),
        model_answered=loose.string(answer.get("model")),
        prompt_tokens=loose.count(usage.get("prompt_tokens")),
        completion_tokens=loose.count(usage.get("completion_tokens")),
        total_tokens=loose.count(usage.get("total_tokens")),
        reasoning_tokens=loose.count(loose.mapping(usage.get("completion_tokens_details")).get("reasoning_tokens")),
        cached_tokens=loose.count(asked.get("cached_tokens")),
        audio_tokens=loose.count(asked.get("audio_tokens")),
        video_tokens=loose.count(asked.get("video_tokens")),
        usage=loose.encoded(answer.get("usage")),
        credits=credits_,
        cost=loose.amount(usage.get("cost")),
        response=loose.encoded(answer),
        refusal=loose.text(message.get("refusal")),
    )


def content_of(value: object) -> str | None:
    """Return text, or the text parts of a list of parts, joined."""
    if not isinstance(value, list):
        return loose.string(value)
    texts = [part if isinstance(part, str) else loose.mapping(part).get("text") for part in value]
    return "".join(text for text in texts if isinstance(text, str))
