"""The bodies that clients read: tasks, ChatCompletions and errors, in the shapes of docs/foxapi.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.simulator.billing import COMPLETED, Charge, Post
from pipeline.simulator.facts import Facts
from pipeline.simulator.settings import SimulatorSettings
from pipeline.simulator.validation import Refusal
from pipeline.simulator.written import Written

_CHARACTERS_PER_TOKEN = 4
# Counted once and not for every answer: what such a sentence and 64 hex digits take with a usual tokenizer.
_TOKENS_A_SENTENCE = 34
_TOKENS_OF_A_DIGEST = 44
_THOUGHT = "Looked at every second of the video, then counted the cuts."


@dataclass(frozen=True, slots=True)
class Text:
    """What an answer says: `content` as it was cut by max_tokens, if it was."""

    content: str | None
    reasoning: str | None
    finish_reason: str


def tokens_of(text: str | int) -> int:
    """Return the tokens of a text, or of that many characters: one for every four, rounded up."""
    length = text if isinstance(text, int) else len(text)
    return -(-length // _CHARACTERS_PER_TOKEN)


def _whole_content(facts: Sequence[Facts], digest: str, settings: SimulatorSettings) -> str:
    if settings.fixed_content:
        return settings.fixed_content
    return "\n".join([*(fact.sentence() for fact in facts), f"digest: {digest}"])


def _tokens_said(videos: int, settings: SimulatorSettings) -> int:
    if settings.fixed_content:
        return tokens_of(settings.fixed_content)
    return videos * _TOKENS_A_SENTENCE + _TOKENS_OF_A_DIGEST


def charge_for(
    facts: Sequence[Facts],
    prompt_characters: int,
    max_tokens: int,
    settings: SimulatorSettings,
    *,
    reasoning: bool,
    written: Written | None = None,
) -> Charge:
    """Return the tokens of a completed generation; thinking counts as output, and so does an answer `written` out."""
    video = sum(fact.video_tokens for fact in facts)
    audio = sum(fact.audio_tokens for fact in facts)
    said = _tokens_said(len(facts), settings) if written is None else written.tokens
    thought = tokens_of(_THOUGHT) if reasoning else 0
    limit = max_tokens or said + thought
    return Charge(
        prompt=video + audio + tokens_of(prompt_characters),
        completion=min(said + thought, limit),
        video=video,
        audio=audio,
        reasoning=min(thought, limit),
    )


def text_of(post: Post, facts: Sequence[Facts], settings: SimulatorSettings) -> Text:
    """Return what a completed generation says, cut to the tokens that it was charged for."""
    whole = _whole_content(facts, post.digest.hex(), settings)
    natural = _tokens_said(len(facts), settings)
    allowed = post.charge.completion - post.charge.reasoning
    cut = bool(post.asked.max_tokens) and allowed < natural
    content = whole[: len(whole) * allowed // natural] if cut else whole
    reasoning = _THOUGHT if post.asked.reasoning else None
    return Text(content, reasoning, "length" if cut else "stop")


def _text_written(written: Written, post: Post) -> Text:
    return Text(written.content, _THOUGHT if post.asked.reasoning else None, written.finish_reason)


def chat_completion(
    generation_id: str,
    created: int,
    post: Post,
    facts: Sequence[Facts],
    settings: SimulatorSettings,
    written: Written | None = None,
) -> dict[str, Any]:
    """Return a whole ChatCompletion; its words are `written` already where they are not the usual ones."""
    text = text_of(post, facts, settings) if written is None else _text_written(written, post)
    message: dict[str, Any] = {"role": "assistant", "content": text.content}
    if written is not None and written.refusal is not None:
        message["refusal"] = written.refusal
    if text.reasoning is not None:
        message["reasoning_content"] = text.reasoning
    return {
        "id": "chatcmpl-" + generation_id.removeprefix("task-llmrouter-"),
        "object": "chat.completion",
        "created": created,
        "model": settings.answered_model or post.asked.model,
        "choices": [{"index": 0, "message": message, "finish_reason": text.finish_reason}],
        "usage": _usage(post, settings),
    }


def _usage(post: Post, settings: SimulatorSettings) -> dict[str, Any]:
    charge = post.charge
    usage: dict[str, Any] = {
        "prompt_tokens": charge.prompt,
        "completion_tokens": charge.completion,
        "total_tokens": charge.prompt + charge.completion,
        "prompt_tokens_details": {
            "cached_tokens": 0,
            "audio_tokens": charge.audio,
            "video_tokens": charge.video,
        },
        "completion_tokens_details": {"reasoning_tokens": charge.reasoning},
    }
    if settings.cost_reported:
        usage["cost"] = post.cost
    return usage


def task(generation_id: str, created: int, model: str, status: str, progress: int) -> dict[str, Any]:
    """Return the task shape, without an end."""
    return {
        "id": generation_id,
        "object": "llm.generation.task",
        "type": "llm",
        "model": model,
        "status": status,
        "progress": progress,
        "created": created,
        "stream": None,
        "results": None,
        "error": None,
    }


def task_error(outcome: str, message: str | None) -> dict[str, str]:
    """Return the error of a failed task."""
    return {"code": outcome, "message": message or f"The generation ended with {outcome}.", "type": "task_error"}


def error_body(refusal: Refusal) -> bytes:
    """Return a JSON error body; `code` only where there is one."""
    error = {"message": refusal.message, "type": refusal.type}
    if refusal.code is not None:
        error["code"] = refusal.code
    return orjson.dumps({"error": error})


def post_row(post: Post, generation_id: str) -> dict[str, Any]:
    """Return one line of the books, for the admin endpoint."""
    return {
        "sequence": post.sequence,
        "id": generation_id,
        "model": post.asked.model,
        "mode": post.asked.mode,
        "prompt_sha256": post.asked.prompt_sha256.hex(),
        "video_urls": post.asked.video_urls,
        "received_at": post.received_at,
        "outcome": post.outcome if post.outcome in ("open", COMPLETED) else "failed",
        "error_code": None if post.outcome in ("open", COMPLETED) else post.outcome,
        "prompt_tokens": post.charge.prompt,
        "completion_tokens": post.charge.completion,
        "reasoning_tokens": post.charge.reasoning,
        "audio_tokens": post.charge.audio,
        "video_tokens": post.charge.video,
        "cost": post.cost,
        "polls": post.polls,
        "answered": post.answered,
    }
