"""The shape of an answer: which columns hold what a JSON Schema allows.

A shape is plain JSON, so that files can keep it: the name of a kind, `{"list": shape}` or `{"struct": {name: shape}}`.
`word` is text of few values. What has no fixed shape (free maps, tuples, real unions, what contains itself) is `json`:
its text. Constraints are the validator's business, and every place may be null, so neither is part of a shape.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from pipeline.core.errors import SettingsError

Shape = str | Mapping[str, Any]
"""A kind of `KINDS`, or a mapping with the one key `list` or `struct`."""

KINDS = ("text", "word", "int", "float", "bool", "json")
DEEPEST = 32
MOST_PLACES = 2_000
"""Levels and places of a shape: what lies deeper is text, and a schema of more places makes no columns for people."""

_TYPES = {"string": "text", "integer": "int", "number": "float", "boolean": "bool", "null": "json"}
_SEVERAL = ("anyOf", "oneOf", "allOf")
_STRUCTURE = frozenset(
    ("type", "properties", "items", "prefixItems", "enum", "const", "$ref", "$dynamicRef", *_SEVERAL)
)
"""Keywords that say what a value is made of; all others only constrain or describe it."""


def shape_of(schema: Mapping[str, Any]) -> Shape:
    """The shape of what a valid JSON Schema allows. SettingsError for one with too many places."""
    return _Walk(schema).shape(schema, (), 0)


def same_columns(one: Shape | None, other: Shape | None) -> bool:
    """Whether two shapes are held by the same columns: the order of fields and what is a word make none of them."""
    return bool(_columns(one) == _columns(other))


def _columns(shape: Any) -> Any:  # noqa: ANN401 - a shape, or a part of one
    if isinstance(shape, Mapping):
        return {key: _columns(held) for key, held in shape.items()}
    return "text" if shape == "word" else shape


@dataclass(slots=True)
class _Walk:
    """One reading of a schema; `places` counts what it was made into."""

    root: Mapping[str, Any]
    places: int = field(default=0)

    def shape(self, node: object, seen: tuple[int, ...], depth: int) -> Shape:
        """The shape of a part of the schema; `seen` are the parts that it stands in by reference."""
        self.places += 1
        if self.places > MOST_PLACES:
            raise SettingsError(f"found a schema of more than {MOST_PLACES:,} places; columns are made of fewer")
        if not isinstance(node, Mapping) or depth > DEEPEST or (node is not self.root and "$id" in node):
            return "json"
        structure = _STRUCTURE & node.keys()
        if "$ref" in structure:
            return self._referred(node["$ref"], seen, depth) if structure == {"$ref"} else "json"
        for several in _SEVERAL:
            if structure == {several}:
                return self._one_of(node[several], seen, depth, several)
        if "$dynamicRef" in structure or not all(map(_only_conditions, (node.get(one, ()) for one in _SEVERAL))):
            return "json"
        return self._typed(node, seen, depth)

    def _referred(self, reference: object, seen: tuple[int, ...], depth: int) -> Shape:
        target = _resolved(self.root, str(reference))
        if target is None or id(target) in seen:
            return "json"
        return self.shape(target, (*seen, id(target)), depth + 1)

    def _one_of(self, options: Sequence[object], seen: tuple[int, ...], depth: int, keyword: str) -> Shape:
        """The shape that all options have; being null is none of them."""
        left = [option for option in options if not _is_null(option)]
        if not left or (keyword == "allOf" and len(options) > 1):
            return "json"
        shapes = [self.shape(option, seen, depth + 1) for option in left]
        if all(shape == shapes[0] for shape in shapes):
            return shapes[0]
        flat = {shape if isinstance(shape, str) else "" for shape in shapes}
        return "text" if flat == {"text", "word"} else "float" if flat == {"int", "float"} else "json"

    def _typed(self, node: Mapping[str, Any], seen: tuple[int, ...], depth: int) -> Shape:
        kind = _type_of(node)
        if kind == "object":
            return self._struct(node.get("properties", {}), (*seen, id(node)), depth)
        if kind == "array":
            items = node.get("items", True)
            tuple_like = "prefixItems" in node or items is False
            return "json" if tuple_like else {"list": self.shape(items, (*seen, id(node)), depth + 1)}
        if kind == "string" and ("enum" in node or "const" in node):
            return "word"
        return _TYPES.get(kind, "json")

    def _struct(self, properties: Mapping[str, Any], seen: tuple[int, ...], depth: int) -> Shape:
        names = [name.casefold() for name in properties]
        if not names or len({*names}) < len(names) or not all(name.isprintable() and name for name in names):
            return "json"  # SQL engines tell no case, and know no nameless field
        return {"struct": {name: self.shape(held, seen, depth + 1) for name, held in properties.items()}}


def _only_conditions(parts: object) -> bool:
    """Whether the parts of an anyOf, oneOf or allOf only constrain what stands beside them."""
    return isinstance(parts, Sequence) and all(isinstance(p, Mapping) and not _STRUCTURE & p.keys() for p in parts)


def _is_null(node: object) -> bool:
    if not isinstance(node, Mapping):
        return False
    listed = node.get("enum", [node.get("const", ...)])
    return node.get("type") in ("null", ["null"]) or all(value is None for value in listed)


def _type_of(node: Mapping[str, Any]) -> str:
    """The one JSON type that a part allows besides null; empty where there are several, or nothing tells it."""
    told = node.get("type")
    if told is not None:
        types = {told} if isinstance(told, str) else {*told}
    elif "enum" in node or "const" in node:
        types = {_json_type(value) for value in node.get("enum", [node.get("const")])}
    else:
        types = {"object"} if "properties" in node else {"array"} if "items" in node else set()
    types -= {"null"} if len(types) > 1 else set()
    return "number" if types == {"integer", "number"} else types.pop() if len(types) == 1 else ""


def _json_type(value: object) -> str:
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (Mapping, "object")):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "array"


def _resolved(root: Mapping[str, Any], reference: str) -> object | None:
    """The part of a schema that a reference within it names; nothing for one that leads elsewhere."""
    if not reference.startswith("#") or (len(reference) > 1 and reference[1] != "/"):
        return None
    at: Any = root
    for step in unquote(reference[1:]).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(at, Mapping) and name in at:
            at = at[name]
        elif isinstance(at, list) and name.isdecimal() and int(name) < len(at):
            at = at[int(name)]
        else:
            return None
    found: object = at
    return found


def words_in(shape: Shape, at: str = "") -> Iterator[str]:
    """Where words stand, as paths of Parquet below the column `at`."""
    if shape == "word":
        yield at
    elif isinstance(shape, Mapping):
        if "list" in shape:
            yield from words_in(shape["list"], f"{at}.list.element")
        else:
            for name, held in shape["struct"].items():
                yield from words_in(held, f"{at}.{name}")
