"""Replies of every kind, and what they are read as."""

from email.utils import formatdate

import orjson
import pytest

from pipeline.core.answers import (
    Accepted,
    AccountRefused,
    Ambiguous,
    Completed,
    Failed,
    Missing,
    NotNow,
    Problem,
    Refused,
    Running,
    Throttled,
    Trouble,
)
from pipeline.core.reading import RETRYABLE_FAILURES, read_query, read_retry_after, read_submit

NOW = 1_776_874_565.0
TASK = {"id": "task-llmrouter-1776874565-yq3szvcu", "object": "llm.generation.task", "status": "pending"}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1776874570,
    "model": "gemini-2.5-pro-002",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "A dog runs.", "reasoning_content": "I see fur."},
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 8700,
        "completion_tokens": 120,
        "total_tokens": 8820,
        "cost": 0.0121,
        "prompt_tokens_details": {"cached_tokens": 1, "audio_tokens": 960, "video_tokens": 7740},
        "completion_tokens_details": {"reasoning_tokens": 90},
    },
}


def submitted(status, body=b"", headers=None):
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return read_submit(status, headers or {}, raw, now=NOW, longest_retry_after=300)


def queried(status, body=b"", headers=None):
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return read_query(status, headers or {}, raw, now=NOW, longest_retry_after=300)


def completed(**changes):
    task = TASK | {"status": "completed", "progress": 100, "results": [ANSWER | changes]}
    answer = queried(200, task)
    assert isinstance(answer, Completed)
    return answer.completion


def error(kind=None, code=None, message="No."):
    return {"error": {"message": message, "type": kind} | ({} if code is None else {"code": code})}


def test_an_accepted_submission_gives_its_generation_id():
    assert submitted(200, TASK) == Accepted("task-llmrouter-1776874565-yq3szvcu")
    assert submitted(201, TASK) == Accepted("task-llmrouter-1776874565-yq3szvcu")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Welcome</html>",
        b'{"id":"task-1","obj',
        b"[]",
        b"null",
        b'{"id":null}',
        b'{"id":7}',
        b'{"id":""}',
        b'{"id":".."}',
        b'{"id":"a\\nb"}',
        orjson.dumps({"id": "x" * 513}),
        b'{"error":{"message":"odd"}}',
        orjson.dumps(ANSWER),
    ],
)
def test_a_success_without_a_generation_id_is_ambiguous(body):
    answer = submitted(200, body)
    assert isinstance(answer, Ambiguous)
    assert answer.problem.code == "bad_answer"
    assert answer.problem.http_status == 200


@pytest.mark.parametrize("body", [b'\xef\xbb\xbf{"id":"task-1"}', b'{"id":"task-1","note":"\xff\\ud83d","x":NaN}'])
def test_an_id_that_was_paid_for_is_found_in_sloppy_json(body):
    assert submitted(200, body) == Accepted("task-1")


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (301, None, Refused),
        (307, None, Refused),
        (308, None, Refused),
        (400, "invalid_request_error", Refused),
        (403, None, Refused),
        (404, "not_found", Refused),
        (405, None, Refused),
        (413, None, Refused),
        (422, "invalid_request_error", Refused),
        (422, None, Refused),
        (422, "service_unavailable_error", NotNow),
        (429, "rate_limit_error", Throttled),
        (302, None, Ambiguous),
        (303, None, Ambiguous),
        (304, None, Ambiguous),
        (408, None, Ambiguous),
        (409, None, Ambiguous),
        (499, None, Ambiguous),
        (500, "server_error", Ambiguous),
        (502, None, Ambiguous),
        (503, "server_error", Ambiguous),
        (504, None, Ambiguous),
        (521, None, Ambiguous),
        (100, None, Ambiguous),
        (999, None, Ambiguous),
    ],
)
def test_each_status_of_a_submission_is_read_as_the_contract_says(status, kind, expected):
    assert type(submitted(status, error(kind))) is expected
    if kind is None:
        assert type(submitted(status, b"<html><h1>Proxy</h1></html>")) is expected


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (301, None, Trouble),
        (400, "invalid_request_error", Failed),
        (402, "insufficient_quota", Trouble),
        (403, None, Trouble),
        (404, "not_found", Missing),
        (422, "invalid_request_error", Failed),
        (422, "service_unavailable_error", Trouble),
        (429, "rate_limit_error", Throttled),
        (500, "server_error", Trouble),
        (502, None, Trouble),
        (418, None, Trouble),
    ],
)
def test_each_status_of_a_query_is_read_as_the_contract_says(status, kind, expected):
    assert type(queried(status, error(kind))) is expected


@pytest.mark.parametrize("read", [submitted, queried])
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_blames_no_row_and_stops_polling_too(read, status):
    answer = read(status, error("authentication_error", message="Bad key."))
    assert answer == AccountRefused(
        Problem("authentication_error", "Bad key.", "authentication_error", status), polling_works=False
    )


def test_an_empty_balance_stops_submitting_only():
    answer = submitted(402, error("insufficient_quota"))
    assert isinstance(answer, AccountRefused)
    assert answer.polling_works


def test_a_redirect_names_the_host_that_it_points_to_and_nothing_more_of_it():
    answer = submitted(307, b"", {"location": "https://user:pw@new.example:8443/path?token=t"})
    assert answer == Refused(
        Problem("http_307", "The server redirects to new.example:8443; redirects are not followed.", None, 307)
    )
    assert "another path" in submitted(308, b"", {"location": "/v2"}).problem.message
    assert "another path" in submitted(308, b"", {"location": "http://[::"}).problem.message


def test_the_code_is_the_most_precise_word_that_the_api_gave():
    assert submitted(422, error("invalid_request_error", "invalid_param")).problem.code == "invalid_param"
    assert submitted(400, error("invalid_request_error")).problem.code == "invalid_request_error"
    assert submitted(413, b"<html>").problem.code == "http_413"
    assert submitted(400, {"error": {"code": 1002}}).problem.code == "1002"


def test_a_message_is_found_where_services_put_it_and_is_cut():
    assert submitted(400, {"error": "plain"}).problem.message == "plain"
    assert submitted(400, {"message": "outer"}).problem.message == "outer"
    assert submitted(502, b"<html>\n  <b>Bad</b>\n</html>").problem.message == "<html> <b>Bad</b> </html>"
    assert submitted(502).problem.message == "The answer has no body."
    for body in (error(message="m" * 5000), b"m" * 50_000, {"error": {"type": "t"}, "fill": "x" * 9000}):
        assert len(submitted(400, body).problem.message) == 2000
    assert len(submitted(200, b"m" * 50_000).problem.message) == 2000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        (" 1.5 ", 1.5),
        ("0", 0),
        ("900", 300),
        ("86400", 300),
        ("86401", None),
        ("1700000000", None),
        ("9" * 400, None),
        ("inf", None),
        (formatdate(NOW + 90_000, usegmt=True), None),
        (formatdate(NOW + 42, usegmt=True), 42),
        (formatdate(NOW - 42, usegmt=True), 0),
        (formatdate(NOW + 9999, usegmt=True), 300),
        ("-3", None),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Mon, 99 Foo 0000 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_obeyed_up_to_the_ceiling_unless_it_is_absurd(text, seconds):
    assert read_retry_after({"retry-after": text}, now=NOW, longest=300) == seconds
    assert submitted(429, b"", {"retry-after": text}).retry_after == seconds
    assert submitted(422, error("service_unavailable_error"), {"retry-after": text}).retry_after == seconds
    assert queried(429, b"", {"retry-after": text}).retry_after == seconds


def test_without_retry_after_nothing_is_invented():
    assert submitted(429).retry_after is None


@pytest.mark.parametrize("word", ["pending", "processing", "queued", "Completed", ""])
def test_any_status_word_that_is_no_end_is_running(word):
    assert queried(200, TASK | {"status": word}) == Running(word)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"id":"t"}', b'{"status":3}', orjson.dumps(ANSWER)])
def test_a_success_that_is_no_generation_tells_nothing(body):
    answer = queried(200, body)
    assert isinstance(answer, Trouble)
    assert answer.problem.code == "bad_answer"


@pytest.mark.parametrize("results", [None, [], {}, "x", [None], ["text"], [[]]])
def test_completed_without_results_is_asked_again(results):
    answer = queried(200, TASK | {"status": "completed", "results": results})
    assert isinstance(answer, Trouble)
    assert answer.problem.code == "no_results"


@pytest.mark.parametrize("code", sorted(RETRYABLE_FAILURES))
def test_a_failure_that_may_pass_is_retryable(code):
    answer = queried(200, TASK | {"status": "failed", "error": {"code": code, "message": "m", "type": "task_error"}})
    assert answer == Failed(Problem(code, "m", "task_error", 200), retryable=True)


@pytest.mark.parametrize("code", ["content_policy_violation", "insufficient_quota", "invalid_param", "never_seen"])
def test_a_failure_of_another_code_is_final(code):
    answer = queried(200, TASK | {"status": "failed", "error": {"code": code, "message": "m", "type": "task_error"}})
    assert isinstance(answer, Failed)
    assert not answer.retryable


@pytest.mark.parametrize("told", [None, "text", [], {}, {"code": None, "message": 3}])
def test_a_failure_without_a_reason_is_still_a_failure(told):
    answer = queried(200, TASK | {"status": "failed", "error": told})
    assert isinstance(answer, Failed)
    assert answer.problem.code == "failed"
    assert answer.problem.message


def test_a_cancelled_generation_is_an_end():
    answer = queried(200, TASK | {"status": "cancelled"})
    assert isinstance(answer, Failed)
    assert (answer.problem.code, answer.retryable) == ("cancelled", False)


def test_a_completion_is_read_whole():
    found = completed()
    assert (found.content, found.reasoning, found.finish_reason) == ("A dog runs.", "I see fur.", "stop")
    assert found.model_answered == "gemini-2.5-pro-002"
    assert (found.prompt_tokens, found.completion_tokens, found.total_tokens) == (8700, 120, 8820)
    assert (found.reasoning_tokens, found.cached_tokens, found.audio_tokens, found.video_tokens) == (90, 1, 960, 7740)
    assert found.cost == 0.0121
    assert found.credits is None
    assert orjson.loads(found.response) == ANSWER
    assert orjson.loads(found.usage) == ANSWER["usage"]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"credits_reserved": 12, "user_group": "default"}, 12.0),
        ({"credits": 9.5, "credits_reserved": 12}, 9.5),
        ({"credits": "many"}, None),
        ({"credits": True}, None),
        (None, None),
        ([], None),
    ],
)
def test_credits_come_from_the_task_and_not_from_the_answer(usage, expected):
    answer = queried(200, TASK | {"status": "completed", "results": [ANSWER], "usage": usage})
    assert answer.completion.credits == expected


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", ""),
        (None, None),
        ([{"type": "text", "text": "A "}, {"type": "image"}, {"type": "text", "text": "dog"}, "!"], "A dog!"),
        ([], ""),
        (7, None),
    ],
)
def test_content_may_be_text_nothing_or_parts(content, text):
    assert completed(choices=[{"message": {"content": content}, "finish_reason": "length"}]).content == text


def test_reasoning_is_found_under_either_name():
    assert completed(choices=[{"message": {"reasoning": "Hm."}}]).reasoning == "Hm."
    assert completed(choices=[{"message": {"content": "x"}}]).reasoning is None


@pytest.mark.parametrize("count", ["12", 12.0, -1, None, True, [], 2**63])
def test_a_count_that_is_not_a_count_is_unknown(count):
    found = completed(usage={"prompt_tokens": count, "completion_tokens": 5, "prompt_tokens_details": None})
    assert (found.prompt_tokens, found.completion_tokens, found.cached_tokens) == (None, 5, None)


@pytest.mark.parametrize("cost", ["0.1", -1, None, True])
def test_a_cost_that_is_not_an_amount_is_unknown(cost):
    assert completed(usage={"cost": cost}).cost is None
    assert completed(usage={"cost": 2}).cost == 2.0


def test_an_answer_of_an_odd_shape_keeps_its_raw_text():
    for changes in ({"choices": None}, {"choices": []}, {"choices": [None]}, {"choices": [{"message": "m"}]}):
        found = completed(**changes)
        assert found.content is None
        assert orjson.loads(found.response)["id"] == "chatcmpl-1"
    assert completed(usage=None).usage is None
    assert completed(usage="free").usage == '"free"'


def test_half_an_emoji_does_not_cost_the_answer():
    body = orjson.dumps(TASK | {"status": "completed", "results": [ANSWER]}).replace(b"A dog runs.", rb"dog \ud83d")
    assert queried(200, body).completion.content == "dog ?"


def test_an_answer_nested_too_deep_to_write_again_is_still_an_answer():
    deep = b'{"status":"completed","results":[{"choices":[],"x":' + b"[" * 300 + b"]" * 300 + b"}]}"
    answer = queried(200, deep)
    assert isinstance(answer, Completed)
    assert answer.completion.response is None
