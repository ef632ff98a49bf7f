"""Answers of the simulator to prompts that hold a schema, and the ways in which it gets them wrong."""

import json
from collections import Counter
from hashlib import sha256

import jsonschema_rs
import pytest

from pipeline.core.instructing import instruction_of
from pipeline.core.judging import Judging
from pipeline.edges.schemas import judging_of
from pipeline.simulator.instances import instance, schema_in
from pipeline.simulator.settings import SimulatorSettings
from pipeline.simulator.written import Writer

SCHEMA = {
    "type": "object",
    "properties": {
        "digest": {"type": "string"},
        "kind": {"enum": ["indoor", "outdoor"]},
        "events": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"$ref": "#/$defs/event"}},
        "note": {"anyOf": [{"type": "string", "maxLength": 20}, {"type": "null"}]},
        "people": {"type": ["integer", "null"], "minimum": 1, "maximum": 3},
        "tree": {"$ref": "#/$defs/tree"},
    },
    "required": ["digest", "kind", "events"],
    "additionalProperties": False,
    "$defs": {
        "event": {
            "type": "object",
            "properties": {"start": {"type": "number", "minimum": 0}, "end": {"type": "number"}},
            "required": ["start", "end"],
        },
        "tree": {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}},
    },
}
PROMPT = f"What {{is}} there?\n\n{instruction_of(SCHEMA)}"


def video(number):
    return [sha256(str(number).encode()).digest()]


def test_a_schema_is_found_in_a_prompt_with_other_braces():
    found, end = schema_in(PROMPT + "\nA note: {}")
    assert (found, end) == (SCHEMA, len(PROMPT))
    assert schema_in('Say {"a": 1} and {') is None


def test_instances_fit_their_schema_and_tell_the_digest():
    validator = jsonschema_rs.Draft202012Validator(SCHEMA)
    drawn = [instance(SCHEMA, sha256(bytes([n])).hexdigest()) for n in range(200)]
    for one in drawn:
        validator.validate(one)
        assert all(event["start"] <= event["end"] for event in one["events"])
    assert drawn[7]["digest"] == sha256(bytes([7])).hexdigest()
    assert drawn[7] == instance(SCHEMA, sha256(bytes([7])).hexdigest())
    assert len({json.dumps(one) for one in drawn}) == 200


def judged(written):
    judging = judging_of({"answer_schema": SCHEMA})
    return judging.of(written.content, written.finish_reason, written.refusal).status.value


def test_each_way_of_being_wrong_is_what_it_is_called_and_as_frequent_as_was_set():
    settings = SimulatorSettings(
        invalid_answers=0.2, truncated_answers=0.15, refused_answers=0.1, empty_answers=0.05, stubborn_answers=0.5
    )
    writer = Writer()
    first = [writer.write(video(n), PROMPT, "d" * 64, None, settings) for n in range(2_000)]
    counts = Counter(map(judged, first))
    assert counts == writer.counts
    for kind, rate in (("invalid", 0.2), ("truncated", 0.15), ("refused", 0.1), ("empty", 0.05)):
        assert counts[kind] / 2_000 == pytest.approx(rate, abs=0.03)
    noted = PROMPT + "\n\nYour last answer did not fit: $.kind"
    again = [writer.write(video(n), noted, "e" * 64, 10_000, settings) for n in range(2_000)]
    counts_again = Counter(map(judged, again))
    assert counts_again["truncated"] == 0
    assert 0.35 * counts["invalid"] < counts_again["invalid"] < 0.65 * counts["invalid"]
    assert (counts_again["refused"], counts_again["empty"]) == (counts["refused"], counts["empty"])


def test_twice_what_a_cut_answer_took_is_enough():
    settings = SimulatorSettings(truncated_answers=1.0)
    for n in range(50):
        cut = Writer().write(video(n), PROMPT, "d" * 64, None, settings)
        assert Writer().write(video(n), PROMPT, "d" * 64, cut.tokens, settings).finish_reason == "length"
        assert Writer().write(video(n), PROMPT, "d" * 64, 2 * cut.tokens + 2, settings).finish_reason == "stop"


def test_a_prompt_without_a_schema_has_the_usual_answer_unless_something_is_to_be_wrong():
    assert Writer().write(video(1), "What {is} there?", "d" * 64, None, SimulatorSettings()) is None
    empty = Writer().write(video(1), "What is there?", "d" * 64, None, SimulatorSettings(empty_answers=1.0))
    assert Judging().of(empty.content, empty.finish_reason, empty.refusal).status == "empty"
