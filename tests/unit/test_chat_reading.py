"""Replies of OpenAI-compatible servers, and what they are read as."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.answers import AccountRefused, Ambiguous, Answered, Failed, Refused, Throttled
from pipeline.core.chat_reading import read_chat

NOW = 1_776_874_565.0
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1776874570,
    "model": "qwen3-vl",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "A dog runs."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 8700, "completion_tokens": 120, "total_tokens": 8820},
}


def read(status, body=b"", headers=None):
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return read_chat(status, headers or {}, raw, now=NOW, longest_retry_after=300)


def test_an_answer_is_the_rows_answer():
    answer = read(200, ANSWER)
    assert isinstance(answer, Answered)
    assert answer.answer_id == "chatcmpl-1"
    assert (answer.completion.content, answer.completion.total_tokens) == ("A dog runs.", 8820)


def test_what_openrouter_says_that_it_cost_is_the_cost():
    answer = read(200, ANSWER | {"usage": {"prompt_tokens": 1, "completion_tokens": 2, "cost": 0.0121}})
    assert answer.completion.cost == 0.0121


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_what_a_model_thought_is_kept_under_either_name(field):
    message = {"role": "assistant", "content": "A dog.", field: "I see fur."}
    answer = read(200, ANSWER | {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    assert answer.completion.reasoning == "I see fur."


@pytest.mark.parametrize(
    ("code", "retryable"),
    [(502, True), (429, True), ("overloaded_error", True), (403, False), ("content_filter", False)],
)
def test_an_error_with_status_200_is_the_end_of_an_attempt(code, retryable):
    answer = read(200, {"error": {"code": code, "message": "Provider said no"}})
    assert isinstance(answer, Failed)
    assert (answer.problem.code, answer.problem.message) == (str(code), "Provider said no")
    assert answer.retryable is retryable


def test_an_error_inside_a_choice_is_the_end_of_an_attempt():
    answer = read(200, ANSWER | {"choices": [{"error": {"code": 502, "message": "cut"}, "finish_reason": "error"}]})
    assert isinstance(answer, Failed)
    assert answer.retryable


def test_an_answer_without_choices_is_no_answer_and_in_no_doubt():
    answer = read(200, ANSWER | {"choices": []})
    assert isinstance(answer, Failed)
    assert (answer.problem.code, answer.retryable) == ("no_choices", False)


@pytest.mark.parametrize(
    "body", [b"", b"<html>Hello</html>", b'{"id":"chatcmpl-1","cho', b"[]", b"{}", b'{"choices":7}']
)
def test_a_body_that_is_no_completion_may_have_been_billed(body):
    answer = read(200, body)
    assert isinstance(answer, Ambiguous)
    assert answer.problem.code == "bad_answer"


FORMS = {
    "openai": {"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": None}},
    "text": {"error": "No."},
    "fastapi": {"detail": "No."},
    "nested": {"detail": {"error": {"message": "No."}}},
    "google": [{"error": {"code": 400, "message": "No.", "status": "INVALID_ARGUMENT"}}],
    "vllm": {"object": "error", "message": "No.", "type": "BadRequestError", "code": 400},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_error_is_read(form):
    answer = read(400, FORMS[form])
    assert isinstance(answer, Refused)
    assert answer.problem.message == "No."


def test_a_list_of_what_does_not_fit_is_told_whole():
    answer = read(422, {"detail": [{"loc": ["body", "messages"], "msg": "Field required"}]})
    assert isinstance(answer, Refused)
    assert "Field required" in answer.problem.message


def test_a_word_says_more_than_the_status_again():
    assert read(400, FORMS["google"]).problem.code == "invalid_argument"


def test_a_wrong_key_blames_the_account():
    assert read(401, {"error": {"message": "Incorrect API key provided"}}) == AccountRefused(
        read(401, {"error": {"message": "Incorrect API key provided"}}).problem, polling_works=False
    )


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, [{"error": {"code": 400, "message": "Bad key", "details": [{"reason": "API_KEY_INVALID"}]}}]),
        (403, [{"error": {"code": 403, "message": "No.", "status": "PERMISSION_DENIED"}}]),
        (403, {"error": {"message": "No.", "type": "authentication_error"}}),
        (400, {"error": {"message": "No.", "code": "invalid_api_key"}}),
    ],
)
def test_other_statuses_may_blame_the_key_too(status, body):
    answer = read(status, body)
    assert isinstance(answer, AccountRefused)
    assert not answer.polling_works


def test_moderation_refuses_the_row_alone():
    flagged = {"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["violence"]}}}
    assert isinstance(read(403, flagged), Refused)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (402, {"error": {"code": 402, "message": "Insufficient credits"}}),
        (429, {"error": {"message": "quota", "type": "insufficient_quota", "code": "insufficient_quota"}}),
    ],
)
def test_an_empty_balance_pauses_and_blames_no_row(status, body):
    answer = read(status, body)
    assert isinstance(answer, AccountRefused)
    assert answer.polling_works


def test_any_other_429_is_a_limit():
    answer = read(429, {"error": {"message": "slow", "code": "rate_limit_exceeded"}}, {"retry-after": "7"})
    assert isinstance(answer, Throttled)
    assert answer.retry_after == 7


@pytest.mark.parametrize("status", [404, 405, 413, 415, 422, 301, 308])
def test_a_plain_refusal_is_the_rows_end(status):
    assert isinstance(read(status, {"error": {"message": "No."}}), Refused)


@pytest.mark.parametrize("status", [302, 408, 409, 499, 500, 502, 503, 504, 529])
def test_what_may_have_been_carried_out_may_have_been_billed(status):
    assert isinstance(read(status, {"error": {"message": "No."}}), Ambiguous)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "detail", "choices", "message", "code", "status", "details", "usage"]), inner
        )
    ),
    max_leaves=12,
)


@given(status=st.integers(100, 599), body=JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40))
def test_no_body_raises(status, body):
    assert read(status, body) is not None
