"""Exports for other tools hold what those tools ask for: by Label Studio's own checks, and the formats as published."""

import json
import os
import re
from xml.etree import ElementTree as ET

import jsonschema_rs
import pytest
import webvtt
from label_studio_sdk.label_interface import LabelInterface

from pipeline.core.references import file_reference, inline_reference

EVENT = {
    "type": "object",
    "properties": {
        "start": {"type": "number"},
        "end": {"type": "number"},
        "label": {"type": "string"},
        "confidence": {"type": "number"},
    },
}
SCHEMA = {
    "type": "object",
    "properties": {
        "mood": {"type": "string", "enum": ["calm", 'a "wild" & <odd> one']},
        "events": {"type": "array", "items": EVENT},
        "count": {"type": "integer"},
    },
}
EVENTS = [
    {"start": 61.5, "end": 3661.25, "label": "runs --> <b>away</b>\n\nNOTE & more", "confidence": 0.5},
    {"start": 1.0, "end": 1.0, "label": "\x00\x1b", "confidence": None},
]
ANSWER = {"mood": 'a "wild" & <odd> one', "events": EVENTS, "count": 2}


@pytest.fixture
def made(dataset, row):
    """Rows with moments, with none, failed and rejected ones, and ids that mean harm."""
    found = dataset(schema=SCHEMA)
    found.run(
        "r1",
        row("../../etc/passwd", more={"answer": ANSWER, "video": 'https://example.org/a.MOV?x="\\'}),
        row("plain", more={"content": "no times here"}),
        row("lines", more={"content": "0:05 - 0:12 a dog barks"}),
        row("b", "failed"),
        row("c", rejected=True),
    )
    return found


def test_label_studio_takes_the_setup_and_every_task_and_prediction(made, written):
    path, left_out = written(made, "labelstudio")
    setup = LabelInterface((path / "labels.xml").read_text(encoding="utf-8"))
    setup.validate()
    tasks = json.loads((path / "tasks.json").read_bytes())
    assert [task["data"]["row_id"] for task in tasks] == ["../../etc/passwd", "plain", "lines", "b"]
    for task in tasks:
        assert setup.validate_task({"data": task["data"]})
        for prediction in task.get("predictions", []):
            assert setup.validate_prediction(prediction, return_errors=True) == []
    assert left_out == {"no video": 1}
    assert tasks[3]["data"]["error_message"] == "it did not work"


def test_label_studios_frames_are_the_seconds_of_the_answer(made, written):
    path, _ = written(made, "labelstudio")
    rate = float(ET.parse(path / "labels.xml").find("Video").get("frameRate"))
    [task, *_] = json.loads((path / "tasks.json").read_bytes())
    regions = task["predictions"][0]["result"]
    spans = [one["value"]["ranges"][0] for one in regions if one["type"] == "timelinelabels"]
    assert [((span["start"] - 1) / rate, span["end"] / rate) for span in spans] == [
        (pytest.approx(61.5, abs=1 / rate), pytest.approx(3661.25, abs=1 / rate)),
        (pytest.approx(1.0, abs=1 / rate), pytest.approx(1.0, abs=1.5 / rate)),
    ]
    assert [one["value"] for one in regions if one["type"] == "choices"] == [{"choices": ['a "wild" & <odd> one']}]


def test_labels_too_many_to_choose_from_become_notes(dataset, row, written):
    made = dataset()
    lines = "\n".join(f"0:{second:02} - 1:00 event {number} {second}" for number in range(3) for second in range(60))
    made.run("r1", row("a", more={"content": lines}))
    path, _ = written(made, "labelstudio")
    setup = LabelInterface((path / "labels.xml").read_text(encoding="utf-8"))
    [task] = json.loads((path / "tasks.json").read_bytes())
    assert setup.validate_prediction(task["predictions"][0], return_errors=True) == []
    regions = task["predictions"][0]["result"]
    assert [one["meta"]["text"] for one in regions[:2]] == [["event 0 0"], ["event 0 1"]]


DETECTION = {
    "type": "object",
    "required": ["label", "timestamps"],
    "properties": {
        "label": {"type": "string"},
        "timestamps": {"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 2, "maxItems": 2},
        "confidence": {"type": ["number", "null"]},
        "attributes": {"type": "object", "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9_]*$"}},
    },
    "additionalProperties": False,
}
TEMPORAL = {
    "type": "object",
    "required": ["labels"],
    "properties": {
        "classes": {"type": ["array", "null"]},
        "labels": {
            "type": "object",
            "additionalProperties": {"oneOf": [{"type": "null"}, {"type": "array", "items": DETECTION}]},
        },
    },
    "additionalProperties": False,
}
"""FiftyOne's temporal detection format: each video's name without its ending, and its detections, in seconds."""

ATTRIBUTE = {
    "oneOf": [
        {"properties": {"type": {"const": f"eta.core.data.{kind}Attribute"}, "value": {"type": value}}}
        for kind, value in (("Categorical", "string"), ("Numeric", "number"), ("Boolean", "boolean"))
    ],
    "type": "object",
    "required": ["type", "name", "value"],
}
VIDEO_LABELS = {
    "type": "object",
    "required": ["attrs"],
    "properties": {"attrs": {"type": "object", "properties": {"attrs": {"type": "array", "items": ATTRIBUTE}}}},
}
INDEX = {
    "type": "object",
    "required": ["type", "index"],
    "properties": {
        "type": {"const": "eta.core.datasets.LabeledVideoDataset"},
        "index": {"type": "array", "items": {"type": "object", "required": ["data", "labels"]}},
    },
}
"""ETA's index of labeled videos, and its labels of one video."""


def test_fiftyones_folder_is_as_its_formats_are_published(made, written):
    path, left_out = written(made, "fiftyone")
    temporal = json.loads((path / "labels.json").read_bytes())
    index = json.loads((path / "manifest.json").read_bytes())
    jsonschema_rs.validate(TEMPORAL, temporal)
    jsonschema_rs.validate(INDEX, index)
    names = [re.sub(r"\.\w+$", "", one["data"].removeprefix("data/")) for one in index["index"]]
    assert names == list(temporal["labels"])
    for one in index["index"]:
        jsonschema_rs.validate(VIDEO_LABELS, json.loads((path / one["labels"]).read_bytes()))
    assert left_out == {"no video": 1}
    assert (path / "data").is_dir()


def test_fiftyones_detections_are_the_moments_and_its_fields_the_answer(made, written):
    path, _ = written(made, "fiftyone")
    labels = json.loads((path / "labels.json").read_bytes())["labels"]
    first, *others = labels.values()
    assert [(one["timestamps"], one.get("confidence")) for one in first] == [([61.5, 3661.25], 0.5), ([1.0, 1.0], None)]
    assert [bool(one) for one in others] == [False, True, False]
    attributes = json.loads((path / "labels" / "00000000-etc-passwd.json").read_bytes())["attrs"]["attrs"]
    told = {one["name"]: one["value"] for one in attributes}
    assert told == {
        "run": "r1",
        "row_id": "../../etc/passwd",
        "model": "m",
        "outcome": "completed",
        "mood": ANSWER["mood"],
        "count": 2.0,
    }


def test_the_list_of_videos_is_one_that_curl_can_only_fetch_by(made, written):
    path, _ = written(made, "fiftyone")
    lines = (path / "videos.curl").read_text(encoding="utf-8").splitlines()
    pairs = [line for line in lines if line.startswith(("url", "output"))]
    assert pairs[:2] == [r'url = "https://example.org/a.MOV?x=\"\\"', 'output = "data/00000000-etc-passwd.mov"']
    assert len(pairs) == 8


def test_webvtt_has_a_file_for_each_row_with_moments(made, written):
    path, left_out = written(made, "webvtt")
    index = [json.loads(line) for line in (path / "index.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(one["file"], one["row_id"]) for one in index] == [
        ("00000000-etc-passwd.vtt", "../../etc/passwd"),
        ("00000002-lines.vtt", "lines"),
    ]
    assert sorted(one.name for one in path.iterdir()) == sorted(
        [".vidbatch-export", *(one["file"] for one in index), "index.jsonl"]
    )
    assert left_out == {"no timestamps in the answer": 1, "no answer": 2}


def test_a_label_stays_text_within_its_cue(made, written):
    path, _ = written(made, "webvtt")
    cues = webvtt.read(path / "00000000-etc-passwd.vtt").captions
    assert [(one.start, one.end) for one in cues] == [
        ("00:00:01.000", "00:00:01.001"),
        ("00:01:01.500", "01:01:01.250"),
    ]
    assert cues[0].raw_text == "(no label)"
    assert cues[1].raw_text == "runs --&gt; &lt;b&gt;away&lt;/b&gt; NOTE &amp; more"


def test_fields_with_names_that_fiftyone_has_itself_get_others(dataset, row, written):
    names = ["id", "tags", "outcome", "_x", "a.b", "$"]
    fields = {name: {"type": "string"} for name in names}
    event = {"type": "object", "properties": {**fields, "start": {"type": "number"}, "end": {"type": "number"}}}
    made = dataset(schema={"type": "object", "properties": {**fields, "events": {"type": "array", "items": event}}})
    told = {name: f"about {name}" for name in names}
    made.run("r1", row("a", more={"answer": {**told, "events": [{"start": 1.0, "end": 2.0, **told}]}}))
    path, _ = written(made, "fiftyone")
    attributes = json.loads((path / "labels" / "00000000-a.json").read_bytes())["attrs"]["attrs"]
    wanted = ["answer_tags", "answer_outcome", "x", "a_b", "answer_"]
    assert [one["name"] for one in attributes] == ["run", "row_id", "model", "outcome", "answer_id", *wanted]
    [[detection]] = json.loads((path / "labels.json").read_bytes())["labels"].values()
    assert (detection["label"], list(detection["attributes"])) == ("about id", wanted)


def test_fiftyone_finds_files_by_links_and_fetches_only_urls(dataset, row, written, tmp_path):
    (tmp_path / "a b.mp4").write_bytes(b"video")
    digest = "0" * 64
    videos = {
        "url": "https://videos.example/a.mp4",
        "gone": file_reference(os.fsencode(tmp_path / "gone.mp4"), 5, digest),
        "file": file_reference(os.fsencode(tmp_path / "a b.mp4"), 5, digest),
        "store": "s3://bucket/a.mp4",
        "inline": inline_reference("video/mp4", 5, digest),
    }
    made = dataset()
    made.run("r1", *[row(name, more={"video": video}) for name, video in videos.items()])
    path, left_out = written(made, "fiftyone")
    assert (path / "videos.curl").read_text(encoding="utf-8").count("url = ") == 1
    there, gone = sorted((path / "data").iterdir(), key=lambda link: not link.exists())
    assert there.read_bytes() == b"video"
    assert gone.readlink() == tmp_path / "gone.mp4"
    assert left_out == {"a video that is no file and has no URL": 2}
