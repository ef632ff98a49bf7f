"""Exports as WebVTT: a file of subtitles for each row whose answer tells when what happens."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import orjson

from pipeline.core.exporting import NO_ANSWER, NO_MOMENTS, file_stem
from pipeline.core.moments import Moment, moments_in
from pipeline.edges.duck import named, translated
from pipeline.edges.export_view import View

_COLUMNS = ("run", "row_id", "row_index", "prompt_name", "video_urls", "outcome", "content", "answer")
_TOLD = ("run", "row_id", "row_index", "prompt_name", "video_urls")
NO_LABEL = "(no label)"


def write_webvtt(view: View, folder: Path) -> Mapping[str, int]:
    """One `.vtt` a row, and `index.jsonl`, which says whose each is. Rows without one are counted by the reason."""
    left_out: Counter[str] = Counter()
    with (folder / "index.jsonl").open("wb") as index:
        for row in rows_of(view, _COLUMNS):
            moments = moments_in(row["answer"], row["content"])
            if not moments:
                left_out[NO_MOMENTS if row["outcome"] == "completed" else NO_ANSWER] += 1
                continue
            name = f"{file_stem(row['place'], row['row_id'], row['prompt_name'])}.vtt"
            (folder / name).write_text(vtt_of(moments), encoding="utf-8", newline="\n")
            told = {"file": name, **{column: row[column] for column in _TOLD}}
            index.write(orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE))
    return left_out


def vtt_of(moments: Sequence[Moment]) -> str:
    """Subtitles; cues are in the order of their beginnings, as the format wants them, and none is empty."""
    cues = []
    for number, one in enumerate(sorted(moments, key=lambda one: (one.start, one.end)), 1):
        start = round(one.start * 1000)
        end = max(start + 1, round(one.end * 1000))
        cues.append(f"{number}\n{_clock(start)} --> {_clock(end)}\n{_line(one.label)}\n")
    return "\n".join(["WEBVTT\n", *cues])


def rows_of(view: View, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of an export with their place, one at a time."""
    with translated():
        for batch in view.batches([*map(named, columns), "place"]):
            yield from batch.to_pylist()


def one_line(text: str) -> str:
    """A text without control characters and line breaks."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def _line(label: str) -> str:
    return escape(one_line(label), quote=False) or NO_LABEL


def _clock(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:03}"
