"""The simulator's own OpenAPI description, made of the constants that it judges by; served at `/openapi.json`.

It says what a simulator with the usual switches does. Tests fuzz a real one by it, so that it can't become untrue.
"""

from typing import Any

from pipeline.simulator import openapi_schemas as schemas
from pipeline.simulator.openapi_schemas import ref
from pipeline.simulator.validation import LONGEST_PROMPT, LONGEST_SYSTEM_PROMPT, MOST_VIDEOS

OPENAPI_PATH = "/openapi.json"

Json = dict[str, Any]

FIELDS: dict[str, Json] = {
    "model": {"type": "string", "minLength": 1},
    "prompt": {"type": "string", "minLength": 1, "maxLength": LONGEST_PROMPT},
    "video_urls": {
        "type": "array",
        "minItems": 1,
        "maxItems": MOST_VIDEOS,
        "items": {
            "type": "string",
            "description": "an http(s) URL of a file, or of YouTube on some models, or data:video/<type>;base64,…",
        },
    },
    "sync": {"type": "boolean", "default": False},
    "stream": {"type": "boolean", "default": False},
    "max_tokens": {"type": ["integer", "null"], "minimum": 1},
    "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2},
    "system_prompt": {"type": ["string", "null"], "maxLength": LONGEST_SYSTEM_PROMPT},
    "reasoning": {"type": "boolean", "default": False},
}
REQUIRED = ("model", "prompt", "video_urls")
_QUESTION = {
    "model": "gemini-2.5-pro",
    "prompt": "Describe the video.",
    "video_urls": ["https://a.example/v.mp4"],
}


def _answer(description: str, content_type: str, schema: Json) -> Json:
    return {"description": description, "content": {content_type: {"schema": schema}}}


def _json(description: str, name: str) -> Json:
    return _answer(description, "application/json", ref(name))


_EVENTS = {"text/event-stream": {"schema": ref("Event")}}
_HTML = {"text/html": {"schema": {"type": "string"}}}
_WAIT = {"Retry-After": {"description": "seconds or an HTTP date", "schema": {"type": "string"}}}

_ERRORS: dict[int, Json] = {
    400: _json("the request can't be read", "Error"),
    401: _json("the key is missing or not accepted", "Error"),
    402: _json("the balance is empty", "Error"),
    403: _json("the key is not accepted", "Error"),
    404: _json("there is no such thing", "Error"),
    405: _json("the path does not take this method", "Error"),
    410: _json("the chunks are kept no longer", "Error"),
    413: {"description": "the body is too large, as a proxy says it", "content": _HTML},
    422: _json("the request is refused, or no channel is available", "RefusedError"),
    429: {**_json("too many requests", "Error"), "headers": _WAIT},
    500: _json("the server had an error", "Error"),
    502: {"description": "a proxy had an error", "content": _HTML},
    503: _json("the server had an error", "Error"),
    504: _json("it took too long; the generation goes on", "Error"),
}


def _answers(done: Json, *statuses: int) -> Json:
    told = {str(status): _ERRORS[status] for status in sorted({401, 403, 405, 500, 502, 503, *statuses})}
    return {"200": done, **told}


def _parameter(name: str, place: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": place, "required": place == "path", "schema": schema, "description": description}


_ID = _parameter("id", "path", {"type": "string", "minLength": 1, "pattern": r"^[A-Za-z0-9_-]+$"}, "a generation's id")


def _submit() -> Json:
    body = {"schema": ref("Submission"), "examples": {"usual": {"value": _QUESTION}}}
    shapes = {"oneOf": [ref("Task"), ref("ChatCompletion")]}
    done = _answer("a task; with sync the ChatCompletion; with sync and stream its events", "application/json", shapes)
    done["content"] |= _EVENTS
    return {
        "operationId": "submit",
        "summary": "Have a generation made.",
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": _answers(done, 400, 402, 413, 422, 429, 504),
    }


def _query() -> Json:
    refresh = _parameter("sync_upstream", "query", {"type": "boolean"}, "refresh the task once")
    return {
        "operationId": "query",
        "summary": "Ask for a generation.",
        "parameters": [_ID, refresh],
        "responses": _answers(_json("the task as it stands", "Task"), 404, 429),
    }


def _stream() -> Json:
    offset = {"type": "integer", "minimum": 0, "maximum": 999_999_999}
    return {
        "operationId": "stream",
        "summary": "Follow a generation that was submitted with stream.",
        "parameters": [_ID, _parameter("offset", "query", offset, "the chunk to begin with")],
        "responses": _answers({"description": "the generation's chunks", "content": _EVENTS}, 400, 404, 410),
    }


def _upload() -> Json:
    form = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "string", "format": "binary"}},
    }
    return {
        "operationId": "upload",
        "summary": "Keep a file for a while.",
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}},
        "responses": _answers(_json("the file and its url", "File"), 400, 413, 422, 429),
    }


def _get(operation: str, summary: str, name: str) -> Json:
    return {"operationId": operation, "summary": summary, "responses": _answers(_json(summary, name), 404)}


def description() -> Json:
    """Return the whole document."""
    submission = {
        "type": "object",
        "required": [*REQUIRED],
        "properties": FIELDS,
        "additionalProperties": False,
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "FoxAPI, as vidbatch's simulator plays it", "version": "1"},
        "security": [{"bearer": []}],
        "paths": {
            "/v1/llm/generations": {"post": _submit()},
            "/v1/tasks/{id}": {"get": _query()},
            "/v1/llm/generations/{id}/stream": {"get": _stream()},
            "/v1/files/upload/stream": {"post": _upload()},
            "/v1/configs/llm_generations_models": {"get": _get("models", "the models", "Models")},
            "/v1/account/credits": {"get": _get("credits", "the balance", "Credits")},
        },
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Submission": submission, **schemas.ANSWERS},
        },
    }
