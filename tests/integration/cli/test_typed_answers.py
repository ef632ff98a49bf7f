"""Answers with a schema, from the command line to whoever reads the dataset."""

import csv
from collections import Counter

import duckdb
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.instructing import instruction_of
from pipeline.simulator.digest import digest

ROWS = 500
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "digest": {"type": "string"},
        "kind": {"enum": ["indoor", "outdoor", "studio"]},
        "place": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "certain": {"type": "boolean"}},
            "required": ["name", "certain"],
        },
        "events": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/event"}},
        "people": {"type": ["integer", "null"], "minimum": 0},
    },
    "required": ["digest", "kind", "place", "events"],
    "additionalProperties": False,
    "$defs": {
        "event": {
            "type": "object",
            "properties": {
                "label": {"enum": ["cut", "pan", "zoom"]},
                "start": {"type": "number", "minimum": 0},
                "end": {"type": "number"},
            },
            "required": ["label", "start", "end"],
        }
    },
}
EVENT = pa.struct([("label", pa.string()), ("start", pa.float64()), ("end", pa.float64())])
TYPE = pa.struct(
    [
        ("digest", pa.string()),
        ("kind", pa.string()),
        ("place", pa.struct([("name", pa.string()), ("certain", pa.bool_())])),
        ("events", pa.list_(pa.field("element", EVENT))),
        ("people", pa.int64()),
    ]
)


def manifest(folder, count, name="videos.csv"):
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "video_url"), *((f"v{i}", url(i)) for i in range(count))])
    return folder / name


def url(number):
    return f"https://videos.example/{number}.mp4"


def schema_file(folder, schema=None, name="labels.schema.json"):
    (folder / name).write_bytes(orjson.dumps(schema or SCHEMA))
    return folder / name


def rows_of(out):
    files = sorted(out.glob("annotations/**/*.parquet"))
    return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]


def test_five_hundred_answers_land_in_their_status_typed_and_with_their_text(
    terminal, simulator, tmp_path, monkeypatch
):
    api = simulator(
        seed=7,
        latency="0.2s",
        invalid_answers=0.1,
        stubborn_answers=1.0,
        truncated_answers=0.05,
        refused_answers=0.03,
        fail_rate=0.02,
        fail_codes="content_policy_violation",
    )
    asked = ("run", manifest(tmp_path, ROWS), "--schema", schema_file(tmp_path), "--prompt", "What is there?")
    ended = terminal(*asked, "--out", "out", "--base-url", api.base_url, "--yes")
    assert ended.code == 1, ended.err
    counts, rows = api.summary()["answers_written"], rows_of(tmp_path / "out")
    listed = ", ".join(f"{counts[status]} {status}" for status in ("ok", "truncated", "invalid", "refused"))
    assert f"answers: {listed} (columns answer_status and answer_error; content has" in ended.err
    each_lands_in_its_status(rows, api.summary())
    answers_are_typed_and_their_rows_own(rows)
    the_run_knows_its_schema(tmp_path / "out", counts)
    every_reader_reads_the_types(tmp_path, monkeypatch, counts)


@pytest.mark.slow
def test_what_can_be_repaired_of_five_hundred_answers_is(terminal, simulator, tmp_path, monkeypatch):
    api = simulator(
        seed=11,
        latency="0.2s",
        invalid_answers=0.1,
        stubborn_answers=0.3,
        truncated_answers=0.05,
        refused_answers=0.03,
        fail_rate=0.02,
        fail_codes="content_policy_violation",
    )
    asked = ("run", manifest(tmp_path, ROWS), "--schema", schema_file(tmp_path), "--prompt", "What is there?")
    ended = terminal(*asked, "--out", "out", "--base-url", api.base_url, "--yes", "--repair", "1")
    assert ended.code == 1, ended.err
    rows = rows_of(tmp_path / "out")
    again = [row for row in rows if row["attempts"] == 2]
    assert api.summary()["posts_accepted"] == ROWS + len(again) == sum(len(row["attempt_log"]) for row in rows)
    firsts = Counter(row["attempt_log"][0]["answer_status"] for row in again)
    for status, share in (("invalid", 0.1), ("truncated", 0.05)):
        assert firsts[status] / ROWS == pytest.approx(share, abs=0.03)
    assert set(firsts) == {"invalid", "truncated"}
    for row in again:
        [other] = [one for one in row["attempt_log"] if one["generation_id"] != row["generation_id"]]
        mended = row["answer_status"] == "ok"
        assert mended == (row["answer"] is not None)
        assert row["content"]
        assert (other["content"] is None) == (other["outcome"] == "failed")  # then the first answer is the row's
        assert mended or other["outcome"] == "failed" or other["answer_status"] == "invalid"
    statuses = Counter(row["answer_status"] for row in rows)
    assert statuses["truncated"] <= 2  # of those, only one whose second generation failed
    assert 0 < statuses["invalid"] < 0.6 * firsts["invalid"]
    counts = {"ok": statuses["ok"]}
    every_reader_reads_the_types(tmp_path, monkeypatch, counts)


def each_lands_in_its_status(rows, books):
    assert (len(rows), len({row["row_id"] for row in rows})) == (ROWS, ROWS)
    statuses = Counter(row["answer_status"] for row in rows if row["outcome"] == "completed")
    assert statuses == books["answers_written"]
    for status, share in (("invalid", 0.1), ("truncated", 0.05), ("refused", 0.03)):
        assert statuses[status] / ROWS == pytest.approx(share, abs=0.025)
    failed = [row for row in rows if row["outcome"] == "failed"]
    assert 0 < len(failed) == books["failed"] == ROWS - statuses.total()
    assert all((row["answer_status"], row["answer"]) == (None, None) for row in failed)
    for row in rows:
        message = orjson.loads(row["response"] or "{}").get("choices", [{}])[0].get("message", {})
        assert row["content"] == message.get("content")
        assert (row["answer"] is not None) == (row["answer_status"] == "ok")
        assert (row["answer_error"] is not None) == (row["answer_status"] in {"invalid", "truncated", "refused"})
    assert all(row["content"] for row in rows if row["answer_status"] in {"ok", "invalid", "truncated"})
    assert all(row["answer_error"].startswith("$") for row in rows if row["answer_status"] == "invalid")


def answers_are_typed_and_their_rows_own(rows):
    for row in rows:
        assert row["prompt"] == f"What is there?\n\n{instruction_of(SCHEMA)}"
        if row["answer_status"] == "ok":
            assert row["answer"]["digest"] == digest([row["video_urls"][0].encode()], row["prompt"])
            assert all(event["start"] <= event["end"] for event in row["answer"]["events"])


def the_run_knows_its_schema(out, counts):
    told = orjson.loads(next(out.glob("runs/*/done.json")).read_bytes())["answer_statuses"]
    assert told == {**dict.fromkeys(("ok", "truncated", "invalid", "refused", "empty"), 0), **counts}
    described = orjson.loads(next(out.glob("runs/*/run.json")).read_bytes())
    assert described["answer_schema"] == SCHEMA
    assert len(described["schema_digest"]) == 64
    dataset = orjson.loads((out / "dataset.json").read_bytes())
    assert (dataset["schema_version"], [*dataset["answer"]["struct"]]) == (2, [*SCHEMA["properties"]])
    file = next(out.glob("annotations/**/*.parquet"))
    assert pq.read_schema(file).field("answer").type == TYPE
    group = pq.read_metadata(file).row_group(0)
    held = {column.path_in_schema: column for column in map(group.column, range(group.num_columns))}
    for word in ("answer.kind", "answer.events.list.element.label"):
        assert "RLE_DICTIONARY" in held[word].encodings


def every_reader_reads_the_types(folder, monkeypatch, counts):
    glob = f"{folder}/out/annotations/**/*.parquet"
    with duckdb.connect() as connection:
        query = (
            "select count(answer), count(distinct answer.kind), sum(len(answer.events)), avg(answer.place.certain::int)"
        )
        ok, kinds, events, certain = connection.sql(f"{query} from '{glob}'").fetchall()[0]
        assert (ok, kinds) == (counts["ok"], 3)
        query = f"select sum(e.\"end\" - e.start) from (select unnest(answer.events) e from '{glob}')"
        seconds = connection.sql(query).fetchall()[0][0]
    assert (events > ok, 0 < certain < 1, seconds > 0) == (True, True, True)
    frame = pl.read_parquet(glob).filter(pl.col("answer_status") == "ok").unnest("answer", separator=".")
    exploded = frame.explode("answer.events").unnest("answer.events")
    assert (frame.height, exploded.height, frame["answer.people"].dtype) == (ok, events, pl.Int64)
    assert exploded.select((pl.col("end") - pl.col("start")).sum()).item() == pytest.approx(seconds)
    table = pd.read_parquet(folder / "out" / "annotations")
    answers = table.loc[table["answer_status"] == "ok", "answer"]
    assert sum(len(answer["events"]) for answer in answers) == events
    assert sum(e["end"] - e["start"] for answer in answers for e in answer["events"]) == pytest.approx(seconds)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(folder / "hf"))
    import datasets  # it reads its environment when it is loaded

    loaded = datasets.load_dataset("parquet", data_files=glob, split="train", cache_dir=str(folder / "cache"))
    assert loaded.features["answer"]["events"].feature["start"].dtype == "float64"
    fine = loaded.filter(lambda row: row["answer_status"] == "ok")
    assert (len(loaded), len(fine), sum(len(row["answer"]["events"]) for row in fine)) == (ROWS, ok, events)


def test_a_dataset_has_one_type_of_answer(terminal, simulator, tmp_path):
    api = simulator(latency="0s")
    few = manifest(tmp_path, 3)

    def run(*options, rows=few, out="out"):
        return terminal("run", rows, "--prompt", "?", "--out", out, "--base-url", api.base_url, "--yes", *options)

    first = run("--schema", schema_file(tmp_path))
    assert first.code == 0, first.err
    assert "the column answer has the fields digest, kind, place, events, people" in first.err
    assert "answers: 3 ok, each as its schema has it" in first.err
    none = run()
    assert none.code == 2
    assert "answers have the fields digest, kind, place, events, people" in none.err
    assert "of this command have no schema: one dataset has one type of answer" in none.err
    other = schema_file(tmp_path, {**SCHEMA, "properties": {**SCHEMA["properties"], "people": {"type": "string"}}}, "b")
    assert run("--schema", other).code == 2
    properties = dict(reversed(SCHEMA["properties"].items())) | {"kind": {"enum": ["indoor", "outdoor"]}}
    tighter = schema_file(tmp_path, {**SCHEMA, "properties": properties}, "c")
    same = run("--schema", tighter)
    assert same.code == 0, same.err
    assert duckdb.sql(f"select count(answer.kind) from '{tmp_path}/out/annotations/**/*.parquet'").fetchall() == [(6,)]


def test_a_dataset_without_a_schema_tells_which_answers_are_none(terminal, simulator, tmp_path):
    api = simulator(latency="0s", empty_answers=1.0)
    asked = ("run", manifest(tmp_path, 3), "--prompt", "?", "--out", "out", "--base-url", api.base_url, "--yes")
    ended = terminal(*asked, "--json")
    assert ended.code == 0
    assert orjson.loads(ended.out)["answer_statuses"]["empty"] == 3
    assert "answers: 3 empty (columns answer_status and answer_error" in terminal(*asked).err
    assert {(row["answer"], row["answer_status"]) for row in rows_of(tmp_path / "out")} == {(None, "empty")}


def test_a_plan_says_what_answers_are_held_against_and_counts_the_schema_in(here, tmp_path):
    rows, schema = manifest(tmp_path, 3), schema_file(tmp_path)
    said = here("plan", rows, "--prompt", "?", "--schema", schema)
    assert said.code == 0, said.err
    assert "the column answer has the fields digest, kind, place, events, people" in said.out
    told = orjson.loads(here("plan", rows, "--prompt", "?", "--schema", schema, "--json").out)
    assert (told["answer_schema"], len(told["schema_digest"])) == (SCHEMA, 64)
    long = here("plan", rows, "--prompt", "x" * 99_900, "--schema", schema)
    assert (long.code, "0 requests, 3 rejected" in long.out) == (1, True)
    assert "together with what the schema appends" in long.out
    alone = here("plan", rows, "--prompt", "x" * 99_900, "--schema", schema, "--no-schema-instruction")
    assert (alone.code, "3 requests, 0 rejected" in alone.out) == (0, True)


def test_a_schema_that_cant_be_used_ends_the_command_before_it_plans(here, tmp_path):
    bad = schema_file(tmp_path, {"properties": {"kind": {"$ref": "https://schemas.example/kind.json"}}})
    for words in (("plan",), ("run", "--out", "out", "--yes")):
        said = here(
            words[0], manifest(tmp_path, 1), "--prompt", "?", "--schema", bad, *words[1:], VIDBATCH_API_KEY=None
        )
        assert said.code == 2
        assert f"--schema: {bad}" in said.err
        assert "https://schemas.example/kind.json" in said.err
    assert not (tmp_path / "out").exists()
    assert here("plan", manifest(tmp_path, 1), "--prompt", "?", "--schema", "none.json").code == 2
