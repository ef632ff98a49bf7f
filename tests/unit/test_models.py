"""What is known of models: what is switched on for them, and what a plan warns of."""

import orjson
import pytest

from pipeline.cli.plan_models import account_lines, thinking_lines
from pipeline.core.account_reading import AccountTold, Told
from pipeline.core.models import TIGHT_CAP, Thinking, facts_of, switches_on
from pipeline.core.policy import MODES
from pipeline.core.requests import Request
from pipeline.core.wire import fox_body

PRO = "gemini-2.5-pro"


def body(model=PRO, **options):
    return Request(0, "a", 1, model, "?", ("https://v.example/a.mp4",), **options).body()


@pytest.mark.parametrize("mode", MODES)
def test_reasoning_is_switched_on_for_a_model_that_may_need_it(mode):
    sent = orjson.loads(fox_body(body(), mode))
    assert sent.pop("reasoning") is True
    assert sent.pop("sync", False) is mode.startswith("sync")
    assert sent.pop("stream", False) is mode.endswith("stream")
    assert sent == orjson.loads(body())


@pytest.mark.parametrize("reasoning", [True, False])
def test_a_row_that_says_something_has_its_way(reasoning):
    assert fox_body(body(reasoning=reasoning), "async") == body(reasoning=reasoning)


def test_a_model_of_which_nothing_is_known_is_left_alone():
    assert fox_body(body("some-model-9"), "async") == body("some-model-9")


def test_what_is_asked_stays_the_same():
    assert switches_on(body())
    assert b"reasoning" not in body(), "the hash is over the body, and nothing is asked anew"


@pytest.mark.parametrize("odd", [b"", b"[]", b'{"model":7}', b'{"prompt":"p"}', b"{"])
def test_a_body_of_no_request_is_left_alone(odd):
    assert fox_body(odd, "async") == odd


def test_a_providers_name_before_the_models_is_no_other_model():
    assert facts_of("google/Gemini-2.5-Pro") == facts_of(PRO)
    assert not facts_of("gemini-2.5-pro/other").thinks


def lines(api="foxapi", **asked):
    thinking = Thinking()
    thinking.add(PRO, asked.get("reasoning"), asked.get("max_tokens"), 120)
    return list(thinking_lines({"api": api, "thinking": thinking.described()}))


def test_the_plan_tells_what_is_switched_on():
    assert lines() == [f"reasoning: on for 120 rows of {PRO}, which may need it; --no-reasoning turns it off"]


def test_the_plan_warns_of_a_model_that_may_not_be_let_think():
    [line] = lines(reasoning=False)
    assert line.startswith(f"warning: 120 rows of {PRO} turn reasoning off")


def test_the_plan_warns_of_too_little_room_to_think():
    assert any(f"below {TIGHT_CAP:,}" in line for line in lines(max_tokens=TIGHT_CAP - 1))
    assert not any("below" in line for line in lines(max_tokens=TIGHT_CAP))
    assert not any("below" in line for line in lines(max_tokens=5, reasoning=False))


def test_other_apis_are_told_nothing_of_themselves():
    assert lines(api="openai") == []
    assert len(lines(api="openai", max_tokens=5)) == 1


def test_an_api_that_does_not_answer_is_one_line():
    away = Told(trouble="no route", answered=False)
    assert list(account_lines(AccountTold(away, away), {PRO: 1})) == ["the API does not answer now: no route"]
    assert len(list(account_lines(AccountTold(Told(trouble="HTTP 404: No."), Told(3.0)), {PRO: 1}))) == 2
