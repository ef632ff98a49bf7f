"""What a prompt says of the schema that its answer has to fit."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

_WORDS = """Answer with one JSON value that is valid against the JSON Schema below, and with nothing else: no \
introduction, no explanation, no code fence. Use the property names exactly as they are written there. Where the video \
does not tell a value, use null if the schema allows it.

JSON Schema:
"""


def instruction_of(schema: Mapping[str, Any]) -> str:
    """The words for a model, with the schema as it was written, but for its white space."""
    return _WORDS + orjson.dumps(schema).decode()


@lru_cache(maxsize=4)
def instructed(prompt: str, instruction: str) -> str:
    """A prompt with an instruction after it; like prompts become one object, since a plan holds thousands of them."""
    return f"{prompt}\n\n{instruction}"
