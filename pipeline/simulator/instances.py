"""JSON values that fit a JSON Schema, drawn from a seed: what a model answers that was asked for one.

Written from the standard and not from the client's own reading of it, so that the two can disagree. Patterns and
formats are not kept to.
"""

import random
from collections.abc import Mapping
from functools import lru_cache
from json import JSONDecodeError, JSONDecoder
from typing import Any

_SIGNS = frozenset(("type", "properties", "$ref", "$defs", "anyOf", "oneOf", "allOf", "enum", "const", "items"))
_LOOKS = 50
_DEEPEST = 8
_WORDS = ("river", "street", "crowd", "night", "goal", "engine", "snow", "market", "harbour", "stage", "desk", "field")
_OPTIONAL = 0.75
_NULL = 0.25


@lru_cache(maxsize=64)
def schema_in(prompt: str) -> tuple[Mapping[str, Any], int] | None:
    """The first JSON object in a prompt that looks like a schema, and where it ends; nothing in most prompts."""
    decoder, at = JSONDecoder(), prompt.find("{")
    for _ in range(_LOOKS):
        if at < 0:
            return None
        try:
            found, end = decoder.raw_decode(prompt, at)
        except (JSONDecodeError, RecursionError):
            end = at + 1
        else:
            if found.keys() & _SIGNS:
                return found, end
        at = prompt.find("{", end)
    return None


def instance(schema: Mapping[str, Any], digest: str) -> Any:  # noqa: ANN401 - what JSON holds
    """A value of a schema, the same for the same digest; text that is named `digest` is the digest."""
    return _Writer(schema, random.Random(digest), digest).value(schema, "", 0)


class _Writer:
    def __init__(self, root: Mapping[str, Any], rng: random.Random, digest: str) -> None:
        self._root = root
        self._rng = rng
        self._digest = digest

    def value(self, node: Any, name: str, depth: int) -> Any:  # noqa: ANN401
        """A value of a part of the schema, which is a property of this name."""
        node = self._resolved(node)
        if "const" in node:
            return node["const"]
        if "enum" in node:
            return self._rng.choice(node["enum"])
        for several in ("anyOf", "oneOf"):
            if several in node and "type" not in node:
                return self._one_of(node[several], name, depth)
        return self._typed(node, name, depth)

    def _resolved(self, node: Any) -> Mapping[str, Any]:  # noqa: ANN401
        for _ in range(_LOOKS):
            if not isinstance(node, Mapping):
                return {}
            if "$ref" in node:
                node = self._pointed(str(node["$ref"]))
            elif len(node.get("allOf", ())) == 1 and "type" not in node:
                node = node["allOf"][0]
            else:
                return node
        return {}

    def _pointed(self, reference: str) -> Any:  # noqa: ANN401
        at: Any = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            at = at[step] if isinstance(at, Mapping) else at[int(step)]
        return at

    def _one_of(self, options: list[Any], name: str, depth: int) -> Any:  # noqa: ANN401
        null = [option for option in options if option == {"type": "null"}]
        rest = [option for option in options if option != {"type": "null"}]
        if null and (not rest or depth > _DEEPEST or self._rng.random() < _NULL):
            return None
        return self.value(self._rng.choice(rest), name, depth)

    def _typed(self, node: Mapping[str, Any], name: str, depth: int) -> Any:  # noqa: ANN401
        told = node.get("type", "object" if "properties" in node else "string")
        kinds = [told] if isinstance(told, str) else [*told]
        if "null" in kinds and (len(kinds) == 1 or depth > _DEEPEST or self._rng.random() < _NULL):
            return None
        match next(kind for kind in kinds if kind != "null"):
            case "object":
                return self._object(node, depth)
            case "array":
                return self._array(node, name, depth)
            case "integer":
                low, high = self._bounds(node, 0, 100)
                return self._rng.randint(int(low), int(high))
            case "number":
                low, high = self._bounds(node, 0.0, 60.0)
                return round(self._rng.uniform(low, high), 2)
            case "boolean":
                return self._rng.random() < 0.5  # noqa: PLR2004 - a coin
        return self._text(node, name)

    def _object(self, node: Mapping[str, Any], depth: int) -> dict[str, Any]:
        required = node.get("required", ())
        made: dict[str, Any] = {}
        for name, held in node.get("properties", {}).items():
            if name in required or (depth <= _DEEPEST and self._rng.random() < _OPTIONAL):
                made[name] = self.value(held, name, depth + 1)
        start, end = made.get("start"), made.get("end")
        if isinstance(start, int | float) and isinstance(end, int | float) and start > end:
            made |= {"start": end, "end": start}
        return made

    def _array(self, node: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        fewest = node.get("minItems", 0)
        most = fewest if depth > _DEEPEST else min(node.get("maxItems", max(3, fewest)), fewest + 3)
        return [self.value(node.get("items", {}), name, depth + 1) for _ in range(self._rng.randint(fewest, most))]

    def _bounds(self, node: Mapping[str, Any], low: float, high: float) -> tuple[float, float]:
        low = node.get("minimum", node.get("exclusiveMinimum", low - 1) + 1)
        return low, max(low, node.get("maximum", node.get("exclusiveMaximum", max(high, low + 1) + 1) - 1))

    def _text(self, node: Mapping[str, Any], name: str) -> str:
        if name == "digest":
            return self._digest
        text = " ".join(self._rng.choices(_WORDS, k=self._rng.randint(1, 4)))
        return text.ljust(node.get("minLength", 0), "x")[: node.get("maxLength", len(text) + 1000)]
