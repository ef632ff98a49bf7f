"""What is known of a run after its end, gathered for the verdict: its dataset, its marker, and the API's books."""

from collections.abc import Mapping
from typing import Any

from pipeline.core.lifecycle import Outcome
from pipeline.edges.dataset_rows import dataset_rows, rejected_rows
from pipeline.faultlab.question import Question
from pipeline.faultlab.stage import Stage
from pipeline.faultlab.verdict import Evidence, Post, Row

COLUMNS = (
    *("row_id", "row_index", "prompt", "video_urls", "outcome", "content"),
    *("generation_id", "possible_duplicate", "attempt_log"),
)
STRAY = -1
"""The row of a POST that belongs to no row."""


async def evidence_of(stage: Stage, recovery_s: float | None) -> Evidence:
    """Everything that the verdict needs, read from outside."""
    folder = stage.run_folder
    summary = folder.summary() if folder is not None else None
    by_prompt = stage.question.by_prompt()
    posts: dict[int, list[Post]] = {}
    for entry in await stage.books.posts():
        posts.setdefault(by_prompt.get(entry["prompt_sha256"], STRAY), []).append(_post(entry))
    complaints = list(stage.complaints)
    dataset = [_row(stage.question, row) for row in dataset_rows(stage.out, COLUMNS)]
    if posts.pop(STRAY, None):
        complaints.append("POSTs that belong to no row")
    if summary is not None and _counted(dataset) != {name: n for name, n in summary["outcomes"].items() if n}:
        complaints.append("the done marker counts otherwise than the dataset")
    return Evidence(
        rows=stage.question.rows,
        dataset=dataset,
        rejected=rejected_rows(folder.path / "rejects.parquet") if folder is not None else (),
        posts=posts,
        moments=tuple(stage.moments),
        double_ends=summary["double_ends"] if summary else 0,
        recovery_s=recovery_s,
        complaints=complaints,
    )


def _counted(dataset: list[Row]) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for row in dataset:
        counts[row.outcome] = counts.get(row.outcome, 0) + 1
    return counts


def _post(entry: Mapping[str, Any]) -> Post:
    return Post(entry["id"], entry["received_at"], entry["answered"], entry["outcome"])


def _row(question: Question, row: Mapping[str, Any]) -> Row:
    return Row(
        row_index=row["row_index"],
        outcome=row["outcome"],
        own=_is_own(question, row),
        flagged=row["possible_duplicate"],
        generation_id=row["generation_id"],
        log=tuple((attempt["generation_id"], attempt["outcome"]) for attempt in row["attempt_log"] or ()),
    )


def _is_own(question: Question, row: Mapping[str, Any]) -> bool:
    """Whether the request is this row's, and the answer, where there is one, tells of this very request."""
    index = row["row_index"]
    row_id, url, prompt = question.cells(index)
    asked = (row["row_id"], row["video_urls"], row["prompt"]) == (row_id, [url], prompt)
    return asked and (row["outcome"] != Outcome.COMPLETED or question.digest(index) in (row["content"] or ""))
