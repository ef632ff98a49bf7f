"""The columns of an annotation: a promise to users, kept as data. New ones are only ever added."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

SCHEMA_VERSION = 2

Kind = Literal["text", "word", "texts", "int", "float", "bool", "time", "attempts", "answer"]
"""`word` is text of few distinct values; `texts` a list of text; `time` UTC in µs; `attempts` the attempt log;
`answer` has the type of the dataset's answers, text where they have no schema."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, kind and meaning."""

    name: str
    kind: Kind
    meaning: str


_KEPT = "of the kept answer; attempt_log and usage/ have everything that was billed"

ANNOTATION = (
    Column("row_id", "text", "the manifest's id, else the row's index as text"),
    Column("row_index", "int", "0-based position of the row in the manifest"),
    Column("request_hash", "text", "SHA-256 of the request's canonical form"),
    Column("duplicate_of", "text", "row_id of the identical request that was sent instead"),
    Column("prompt_name", "word", "name of the prompt, where several were asked"),
    Column("model", "word", "model that was asked for"),
    Column("model_answered", "word", "model that answered, as the API says"),
    Column("prompt", "text", "prompt as sent"),
    Column("system_prompt", "text", "system prompt as sent"),
    Column("video_urls", "texts", "videos, in order"),
    Column("outcome", "word", "completed, failed, refused, expired, unknown or cancelled"),
    Column("content", "text", "the answer's text"),
    Column("reasoning", "text", "reasoning, where the API returned it"),
    Column("finish_reason", "word", "why the model stopped"),
    Column("answer", "answer", "the answer as its schema has it"),
    Column("answer_status", "word", "ok, truncated, refused, empty, or, with a schema, invalid"),
    Column("answer_error", "text", "where and why an answer is not ok"),
    Column("prompt_tokens", "int", f"tokens of the question, video included, {_KEPT}"),
    Column("completion_tokens", "int", f"tokens of the answer, reasoning included, {_KEPT}"),
    Column("total_tokens", "int", f"as the API says, {_KEPT}"),
    Column("reasoning_tokens", "int", f"as the API says, {_KEPT}"),
    Column("cached_tokens", "int", f"as the API says, {_KEPT}"),
    Column("audio_tokens", "int", f"as the API says, {_KEPT}"),
    Column("video_tokens", "int", f"as the API says, {_KEPT}"),
    Column("usage", "text", "the API's usage object, raw JSON"),
    Column("credits", "float", f"credits of the generation, as the API says, {_KEPT}"),
    Column("cost", "float", f"the API's own cost, else tokens at the configured price, {_KEPT}"),
    Column("error_code", "word", "machine word of what went wrong"),
    Column("error_type", "word", "the API's error type"),
    Column("error_message", "text", "what went wrong, in words"),
    Column("http_status", "int", "status of the answer that told it"),
    Column("generation_id", "text", "the API's id of the kept answer"),
    Column("attempts", "int", "POSTs that were or may have been billed"),
    Column("polls", "int", "polls of the kept answer; null for one that came late; other attempts do not count"),
    Column("possible_duplicate", "bool", "another POST of this row may have been billed as well"),
    Column("attempt_log", "attempts", "every POST that was or may have been billed"),
    Column("submitted_at", "time", "when the kept generation was accepted"),
    Column("finished_at", "time", "when its end was seen"),
    Column("collected_at", "time", "when the writer took it"),
    Column("latency_s", "float", "finished_at - submitted_at, in seconds"),
    Column("response", "text", "the raw ChatCompletion, JSON"),
)

NAMES = frozenset(column.name for column in ANNOTATION)


PARTITION = "run"
"""Readers take this column from the folders' names."""


def carried_names(carried: Iterable[str]) -> dict[str, str]:
    """The dataset's name for each of the manifest's other columns: a clash gets the prefix `manifest_`.

    Names clash whatever their case, since SQL engines tell no case.
    """
    taken = {*NAMES, PARTITION}
    names: dict[str, str] = {}
    for own in carried:
        name = own
        while name.casefold() in taken:
            name = f"manifest_{name}"
        taken.add(name.casefold())
        names[own] = name
    return names
