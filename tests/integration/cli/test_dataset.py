"""The dataset of real runs: every reader reads it, every answer is its row's own, and the sums add up."""

import csv
from datetime import UTC

import duckdb
import orjson
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from pipeline.core.columns import ANNOTATION
from pipeline.simulator.clips import shipped_clips
from pipeline.simulator.digest import digest

ARROW = {
    "text": "string",
    "answer": "string",
    "word": "string",
    "texts": "list<element: string>",
    "int": "int64",
    "float": "double",
    "bool": "bool",
    "time": "timestamp[us, tz=UTC]",
}
COLUMNS = ("id", "video_url", "prompt", "model", "shelf", "answer")
ROWS = 8


@pytest.fixture
def dataset(terminal, simulator, tmp_path):
    """OUT with two runs: one of real clips that all complete, and one of rows that fail or are refused."""
    api = simulator(fast=False, latency="0.2s", failed_are_billed=True)
    clips = shipped_clips()
    rows = [
        (
            f"row-{i}",
            f"{api.base_url}/media/{clips[i % len(clips)].name}?n={i}",
            f"Question {i}?",
            "",
            f"shelf {i}",
            "x",
        )
        for i in range(ROWS)
    ]
    good = write(tmp_path / "good.csv", rows)
    assert terminal("run", good, "--out", "out", "--base-url", api.base_url, "--yes").code == 0
    api.set(fail_rate=1.0, fail_codes="generation_failed")
    failing = [(f"fail-{n}", rows[n][1], f"Question {n}, again?", "", "", "") for n in (1, 2)]
    bad = write(tmp_path / "bad.csv", [*failing, ("refused", *rows[2][1:3], "gemini-9-future", "", "")])
    ended = terminal("run", bad, "--out", "out", "--base-url", api.base_url, "--yes")
    assert ended.code == 1, ended.err
    assert "2 failed" in ended.err
    return tmp_path / "out", rows, api


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return path


def by_id(out):
    files = sorted(out.glob("annotations/**/*.parquet"))
    return {row["row_id"]: row for file in files for row in pq.ParquetFile(file).read().to_pylist()}


def test_runs_of_real_clips_make_one_dataset(dataset):
    out, rows, api = dataset
    found = by_id(out)
    assert len(found) == ROWS + 3
    every_reader_reads_it(out)
    files_bear_their_columns(out)
    answers_are_their_rows_own(found, rows)
    failures_tell_all(found, api)
    usage_adds_up(out, found)


def every_reader_reads_it(out):
    glob = f"{out}/annotations/**/*.parquet"
    names = {*(column.name for column in ANNOTATION), "shelf", "manifest_answer"}
    with duckdb.connect() as connection:
        read = connection.sql(f"select * from read_parquet('{glob}')")
        assert names <= set(read.columns) <= names | {"run"}
        query = f"select outcome, count(*) from read_parquet('{glob}') group by outcome order by outcome"
        assert connection.sql(query).fetchall() == [("completed", ROWS), ("failed", 2), ("refused", 1)]
    frame = pl.read_parquet(glob)
    assert (frame.height, names <= set(frame.columns)) == (ROWS + 3, True)
    assert frame["submitted_at"].dtype == pl.Datetime("us", "UTC")
    table = pd.read_parquet(out / "annotations")
    assert (len(table), names <= set(table.columns)) == (ROWS + 3, True)
    assert table.loc[table["outcome"] == "completed", "completion_tokens"].gt(0).all()


def files_bear_their_columns(out):
    files = sorted(out.glob("annotations/**/*.parquet"))
    assert len(files) == 2
    for file in files:
        schema = pq.read_schema(file)
        wanted = {column.name: ARROW.get(column.kind) for column in ANNOTATION}
        held = {name: str(schema.field(name).type) for name in wanted}
        assert {name: kind for name, kind in held.items() if name != "attempt_log"} == {
            name: kind for name, kind in wanted.items() if name != "attempt_log"
        }
        assert held["attempt_log"].startswith("list<element: struct<generation_id: string")
        assert schema.metadata[b"vidbatch.schema_version"] == b"2"
        assert schema.metadata[b"vidbatch.run_id"].decode() == file.parent.name.removeprefix("run=")
    assert orjson.loads((out / "dataset.json").read_bytes())["carried"] == {
        "shelf": "shelf",
        "answer": "manifest_answer",
    }


def answers_are_their_rows_own(found, rows):
    clips = {clip.name: clip.read_bytes() for clip in shipped_clips()}
    for row_id, url, prompt, _, shelf, answer in rows:
        row = found[row_id]
        video = clips[url.rpartition("/")[2].partition("?")[0]]
        assert digest([video], prompt) in row["content"]
        assert (row["prompt"], row["video_urls"], row["shelf"]) == (prompt, [url], shelf)
        assert (row["manifest_answer"], row["answer"]) == (answer, None)
        assert row["submitted_at"].tzinfo in (UTC, row["submitted_at"].tzinfo)
        assert row["submitted_at"] <= row["finished_at"] <= row["collected_at"]
        assert (row["attempts"], len(row["attempt_log"])) == (1, 1)
        assert orjson.loads(row["response"])["object"] == "chat.completion"


def failures_tell_all(found, api):
    posts = [post["id"] for post in api.posts()]
    for row_id in ("fail-1", "fail-2"):
        row = found[row_id]
        assert (row["outcome"], row["error_code"], row["attempts"]) == ("failed", "generation_failed", 3)
        assert row["content"] is None
        ids = [attempt["generation_id"] for attempt in row["attempt_log"]]
        assert len(set(ids)) == 3
        assert set(ids) <= set(posts)
        assert ids[-1] == row["generation_id"]
    refused = found["refused"]
    assert (refused["outcome"], refused["error_code"]) == ("refused", "model_not_supported")
    assert (refused["http_status"], refused["generation_id"]) == (422, None)
    assert refused["error_message"]
    assert refused["attempt_log"] == []
    assert len(posts) == ROWS + 6


def usage_adds_up(out, found):
    usage = [row for file in sorted(out.glob("usage/*.parquet")) for row in pq.ParquetFile(file).read().to_pylist()]
    for name in ("prompt_tokens", "completion_tokens", "attempts"):
        assert sum(row[name] or 0 for row in usage) == sum(row[name] or 0 for row in found.values())
    cost = sum(row["cost"] or 0 for row in usage)
    assert cost == pytest.approx(sum(row["cost"] or 0 for row in found.values()))
    assert cost > 0
    assert sum(row["rows"] for row in usage) == len(found)
