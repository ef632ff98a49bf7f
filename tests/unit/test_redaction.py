"""No secret is told, however it comes: by value, by shape, in parts, in bytes, in what others raise."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.redaction import HIDDEN, SHORTEST, Redaction

KEY = "sk-live/0123+456=789"
PASSWORD = 'p"a\\s@s w/ö:rd'
KNOWING = Redaction().knowing([KEY, PASSWORD])


@pytest.mark.parametrize(
    "text",
    [
        "redis://default:hunter2hunter2@host:6379/0 is away",
        "rediss://:hunter2hunter2@host",
        "https://me:hunter2@hunter2hunter2@host/x",  # a password that was not quoted
        "{'Authorization': 'Bearer hunter2hunter2'}",
        "[(b'Authorization', b'Bearer hunter2hunter2')]",
        "authorization: Basic hunter2hunter2",
        "Authorization: hunter2hunter2",
        '{"api_key": "hunter2hunter2"}',
        "x-api-key=hunter2hunter2&x=1",
        "sk-hunter2hunter2",
        "sk-proj-hunter2hunter2_x",
        "GET /o?X-Amz-Signature=hunter2hunter2&X-Amz-Date=1",
        "GET /o?x-amz-credential=hunter2hunter2%2F20260101",
        "GET /o?X-Amz-Security-Token%3Dhunter2hunter2",
        "GET /o?X-Goog-Algorithm=x&X-Goog-Signature=hunter2hunter2&x=1",
        "https://films.blob.example/1.mp4?sv=2025&sig=hunter2hunter2%3D",
        "/1.mp4?Expires=1\\u0026Signature=hunter2hunter2",
        "whsec_hunter2hunter2/AbC+=",
        "AKIAHUNTER2HUNTER2AB",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text):
    shown = Redaction().text(text)
    assert "hunter2" not in shown.lower()
    assert HIDDEN in shown


@pytest.mark.parametrize(
    "text",
    [
        "redis://host:6379/0 is away",
        "task-llmrouter-0123456789abcdef",
        "12:30:01 row 5: waits; tokens=500",
        "https://example.org/v/1.mp4?x=1 at 12:00, me@example.org",
        "no worker holds this run's API key: start one with the same VIDBATCH_API_KEY",
    ],
)
def test_other_text_is_left_as_it_is(text):
    assert Redaction().text(text) == text


@pytest.mark.parametrize("secret", [KEY, PASSWORD])
def test_a_known_secret_is_hidden_in_every_spelling(secret):
    import json
    from urllib.parse import quote, quote_plus

    written = (quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret), repr(secret))
    for spelling in (secret, *(word.removeprefix("'").removesuffix("'") for word in written)):
        assert KNOWING.text(f"a {spelling} b").strip('a"b ') == HIDDEN


def test_values_are_hidden_at_any_depth_in_keys_and_in_bytes():
    deep = {"a": [{"b": (KEY.encode(), {KEY: {KEY}})}], KEY: 1, "n": 2**70, "password": "short"}
    for _ in range(10):
        deep = {"more": deep}
    shown = KNOWING.value(deep)
    assert KEY not in repr(shown)
    assert "short" not in repr(KNOWING.value({"password": "short", "x": {"API-Key": b"short"}}))


def test_what_can_not_be_shown_ends_nothing():
    class Bad:
        def __str__(self):
            raise RuntimeError(KEY)

    assert "can't be shown" in KNOWING.value({"x": Bad()})["x"]


def test_a_redaction_does_not_tell_what_it_knows():
    assert KEY not in repr(KNOWING)


def test_values_that_are_too_short_to_be_secrets_riddle_nothing():
    assert Redaction().knowing(["a", "1" * (SHORTEST - 1)]).text("banana 111") == "banana 111"


PATIENT = settings(suppress_health_check=[HealthCheck.too_slow])
SECRETS = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=8, max_size=40).filter(
    lambda secret: not set("[]") & set(secret) and "hidden" not in secret
)
TEXTS = st.text(max_size=60)


@PATIENT
@given(SECRETS, TEXTS, TEXTS)
def test_whatever_stands_around_it_no_known_secret_is_told(secret, before, after):
    assert secret not in Redaction().knowing([secret]).text(f"{before}{secret}{after}")


@PATIENT
@given(
    SECRETS,
    st.recursive(
        st.one_of(TEXTS, st.integers(), st.floats(), st.booleans(), st.none(), st.binary(max_size=20)),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=8,
    ),
)
def test_whatever_value_holds_it_no_known_secret_is_told(secret, value):
    held = {"value": value, secret: [secret.encode(), {"x": f"{secret}{secret}"}]}
    shown = Redaction().knowing([secret]).value(held)
    assert not any(secret in text for text in _texts(shown) if text not in _texts(value))


def _texts(value):
    if isinstance(value, dict):
        return [text for item in value.items() for one in item for text in _texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) else []
