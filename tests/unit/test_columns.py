"""The dataset's columns: a promise to its readers."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.columns import ANNOTATION, NAMES, carried_names

PROMISED = [
    "row_id",
    "row_index",
    "request_hash",
    "duplicate_of",
    "prompt_name",
    "model",
    "model_answered",
    "prompt",
    "system_prompt",
    "video_urls",
    "outcome",
    "content",
    "reasoning",
    "finish_reason",
    "answer",
    "answer_status",
    "answer_error",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "reasoning_tokens",
    "cached_tokens",
    "audio_tokens",
    "video_tokens",
    "usage",
    "credits",
    "cost",
    "error_code",
    "error_type",
    "error_message",
    "http_status",
    "generation_id",
    "attempts",
    "polls",
    "possible_duplicate",
    "attempt_log",
    "submitted_at",
    "finished_at",
    "collected_at",
    "latency_s",
    "response",
]


def test_every_promised_column_is_there_in_its_place():
    assert [column.name for column in ANNOTATION][: len(PROMISED)] == PROMISED


def test_names_are_told_apart_whatever_the_case():
    assert len({name.lower() for name in NAMES}) == len(ANNOTATION)


def test_every_column_says_what_it_means():
    assert all(column.meaning for column in ANNOTATION)


def test_a_column_of_the_manifest_keeps_its_own_name():
    assert carried_names(["camera", "split"]) == {"camera": "camera", "split": "split"}


def test_a_clash_gets_a_prefix():
    assert carried_names(["content", "cost"]) == {"content": "manifest_content", "cost": "manifest_cost"}


def test_names_clash_whatever_their_case():
    names = carried_names(["Content", "camera", "CAMERA", "manifest_Camera"])
    assert names["Content"] == "manifest_Content"
    assert (names["camera"], names["CAMERA"]) == ("camera", "manifest_CAMERA")
    assert names["manifest_Camera"] == "manifest_manifest_Camera"


def test_a_clash_of_a_clash_gets_another():
    names = carried_names(["content", "manifest_content"])
    assert names == {"content": "manifest_content", "manifest_content": "manifest_manifest_content"}


@given(
    st.lists(
        st.sampled_from([*NAMES, "a", "A", "CONTENT", "manifest_a", "Manifest_A", "manifest_manifest_cost"]),
        unique=True,
    )
)
def test_no_two_columns_ever_share_a_name(carried):
    names = carried_names(carried)
    assert list(names) == carried
    assert len({name.casefold() for name in (*names.values(), *NAMES)}) == len(carried) + len(NAMES)
