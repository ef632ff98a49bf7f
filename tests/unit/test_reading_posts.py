"""What a POST is answered with in the modes in which that is more than an id."""

import orjson
import pytest

from pipeline.core.answers import (
    Accepted,
    AccountRefused,
    Ambiguous,
    Answered,
    Failed,
    NotNow,
    Refused,
    Throttled,
)
from pipeline.core.policy import ASYNC, STREAM, SYNC, SYNC_STREAM
from pipeline.core.reading import read_submit
from pipeline.core.reading_posts import stream_path, success_in

BASE = "https://api.example/eu"
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "choices": [{"message": {"content": "A dog."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9},
}
TASK = {"id": "task-1", "object": "llm.generation.task", "status": "pending", "error": None, "results": None}


def submitted(mode, status, body=b""):
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return read_submit(status, {}, raw, now=0, longest_retry_after=300, success=success_in(mode, BASE))


@pytest.mark.parametrize("mode", [SYNC, SYNC_STREAM])
@pytest.mark.parametrize(
    "answer", [ANSWER, {k: v for k, v in ANSWER.items() if k != "object"}, ANSWER | {"error": None}]
)
def test_a_bare_answer_is_the_end(mode, answer):
    found = submitted(mode, 200, answer)
    assert isinstance(found, Answered)
    assert (found.answer_id, found.completion.content, found.completion.prompt_tokens) == ("chatcmpl-1", "A dog.", 9)


def test_a_task_with_results_is_the_end_too():
    task = TASK | {"status": "completed", "results": [ANSWER], "usage": {"credits": 3}}
    found = submitted(SYNC, 200, task)
    assert isinstance(found, Answered)
    assert (found.answer_id, found.completion.content, found.completion.credits) == ("task-1", "A dog.", 3.0)


@pytest.mark.parametrize("status", ["pending", "processing", "queued"])
def test_a_task_that_goes_on_is_polled(status):
    assert submitted(SYNC, 200, TASK | {"status": status}) == Accepted("task-1")


def test_a_task_whose_results_are_not_there_yet_is_polled():
    assert submitted(SYNC, 200, TASK | {"status": "completed"}) == Accepted("task-1")


@pytest.mark.parametrize(
    ("body", "code", "retryable"),
    [
        (TASK | {"status": "failed", "error": {"code": "timeout", "message": "m"}}, "timeout", True),
        (TASK | {"status": "failed", "error": {"code": "content_policy_violation"}}, "content_policy_violation", False),
        (TASK | {"status": "cancelled"}, "cancelled", False),
        ({"error": {"code": "timeout", "message": "m", "type": "task_error"}}, "timeout", True),
        ({"error": {"message": "m", "type": "task_error"}}, "generation_failed", True),
        ({"error": {"message": "m", "type": "invalid_request_error"}}, "invalid_request_error", False),
        ({"error": "content_policy_violation: no"}, "content_policy_violation", False),
        ({"error": "words"}, "generation_failed", True),
    ],
)
def test_a_generation_that_failed_on_its_post(body, code, retryable):
    found = submitted(SYNC, 200, body)
    assert isinstance(found, Failed)
    assert (found.problem.code, found.retryable) == (code, retryable)
    assert found.problem.message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        {},
        {"id": "x"},
        ANSWER | {"choices": [{}]},
        {"status": "processing"},
        {"status": "completed", "results": [None]},
    ],
)
def test_what_is_neither_may_have_been_billed(body):
    found = submitted(SYNC, 200, body)
    assert isinstance(found, Ambiguous)
    assert found.problem.code == "bad_answer"


def test_an_answer_without_choices_was_paid_for_and_is_not_asked_again():
    found = submitted(SYNC, 200, ANSWER | {"choices": []})
    assert found == Failed(found.problem, retryable=False)
    assert found.problem.code == "no_choices"


@pytest.mark.parametrize("mode", [SYNC, STREAM, SYNC_STREAM])
@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {}, Refused),
        (401, {}, AccountRefused),
        (402, {}, AccountRefused),
        (422, {"type": "service_unavailable_error"}, NotNow),
        (429, {}, Throttled),
        (500, {"code": "timeout"}, Ambiguous),
        (504, {}, Ambiguous),
    ],
)
def test_other_statuses_mean_what_they_mean_in_every_mode(mode, status, error, kind):
    assert isinstance(submitted(mode, status, {"error": error}), kind)


def opened(url):
    return submitted(STREAM, 200, TASK | {"stream": {"url": url}})


@pytest.mark.parametrize(
    "url",
    [
        "/v1/llm/generations/task-1/stream",
        "/eu/v1/llm/generations/task-1/stream",
        "https://api.example/v1/llm/generations/task-1/stream",
        "https://elsewhere.example/s/1",
        "http://api.example/s/1",
        "https://api.example:8443/s/1",
        "https://u:p@api.example/s/1",
        "//elsewhere.example/s/1",
        "/\\elsewhere.example/s",
        "/s/1?signature=secret",
        "/s/1#part",
        "/s/../../admin",
        "/s/%2e%2e/admin",
        "s/1",
        "javascript:alert(1)",
        "https://[::",
        "/s\n1",
        "/" + "s" * 1_000,
        None,
        7,
        {"url": "/s/1"},
    ],
)
def test_the_usual_stream_and_what_is_no_path_of_this_host_are_not_told(url):
    assert opened(url) == Accepted("task-1")


@pytest.mark.parametrize("url", ["/s/1", "https://api.example/s/1", "HTTPS://API.EXAMPLE:443/s/1"])
def test_another_path_of_the_same_host_is(url):
    assert opened(url) == Accepted("task-1", "/s/1")


def test_a_stream_that_nobody_asked_for_is_not_followed():
    assert submitted(ASYNC, 200, TASK | {"stream": {"url": "/s/1"}}) == Accepted("task-1")
    assert submitted(STREAM, 200, TASK | {"stream": None}) == Accepted("task-1")
    assert submitted(STREAM, 200, TASK | {"stream": "/s/1"}) == Accepted("task-1")


def test_an_id_with_strange_characters_has_its_usual_stream():
    assert stream_path("/v1/llm/generations/a%2Fb/stream", BASE, "a/b") == ""
