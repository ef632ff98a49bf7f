"""Exports for FiftyOne: a folder that it imports as videos with temporal detections, or with the answer's fields.

FiftyOne reads videos from files, so the folder says where to get them: `videos.curl` fetches each into `data/`, where
those that are files of this machine are links. Times
stay seconds in `labels.json`, since only the video tells its frames.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import orjson

from pipeline.core.exporting import NO_FILE, NO_VIDEO, file_stem
from pipeline.core.moments import Moment, moments_in
from pipeline.core.references import InlineData, StoreVideo, read_reference
from pipeline.edges.export_files import json_items
from pipeline.edges.export_view import View
from pipeline.edges.export_webvtt import rows_of

_COLUMNS = (
    *("run", "row_id", "row_index", "prompt_name", "model", "video_urls", "outcome", "content", "answer"),
    *("error_code", "error_message"),
)
_FIELDS = ("run", "row_id", "prompt_name", "model", "outcome", "error_code", "error_message")
_ENDINGS = frozenset({".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg"})
_TAKEN = frozenset(
    {
        *("id", "label", "support", "tags", "attributes", "confidence", "timestamps"),
        *("filepath", "metadata", "frames", "created_at", "last_modified_at", *_FIELDS),
    }
)
"""What FiftyOne calls things of a detection or a sample, and what we say of a row."""

_CURL = 'fail\nlocation\ncreate-dirs\ngloboff\nproto = "=http,https"\n'
_INDEX = b'{"type":"eta.core.datasets.LabeledVideoDataset","description":"vidbatch","index":['
_README = """# Videos and annotations for FiftyOne

Fetch all videos first, in this folder: `curl --parallel --config videos.curl`.
Videos that were files of the machine that exported are links in `data/`.
Then, for moments as temporal detections:

    import fiftyone as fo
    dataset = fo.Dataset.from_dir(dataset_dir=".", dataset_type=fo.types.FiftyOneTemporalDetectionDataset)

or for the fields of each answer, its outcome and its row:

    dataset = fo.Dataset.from_dir(dataset_dir=".", dataset_type=fo.types.FiftyOneVideoLabelsDataset)
"""


def write_fiftyone(view: View, folder: Path) -> Mapping[str, int]:
    """Moments in `labels.json`, fields in `manifest.json` and `labels/`. Rows without a video are counted."""
    left_out: Counter[str] = Counter()
    for name in ("data", "labels"):
        (folder / name).mkdir()
    (folder / "README.md").write_text(_README, encoding="utf-8")
    with ExitStack() as stack:
        curl = stack.enter_context((folder / "videos.curl").open("w", encoding="utf-8", newline="\n"))
        curl.write(_CURL)
        add_labels = stack.enter_context(json_items(folder / "labels.json", head=b'{"labels":{', tail=b"}}"))
        add_index = stack.enter_context(json_items(folder / "manifest.json", head=_INDEX, tail=b"]}"))
        for row in rows_of(view, _COLUMNS):
            if not row["video_urls"]:
                left_out[NO_VIDEO] += 1
                continue
            url = row["video_urls"][0]
            reference = read_reference(url)
            if isinstance(reference, InlineData | StoreVideo):
                left_out[NO_FILE] += 1
                continue
            stem = file_stem(row["place"], row["row_id"], row["prompt_name"])
            video, labels = f"data/{stem}{_ending(url)}", f"labels/{stem}.json"
            if reference is None:
                curl.write(f"url = {_curl_text(url)}\noutput = {_curl_text(video)}\n")
            else:
                (folder / video).symlink_to(reference.path)
            (folder / labels).write_bytes(orjson.dumps(_video_labels(row)))
            add_labels(orjson.dumps(stem) + b":" + orjson.dumps(_detections(row)))
            add_index(orjson.dumps({"data": video, "labels": labels}))
    return left_out


def _detections(row: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    moments = moments_in(row["answer"], row["content"])
    return [_detection(one) for one in moments] or None


def _detection(moment: Moment) -> dict[str, Any]:
    more = {_field(name): value for name, value in moment.more.items() if name != "confidence"}
    told: dict[str, Any] = {
        "label": moment.label or "moment",
        "timestamps": [moment.start, moment.end],
        "attributes": more,
    }
    confidence = moment.more.get("confidence")
    if isinstance(confidence, int | float) and not isinstance(confidence, bool):
        told["confidence"] = float(confidence)
    return told


def _video_labels(row: Mapping[str, Any]) -> dict[str, Any]:
    """The answer's fields of one value, and how the row ended."""
    told = {name: row[name] for name in _FIELDS if row[name] is not None}
    if isinstance(row["answer"], dict):
        told |= {_field(name): value for name, value in row["answer"].items()}
    elif row["content"]:
        told["content"] = row["content"]
    return {"attrs": {"attrs": list(_attributes(told))}}


def _attributes(told: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, value in told.items():
        match value:
            case bool():
                kind = "Boolean"
            case int() | float():
                kind = "Numeric"
            case str():
                kind = "Categorical"
            case _:
                continue
        cell = float(value) if kind == "Numeric" else value
        yield {"type": f"eta.core.data.{kind}Attribute", "name": name, "value": cell}


def _field(name: str) -> str:
    """A name that can be a field's."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name).lstrip("_")
    return plain if plain and plain not in _TAKEN else f"answer_{plain}"


def _ending(url: str) -> str:
    """How the video's file is to be called, by its URL."""
    try:
        ending = PurePosixPath(urlsplit(url).path).suffix.casefold()
    except ValueError:
        return ".mp4"
    return ending if ending in _ENDINGS else ".mp4"


def _curl_text(text: str) -> str:
    """A text in a configuration of curl, on one line whatever it holds."""
    kept = "".join(one for one in text if one.isprintable())
    return '"' + kept.replace("\\", "\\\\").replace('"', '\\"') + '"'
