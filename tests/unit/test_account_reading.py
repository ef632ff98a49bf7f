"""What an API says of its models and of a balance whose form nobody knows."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.account_reading import Told, lacking, read_balance, read_models


def models(document, status=200):
    return read_models(status, {}, orjson.dumps(document))


def balance(document, status=200):
    return read_balance(status, {}, orjson.dumps(document))


@pytest.mark.parametrize(
    "document",
    [
        {"object": "list", "data": [{"id": "a", "capabilities": ["video"]}, {"id": "b"}]},
        {"data": [{"id": "models/a"}, {"id": "models/b"}]},
        ["a", "b"],
    ],
)
def test_every_form_of_a_list_of_models_is_read(document):
    assert models(document) == Told(("a", "b"))


def test_what_is_no_list_of_models_says_so():
    assert models({"data": 7}).trouble == "the answer is no list of models"
    assert read_models(200, {}, b"<html>").value is None


@pytest.mark.parametrize(
    ("document", "amount"),
    [
        ({"credits": 12.5, "used": 3}, 12.5),
        ({"data": {"credits": 12.5}}, 12.5),
        ({"data": {"balance": "12.50"}}, 12.5),
        ({"credits": {"remaining": 7}}, 7.0),
        ({"data": {"credits": {"available": 7}}}, 7.0),
        ({"balance": -1}, -1.0),
        (99, 99.0),
    ],
)
def test_a_balance_is_found_under_the_names_that_it_may_have(document, amount):
    assert balance(document) == Told(amount)


@pytest.mark.parametrize(
    "document", [{}, {"used": 3}, {"credits": None}, {"credits": True}, {"credits": "nan"}, [], "x"]
)
def test_what_is_no_balance_is_no_balance(document):
    assert balance(document).trouble == "the answer names no balance that is known"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_told_apart(status):
    assert balance({"error": {"message": "No."}}, status) == Told(trouble=f"HTTP {status}: No.", refused=True)
    assert models({"error": {"message": "No."}}, 404) == Told(trouble="HTTP 404: No.")


def test_a_model_is_lacking_where_the_list_has_others():
    assert lacking({"a": 1, "B": 1, "c": 1}, ("A", "b")) == ["c"]
    assert lacking({"c": 1}, ()) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["data", "id", "credits", "balance", "error"]), inner)
    ),
    max_leaves=12,
)


@given(
    status=st.sampled_from([200, 401, 404, 500]), body=JSON.map(lambda value: json.dumps(value).encode()) | st.binary()
)
def test_no_body_raises(status, body):
    assert isinstance(read_balance(status, {}, body), Told)
    assert isinstance(read_models(status, {}, body), Told)
