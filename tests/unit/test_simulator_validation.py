import base64

import orjson
import pytest

from pipeline.simulator.settings import SimulatorSettings, changed
from pipeline.simulator.validation import FIELDS, Refusal, Submission, check

SETTINGS = SimulatorSettings()
GOOD = {"model": "gemini-2.5-pro", "prompt": "Describe.", "video_urls": ["https://a.example/v.mp4"]}
INLINE = "data:video/mp4;base64," + base64.b64encode(b"frames").decode()


def judged(settings=SETTINGS, **fields):
    body = {name: value for name, value in {**GOOD, **fields}.items() if value is not ...}
    return check(orjson.dumps(body), settings)


def test_there_are_exactly_nine_fields():
    assert len(FIELDS) == 9


def test_the_three_required_fields_are_enough():
    assert judged() == Submission("gemini-2.5-pro", "Describe.", ("https://a.example/v.mp4",))


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "x" * 100_000},
        {"video_urls": ["https://a.example/v.mp4"] * 10},
        {"video_urls": [INLINE]},
        {"video_urls": ["HTTP://a.example/V.MP4?token=1#t=3"]},
        {"video_urls": ["https://www.youtube.com/watch?v=dQw4w9WgXcQ", "https://youtu.be/dQw4w9WgXcQ"]},
        {"sync": False, "stream": False},
        {"sync": True},
        {"stream": True, "sync": True},
        {"max_tokens": 1},
        {"max_tokens": None},
        {"temperature": 0},
        {"temperature": 2.0},
        {"temperature": None},
        {"system_prompt": "x" * 10_000},
        {"system_prompt": None},
        {"reasoning": True},
        {"model": "nemotron-3-nano-omni"},
    ],
)
def test_what_the_contract_allows_is_accepted(fields):
    assert isinstance(judged(**fields), Submission)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"model": ...}, "invalid_param"),
        ({"prompt": ...}, "invalid_param"),
        ({"video_urls": ...}, "invalid_param"),
        ({"model": 3}, "invalid_param"),
        ({"model": "gpt-unheard-of"}, "model_not_supported"),
        ({"prompt": ""}, "invalid_param"),
        ({"prompt": "x" * 100_001}, "invalid_param"),
        ({"prompt": None}, "invalid_param"),
        ({"video_urls": []}, "invalid_param"),
        ({"video_urls": ["https://a.example/v.mp4"] * 11}, "invalid_param"),
        ({"video_urls": "https://a.example/v.mp4"}, "invalid_param"),
        ({"video_urls": [3]}, "invalid_param"),
        ({"video_urls": ["ftp://a.example/v.mp4"]}, "invalid_param"),
        ({"video_urls": ["https://a.example/v .mp4"]}, "invalid_param"),
        ({"video_urls": ["https://a.example/v.mp4\nhttps://b.example/v.mp4"]}, "invalid_param"),
        ({"video_urls": ["https://a.example/v.avi"]}, "invalid_param"),
        ({"video_urls": ["https://www.youtube.com/shorts/dQw4w9WgXcQ"]}, "invalid_param"),
        ({"video_urls": ["data:image/png;base64,AAAA"]}, "invalid_param"),
        ({"video_urls": ["data:video/mp4;base64,!"]}, "invalid_param"),
        ({"video_urls": ["data:video/mp4;base64," + "A" * 27_000_000]}, "gemini_video_size_exceeded"),
        ({"sync": "yes"}, "invalid_param"),
        ({"stream": None}, "invalid_param"),
        ({"max_tokens": 0}, "invalid_param"),
        ({"max_tokens": True}, "invalid_param"),
        ({"max_tokens": 1.5}, "invalid_param"),
        ({"temperature": 2.1}, "invalid_param"),
        ({"temperature": "warm"}, "invalid_param"),
        ({"system_prompt": "x" * 10_001}, "invalid_param"),
        ({"system_prompt": 1}, "invalid_param"),
        ({"reasoning": 1}, "invalid_param"),
        ({"callback_url": "https://a.example"}, "invalid_param"),
        (
            {"model": "nemotron-3-nano-omni", "video_urls": ["https://a.example/v.mp4"] * 2},
            "model_rule_violation",
        ),
        (
            {"model": "nemotron-3-nano-omni", "video_urls": ["https://youtu.be/dQw4w9WgXcQ"]},
            "model_not_support_capability",
        ),
    ],
)
def test_what_the_contract_forbids_is_refused_with_its_code(fields, code):
    refusal = judged(**fields)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.type, refusal.code) == (422, "invalid_request_error", code)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b'{"prompt": "\\ud800"}', b"\xff"])
def test_a_body_that_is_no_json_object_is_a_400_without_a_code(body):
    refusal = check(body, SETTINGS)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.type, refusal.code) == (400, "invalid_request_error", None)


def test_a_tenth_field_passes_where_the_switch_says_so():
    assert isinstance(judged(changed(SETTINGS, {"unknown_fields_refused": False}), extra=1), Submission)


def test_any_http_url_passes_where_the_switch_says_so():
    lenient = changed(SETTINGS, {"strict_urls": False})
    assert isinstance(judged(lenient, video_urls=["https://a.example/watch/3"]), Submission)


def test_models_are_a_setting():
    settings = changed(SETTINGS, {"models": "later-model=2"})
    assert isinstance(judged(settings, model="later-model"), Submission)
    assert judged(settings).code == "model_not_supported"
