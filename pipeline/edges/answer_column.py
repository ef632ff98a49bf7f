"""The column `answer` in Arrow: its type by the shape of the answers, and its cells."""

from typing import Any

import pyarrow as pa

from pipeline.core.shapes import Shape, words_in

NAME = "answer"
_WORDS = "vidbatch.answer_words"
_KINDS = {
    "text": pa.string(),
    "word": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "json": pa.string(),
}


def answer_type(shape: Shape | None) -> pa.DataType:
    """The type of answers of a shape; text, which stays null, where there is none."""
    if shape is None:
        return pa.string()
    if isinstance(shape, str):
        return _KINDS[shape]
    if "list" in shape:
        return pa.list_(answer_type(shape["list"]))
    return pa.struct([(name, answer_type(held)) for name, held in shape["struct"].items()])


def word_columns(schema: Any) -> list[str]:  # noqa: ANN401 - pyarrow has no types
    """Where a schema with `shape_metadata` has words in its answers, as Parquet names such columns."""
    told = (schema.metadata or {}).get(_WORDS.encode(), b"")
    return told.decode().split("\n") if told else []


def shape_metadata(shape: Shape | None) -> dict[str, str]:
    """What a file of answers tells of their shape besides its types."""
    return {} if shape is None else {_WORDS: "\n".join(words_in(shape, NAME))}
