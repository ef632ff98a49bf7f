"""Whatever bytes come, reading returns a value."""

from typing import get_args

import orjson
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.answers import Accepted, Completed, QueryAnswer, SubmitAnswer
from pipeline.core.loose import LONGEST_MESSAGE
from pipeline.core.reading import read_query, read_submit

WORDS = st.sampled_from(["completed", "failed", "cancelled", "pending", "timeout", "service_unavailable_error"])
KEYS = st.sampled_from(
    [
        *("id", "object", "status", "results", "error", "code", "type", "message", "usage", "choices", "content"),
        *("prompt_tokens", "cost", "credits", "prompt_tokens_details", "cached_tokens", "reasoning", "text", "model"),
    ]
)
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20) | WORDS
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6))
ENDED = st.fixed_dictionaries({"status": WORDS, "results": st.lists(JSON, max_size=2), "error": JSON, "usage": JSON})
WHOLE = (JSON | ENDED).map(orjson.dumps)
CUT = st.tuples(WHOLE, st.integers(0, 200)).map(lambda pair: pair[0][: pair[1]])
BODIES = st.binary(max_size=300) | WHOLE | CUT
HEADERS = st.fixed_dictionaries({}, optional={"retry-after": st.text(max_size=30), "location": st.text(max_size=30)})
STATUSES = st.sampled_from([200, 202, 204, 301, 303, 307, 400, 401, 402, 403, 404, 413, 422, 429, 500, 503])


def well_formed(answer, longest):
    problem = getattr(answer, "problem", None)
    if problem is not None:
        assert problem.code
        assert problem.message
        assert len(problem.message) <= LONGEST_MESSAGE
        problem.message.encode()
    retry_after = getattr(answer, "retry_after", None)
    assert retry_after is None or 0 <= retry_after <= longest


@given(STATUSES | st.integers(0, 999), HEADERS, BODIES, st.floats(0, 4e9))
def test_any_reply_to_a_submission_is_read_as_something(status, headers, body, now):
    answer = read_submit(status, headers, body, now=now, longest_retry_after=300)
    assert isinstance(answer, get_args(SubmitAnswer))
    assert not isinstance(answer, Accepted) or 200 <= status < 300
    well_formed(answer, 300)


@given(STATUSES | st.integers(0, 999), HEADERS, BODIES, st.floats(0, 4e9))
def test_any_reply_to_a_query_is_read_as_something(status, headers, body, now):
    answer = read_query(status, headers, body, now=now, longest_retry_after=300)
    assert isinstance(answer, get_args(QueryAnswer))
    well_formed(answer, 300)


@given(JSON, JSON, JSON)
def test_counts_and_amounts_of_any_answer_are_usable(usage, task_usage, choices):
    task = {"status": "completed", "results": [{"usage": usage, "choices": choices}], "usage": task_usage}
    answer = read_query(200, {}, orjson.dumps(task), now=0, longest_retry_after=300)
    assert isinstance(answer, Completed)
    found = answer.completion
    for count in (found.prompt_tokens, found.completion_tokens, found.total_tokens, found.cached_tokens):
        assert count is None or (type(count) is int and 0 <= count < 2**63)
    for amount in (found.cost, found.credits):
        assert amount is None or (type(amount) is float and 0 <= amount < float("inf"))
    assert found.response is not None
    orjson.loads(found.response)
