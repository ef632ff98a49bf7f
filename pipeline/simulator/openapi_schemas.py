"""The shapes of the simulator's answers, as JSON Schemas."""

from typing import Any

Json = dict[str, Any]


def ref(name: str) -> Json:
    """Return a reference to one of the schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: Json, **optional: Json) -> Json:
    return {"type": "object", "required": [*required], "properties": {**required, **optional}}


def _or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


_TEXT: Json = {"type": "string"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_AMOUNT: Json = {"type": "number", "minimum": 0}
_ERROR = {"message": _TEXT, "type": _TEXT}

ANSWERS: dict[str, Json] = {
    "Error": _object({"error": _object(_ERROR, code=_TEXT)}),
    "RefusedError": _object({"error": _object({**_ERROR, "code": _TEXT})}),
    "TaskError": _object({"code": _TEXT, "message": _TEXT, "type": {"const": "task_error"}}),
    "Task": _object(
        {
            "id": {"type": "string", "pattern": "^task-"},
            "object": {"const": "llm.generation.task"},
            "type": {"const": "llm"},
            "model": _TEXT,
            "status": {"enum": ["pending", "processing", "completed", "failed"]},
            "progress": {"type": "integer", "minimum": 0, "maximum": 100},
            "created": {"type": "integer"},
            "stream": _or_null(_object({"url": _TEXT})),
            "results": _or_null({"type": "array", "items": ref("ChatCompletion")}),
            "error": _or_null(ref("TaskError")),
        },
        usage=_object({"credits_reserved": _AMOUNT, "user_group": _TEXT}),
    ),
    "Usage": _object(
        {"prompt_tokens": _COUNT, "completion_tokens": _COUNT, "total_tokens": _COUNT},
        cost=_AMOUNT,
        prompt_tokens_details=_object({"cached_tokens": _COUNT, "audio_tokens": _COUNT, "video_tokens": _COUNT}),
        completion_tokens_details=_object({"reasoning_tokens": _COUNT}),
    ),
    "ChatCompletion": _object(
        {
            "id": _TEXT,
            "object": {"const": "chat.completion"},
            "created": {"type": "integer"},
            "model": _TEXT,
            "choices": {
                "type": "array",
                "items": _object(
                    {
                        "index": _COUNT,
                        "finish_reason": _TEXT,
                        "message": _object(
                            {"role": {"const": "assistant"}, "content": {"type": ["string", "null"]}},
                            reasoning_content=_TEXT,
                            refusal=_TEXT,
                        ),
                    }
                ),
            },
            "usage": _or_null(ref("Usage")),
        }
    ),
    # Chunks, and then done or error; each stands for itself.
    "Event": _object({"data": _TEXT}, event={"enum": ["chunk", "done", "error"]}),
    "File": _object(
        {
            "id": {"type": "string", "pattern": "^file-"},
            "filename": _TEXT,
            "url": _TEXT,
            "size": _COUNT,
            "created": {"type": "integer"},
        }
    ),
    "Models": _object(
        {
            "object": {"const": "list"},
            "data": {
                "type": "array",
                "items": _object({"id": _TEXT, "capabilities": {"type": "array", "items": _TEXT}}),
            },
        }
    ),
    "Credits": _object({"credits": _or_null({"type": "number"}), "used": _AMOUNT}),
}
