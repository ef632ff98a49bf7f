"""Exports for Label Studio: tasks with a video each and the answer as a prediction, and the labeling setup beside them.

Label Studio counts a timeline in frames; the setup fixes how many a second has, so seconds become frames by that alone,
whatever the video's own rate is.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import orjson

from pipeline.core.exporting import NO_VIDEO, About
from pipeline.core.moments import Moment, moments_in
from pipeline.edges.export_files import json_items
from pipeline.edges.export_view import View
from pipeline.edges.export_webvtt import one_line, rows_of

FRAMES_A_SECOND = 25
MOST_LABELS = 100
"""With more distinct labels than a person can choose from, a moment is called `moment`, and its label is its note."""

MOMENT = "moment"
_COLUMNS = (
    *("run", "row_id", "row_index", "prompt_name", "model", "video_urls", "outcome", "content", "answer"),
    *("error_code", "error_message"),
)
_DATA = ("run", "row_id", "row_index", "prompt_name", "outcome", "error_code", "error_message")


@dataclass(frozen=True, slots=True)
class _Setup:
    """What can be labeled: moments, the answer's text, and fields of the answer with few values, by name."""

    labels: Sequence[str]
    choices: Mapping[str, Sequence[str]]

    def control(self, field: str) -> str:
        """The name of the control of a field."""
        return f"field{list(self.choices).index(field)}"


def write_labelstudio(view: View, folder: Path, about: About) -> Mapping[str, int]:
    """`tasks.json` to import, and `labels.xml` to paste as the labeling setup. Rows without a video are counted."""
    left_out: Counter[str] = Counter()
    setup = _Setup(_labels(view), _choices(about.schema))
    (folder / "labels.xml").write_text(_xml(setup), encoding="utf-8")
    with json_items(folder / "tasks.json") as add:
        for row in rows_of(view, _COLUMNS):
            if not row["video_urls"]:
                left_out[NO_VIDEO] += 1
                continue
            add(orjson.dumps(_task(row, setup)))
    return left_out


def _labels(view: View) -> list[str]:
    """All labels of moments, if they are few enough to choose from."""
    found: dict[str, None] = {}
    for row in rows_of(view, ("content", "answer")):
        found |= dict.fromkeys(_label(one) for one in moments_in(row["answer"], row["content"]))
        if len(found) > MOST_LABELS:
            return [MOMENT]
    return list(found) or [MOMENT]


def _label(moment: Moment) -> str:
    return one_line(moment.label) or MOMENT


def _choices(schema: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """Fields of an answer that take one of few texts."""
    fields = (schema or {}).get("properties", {})
    told = {name: one["enum"] for name, one in fields.items() if isinstance(one, dict) and "enum" in one}
    return {
        name: [one_line(value) for value in values]
        for name, values in told.items()
        if isinstance(values, list) and all(isinstance(value, str) and one_line(value) for value in values)
    }


def _task(row: Mapping[str, Any], setup: _Setup) -> dict[str, Any]:
    data = {"video": row["video_urls"][0], "video_urls": row["video_urls"], **{name: row[name] for name in _DATA}}
    if row["outcome"] != "completed":
        return {"data": data}
    regions = [{"id": f"r{number}", "to_name": "video", **one} for number, one in enumerate(_regions(row, setup))]
    return {"data": data, "predictions": [{"model_version": row["model"], "result": regions}]}


def _regions(row: Mapping[str, Any], setup: _Setup) -> Iterator[dict[str, Any]]:
    for moment in moments_in(row["answer"], row["content"]):
        label = _label(moment)
        first = round(moment.start * FRAMES_A_SECOND) + 1
        span = {"start": first, "end": max(first, round(moment.end * FRAMES_A_SECOND))}
        held = label if label in setup.labels else MOMENT
        region = {
            "from_name": "moments",
            "type": "timelinelabels",
            "value": {"ranges": [span], "timelinelabels": [held]},
        }
        yield region if held == label else {**region, "meta": {"text": [label]}}
    if row["content"]:
        yield {"from_name": "content", "type": "textarea", "value": {"text": [row["content"]]}}
    if isinstance(row["answer"], dict):
        for field, values in setup.choices.items():
            told = row["answer"].get(field)
            if isinstance(told, str) and one_line(told) in values:
                yield {"from_name": setup.control(field), "type": "choices", "value": {"choices": [one_line(told)]}}


def _xml(setup: _Setup) -> str:
    lines = [
        "<View>",
        '  <Header value="$row_id"/>',
        f'  <Video name="video" value="$video" frameRate="{FRAMES_A_SECOND}"/>',
        '  <TimelineLabels name="moments" toName="video">',
        *(f"    <Label value={_quoted(label)}/>" for label in setup.labels),
        "  </TimelineLabels>",
    ]
    for field, values in setup.choices.items():
        lines += [
            f"  <Header value={_quoted(one_line(field))}/>",
            f'  <Choices name="{setup.control(field)}" toName="video" choice="single">',
            *(f"    <Choice value={_quoted(value)}/>" for value in values),
            "  </Choices>",
        ]
    lines += ['  <TextArea name="content" toName="video" editable="true" rows="6"/>', "</View>", ""]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """An attribute's value; a `$` at its beginning would be read as a column."""
    return quoteattr(text)
