"""Small datasets, made through the doors by which runs make theirs, without sending anything."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from pipeline.core.columns import carried_names
from pipeline.core.exporting import About, Format
from pipeline.core.requests import Rejection, Request
from pipeline.core.shapes import shape_of
from pipeline.edges import annotations_file
from pipeline.edges.duck import named
from pipeline.edges.export_formats import write_export
from pipeline.edges.export_view import opened
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.requests_file import RejectsWriter, RequestsWriter
from pipeline.edges.run_folder import LocalRunFolder, range_name
from pipeline.edges.sifting import sift

AT = datetime(2026, 1, 1, 12, 30, 15, 250_000, tzinfo=UTC)
BILLED = {"attempts": 1, "polls": 2, "possible_duplicate": False, "latency_s": 1.5}
TOKENS = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110, "cost": 0.25}


@dataclass(frozen=True)
class Row:
    """A row of a manifest and its end: an outcome and more columns of its annotation; without one it has no end yet."""

    row_id: str
    outcome: str | None = "completed"
    prompt: str = "What?"
    rejected: bool = False
    prompt_name: str | None = None
    carried: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)


class Dataset:
    """Makes runs in an OUT of its own."""

    def __init__(self, path: Path, schema: dict[str, Any] | None = None, carried: tuple[str, ...] = ("shelf",)) -> None:
        self.path = path
        self.out = OutFolder(path)
        self.out.make()
        self.typed = {} if schema is None else {"answer_schema": schema, "answer_shape": shape_of(schema)}
        self.carried = carried_names(carried)

    def run(self, run_id: str, *rows: Row, indexes: tuple[int, ...] | None = None, **described: Any) -> LocalRunFolder:
        """A run of these rows: planned, sifted, ended and published. `unfinished` leaves it with parts only."""
        unfinished = described.pop("unfinished", False)
        folder = self.out.run(run_id)
        folder.path.mkdir(parents=True)
        numbered = list(zip(indexes or range(len(rows)), rows, strict=True))
        self._plan(folder, numbered, derived=indexes is not None, refresh="refresh" in described)
        folder.describe({"run_id": run_id, "carried": self.carried, "base_url": "", **self.typed, **described})
        folder.begin("here", "it")
        self._end(folder, dict(numbered), unfinished=unfinished)
        if not unfinished:
            folder.finish({})
        return folder

    def _plan(self, folder: LocalRunFolder, numbered: list[tuple[int, Row]], *, derived: bool, refresh: bool) -> None:
        with (
            RequestsWriter(folder.path / "requests.parquet", {}) as requests,
            RejectsWriter(folder.path / "rejects.parquet") as rejects,
        ):
            for index, row in numbered:
                if row.rejected:
                    written = row.more.get("row", orjson.dumps(row.carried).decode())
                    told = ("video_urls", "x", "a URL", written, row.prompt_name)
                    rejects.add(Rejection("m.csv", index, index + 2, row.row_id, *told))
                    continue
                request = Request(
                    row_index=index,
                    row_id=row.row_id,
                    line=index + 2,
                    model="m",
                    prompt=row.prompt,
                    video_urls=(row.more.get("video", f"https://example.org/{row.prompt}-{row.row_id}.mp4"),),
                    carried=row.carried,
                    prompt_name=row.prompt_name,
                )
                requests.add(request, request.request_hash)
        if not derived:
            known = {one.run_id: annotations_file.published_files(one.published) for one in self.out.runs()}
            sift(folder.path, {} if refresh else known)

    def _end(self, folder: LocalRunFolder, rows: dict[int, Row], *, unfinished: bool) -> None:
        schema = annotations_file.schema_of(self.carried.values(), folder.run_id, self.typed.get("answer_shape"))
        files = [folder.path / f"{kind}.parquet" for kind in ("requests", "duplicates")]
        asked = [one for file in files if file.exists() for one in pq.read_table(file).to_pylist()]
        ended = [self._annotation(one, rows) for one in asked]
        ended = [one for one in sorted(ended, key=lambda one: one["row_index"]) if one["outcome"]]
        table = annotations_file.table_of(ended, schema)
        if unfinished:
            path = folder.path / "parts" / range_name("e1", 0, len(ended), "parquet")
        else:
            path = folder.published / "part-00000.parquet"
        annotations_file.write_part(path, schema, [table])

    def _annotation(self, asked: dict[str, Any], rows: dict[int, Row]) -> dict[str, Any]:
        row = rows[asked["row_index"]]
        told = {**asked, "outcome": row.outcome, "collected_at": AT, "duplicate_of": asked.get("first_id")}
        told |= {self.carried[name]: value for name, value in asked["carried"]}
        if row.outcome == "completed":
            content = f"answer of {row.row_id} to {row.prompt}"
            told |= {"content": content, "submitted_at": AT, "finished_at": AT + timedelta(seconds=1.5)}
            told |= {"generation_id": f"task-{asked['row_index']}", "answer_status": "ok", "finish_reason": "stop"}
            told |= {} if told["duplicate_of"] else {**BILLED, **TOKENS}
        elif row.outcome:
            told |= {"error_code": f"{row.outcome}_code", "error_message": "it did not work", **BILLED}
        return told | {name: value for name, value in row.more.items() if name != "video"}


@pytest.fixture
def dataset(tmp_path):
    """Makes a dataset: `dataset(schema=...)`."""

    def make(**given: Any) -> Dataset:
        return Dataset(tmp_path / "out", **given)

    return make


@pytest.fixture
def shown(tmp_path):
    """Reads a view: `shown(out, run_id, latest=True)` gives its rows and what they come to."""

    def read(out: OutFolder, run_id: str | None = None, *, latest: bool = False) -> tuple[list[dict[str, Any]], Any]:
        with opened(out, run_id, latest=latest, columns=None, scratch=tmp_path) as view:
            batches = view.batches([named(name) for name in view.columns])
            return [row for batch in batches for row in batch.to_pylist()], view.exported

    return read


@pytest.fixture
def written(tmp_path):
    """Writes an export of a whole dataset and gives its path: `written(dataset, "csv")`."""

    def write(made: Dataset, chosen: str, run_id: str | None = None) -> tuple[Path, dict[str, int]]:
        path = tmp_path / f"exported.{chosen}"
        about = About(["r1"], False, made.typed.get("answer_schema"), made.typed.get("answer_shape"), "0")
        with opened(made.out, run_id, latest=False, columns=None, scratch=tmp_path) as view:
            return path, dict(write_export(view, Format(chosen), path, about, force=False))

    return write


@pytest.fixture
def row():
    """Rows of a manifest, with their ends: `row("a", "failed")`."""
    return Row
