"""Which columns a JSON Schema makes."""

import orjson
import pytest

from pipeline.core.errors import SettingsError
from pipeline.core.shapes import same_columns, shape_of, words_in

TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "shape"),
    [
        (TEXT, "text"),
        ({"type": "integer"}, "int"),
        ({"type": "number"}, "float"),
        ({"type": ["integer", "number", "null"]}, "float"),
        ({"type": "boolean"}, "bool"),
        ({"type": ["string", "null"]}, "text"),
        ({"type": "string", "enum": ["a", "b"]}, "word"),
        ({"enum": ["a", None]}, "word"),
        ({"const": "a"}, "word"),
        ({"enum": [1, 2]}, "int"),
        ({"enum": [1, "a"]}, "json"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None, "title": "N"}, "int"),
        ({"oneOf": [{"const": "a", "title": "A"}, {"const": "b", "title": "B"}]}, "word"),
        ({"anyOf": [{"const": "a"}, TEXT]}, "text"),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}]}, "float"),
        ({"anyOf": [TEXT, {"type": "integer"}]}, "json"),
        ({"allOf": [TEXT]}, "text"),
        ({"allOf": [TEXT, {"type": "integer"}]}, "json"),
        ({"type": ["string", "integer"]}, "json"),
        ({"type": "null"}, "json"),
        ({}, "json"),
        ({"type": "array", "items": TEXT}, {"list": "text"}),
        ({"items": {"type": "number"}}, {"list": "float"}),
        ({"type": "array"}, {"list": "json"}),
        ({"type": "array", "prefixItems": [TEXT, {"type": "number"}]}, "json"),
        ({"type": "object"}, "json"),
        ({"type": "object", "properties": {}}, "json"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "json"),
        ({"type": "object", "properties": {"a": TEXT}}, {"struct": {"a": "text"}}),
        ({"properties": {"a": {"properties": {"b": TEXT}}}}, {"struct": {"a": {"struct": {"b": "text"}}}}),
        ({"type": "object", "properties": {"a": TEXT}, "anyOf": [{"required": ["a"]}]}, {"struct": {"a": "text"}}),
        ({"type": "object", "properties": {"a": TEXT, "A": TEXT}}, "json"),
        ({"type": "object", "properties": {"": TEXT}}, "json"),
    ],
)
def test_a_schema_has_the_shape_of_what_it_allows(schema, shape):
    assert shape_of(schema) == shape
    assert orjson.loads(orjson.dumps(shape_of(schema))) == shape


def test_references_within_the_schema_are_followed_and_others_are_text():
    schema = {
        "properties": {
            "one": {"$ref": "#/$defs/a~1b", "description": "as said there"},
            "two": {"anyOf": [{"$ref": "#/$defs/list"}, {"type": "null"}]},
            "anchor": {"$ref": "#there"},
            "beside": {"$ref": "#/$defs/list", "type": "array"},
        },
        "$defs": {"a/b": {"type": "integer"}, "list": {"type": "array", "items": {"$ref": "#/$defs/a~1b"}}},
    }
    assert shape_of(schema)["struct"] == {"one": "int", "two": {"list": "int"}, "anchor": "json", "beside": "json"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"value": TEXT, "children": {"type": "array", "items": {"$ref": "#"}}}},
        {
            "$ref": "#/$defs/node",
            "$defs": {
                "node": {
                    "properties": {"value": TEXT, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}
                }
            },
        },
    ],
)
def test_what_contains_itself_is_text_where_it_begins_again(schema):
    assert shape_of(schema) == {"struct": {"value": "text", "children": {"list": "json"}}}


def test_references_in_a_circle_are_text():
    assert shape_of({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}) == "json"


def test_a_few_definitions_that_stand_for_millions_of_places_are_refused():
    doubled = {f"d{n}": {"properties": {k: {"$ref": f"#/$defs/d{n + 1}"} for k in "ab"}} for n in range(30)}
    with pytest.raises(SettingsError, match="more than 2,000 places"):
        shape_of({"$ref": "#/$defs/d0", "$defs": {**doubled, "d30": TEXT}})


def test_what_lies_deep_is_text():
    schema = TEXT
    for _ in range(100):
        schema = {"type": "array", "items": schema}
    shape, depth = shape_of(schema), 0
    while isinstance(shape, dict):
        shape, depth = shape["list"], depth + 1
    assert (shape, depth) == ("json", 33)


def test_columns_are_the_same_whatever_the_order_of_fields_and_whichever_words_are_allowed():
    one = {"struct": {"a": "word", "b": {"list": "int"}}}
    assert same_columns(one, {"struct": {"b": {"list": "int"}, "a": "text"}})
    assert not same_columns(one, {"struct": {"a": "word", "b": {"list": "float"}}})
    assert not same_columns(one, {"struct": {"a": "word"}})
    assert not same_columns(None, "text")
    assert same_columns(None, None)


def test_words_are_found_wherever_they_stand():
    shape = {"struct": {"kind": "word", "events": {"list": {"struct": {"label": "word", "at": "float"}}}}}
    assert list(words_in(shape, "answer")) == ["answer.kind", "answer.events.list.element.label"]
