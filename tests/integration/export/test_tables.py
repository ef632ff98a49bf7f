"""Tables are read back by the tools that people read them with."""

import csv
import json
import subprocess
import sys
from datetime import UTC, datetime

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

SCHEMA = {
    "type": "object",
    "properties": {
        "species": {"type": "string", "enum": ["cat", "dog", "=bird"]},
        "count": {"type": "integer"},
        "sure": {"type": "boolean"},
        "events": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "start": {"type": "number"},
                    "end": {"type": "number"},
                    "label": {"type": "string"},
                    "free": {},
                },
            },
        },
        "free": {},
    },
}
EVENTS = [{"start": 1.0, "end": 2.5, "label": "runs", "free": '{"a":[1,null]}'}]
ANSWER = {"species": "cat", "count": 3, "sure": True, "events": EVENTS, "free": "[1,2]"}
HOSTILE = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    'a "quoted", text',
    "two\nlines\r\nand <script>alert(1)</script>",
    "\u2028 \x01 \x7f é 漢 🦊",
    "",
    "'",
    "--> 1",
]


@pytest.fixture
def made(dataset, row):
    """A run of all kinds of rows, with typed answers and texts that mean harm."""
    found = dataset(schema=SCHEMA, carried=("shelf", "=cmd", "run", 'a"b'))
    hostile = [row(f"h{place}", more={"content": text}) for place, text in enumerate(HOSTILE)]
    carried = {"shelf": "=1", "=cmd": "x", "run": "-7", 'a"b': "c"}
    found.run(
        "r1",
        row("typed", more={"answer": ANSWER}, carried=carried),
        row("b", "failed"),
        row("c", rejected=True),
        *hostile,
    )
    return found


def marked(text):
    return "'" + text if text[:1] in set("=+-@\t\r\n") else text


def test_pandas_reads_the_csv_as_it_was(made, written):
    path, _ = written(made, "csv")
    table = pd.read_csv(path, keep_default_na=False, lineterminator="\n")
    assert list(table["row_id"]) == ["typed", "b", "c", *(f"h{place}" for place in range(len(HOSTILE)))]
    assert list(table["content"])[3:] == [marked(text) for text in HOSTILE]
    assert list(table["outcome"][:3]) == ["completed", "failed", "rejected"]
    assert json.loads(table["answer"][0]) == ANSWER
    assert (table["shelf"][0], table["'=cmd"][0], table["manifest_run"][0], table['a"b'][0]) == ("'=1", "x", "'-7", "c")
    assert (table["submitted_at"][0], table["cost"][0]) == ("2026-01-01T12:30:15.250000Z", "0.25")
    numbers = pd.read_csv(path, lineterminator="\n")
    assert (numbers["cost"].dtype, numbers["row_index"].dtype) == ("float64", "int64")


def test_no_text_of_a_csv_begins_a_formula(made, written):
    with written(made, "csv")[0].open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell[:1] in set("=+-@\t\r\n")]


def test_a_negative_number_is_no_formula(dataset, row, written):
    made = dataset()
    made.run("r1", row("a", more={"credits": -1.5}))
    assert pd.read_csv(written(made, "csv")[0])["credits"][0] == -1.5


def test_json_lines_hold_real_json(made, written):
    lines = written(made, "jsonl")[0].read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    free = [{**EVENTS[0], "free": {"a": [1, None]}}]
    assert rows[0]["answer"] == {**ANSWER, "events": free, "free": [1, 2]}
    assert [row["content"] for row in rows[3:]] == HOSTILE
    assert (rows[0]["submitted_at"], rows[1]["answer"]) == ("2026-01-01T12:30:15.250000Z", None)
    assert rows[2]["error_message"].endswith("allowed is a URL")
    assert list(rows[0])[:2] == ["run", "row_id"]
    assert len({tuple(row) for row in rows}) == 1


def test_times_are_written_alike_wherever_they_stand(dataset, row, written):
    made = dataset()
    at = datetime(2026, 1, 1, 12, 30, 15, 250_000, tzinfo=UTC)
    posted = {"generation_id": "task-1", "submitted_at": at, "outcome": "completed", "prompt_tokens": 3}
    made.run("r1", row("a", more={"attempt_log": [posted]}), row("b", more={"attempt_log": []}))
    rows = [json.loads(line) for line in written(made, "jsonl")[0].read_text(encoding="utf-8").splitlines()]
    [kept] = rows[0]["attempt_log"]
    assert (kept["submitted_at"], kept["prompt_tokens"], rows[1]["attempt_log"]) == (rows[0]["submitted_at"], 3, [])
    logs = pd.read_csv(written(made, "csv")[0])["attempt_log"]
    assert json.loads(logs[0])[0]["submitted_at"] == "2026-01-01T12:30:15.250000Z"


def test_parquet_keeps_every_type(made, written):
    path, _ = written(made, "parquet")
    [source] = made.out.run("r1").published.iterdir()
    table, whole = pq.read_table(path), pq.read_table(source, partitioning=None)
    assert table.schema.names == ["run", *whole.schema.names]
    assert table["answer"].to_pylist()[0] == ANSWER
    assert {one.name: one.type for one in table.schema}["submitted_at"] == whole.schema.field("submitted_at").type
    both = [row for row in table.to_pylist() if row["outcome"] != "rejected"]
    assert [{name: row[name] for name in whole.schema.names} for row in both] == whole.to_pylist()


def test_duckdb_has_the_table_in_order(made, written):
    path, _ = written(made, "duckdb")
    with duckdb.connect(str(path), read_only=True) as con:
        rows = con.sql(
            "SELECT row_id, answer.events[1].label, epoch_us(submitted_at), content FROM annotations"
        ).fetchall()
    assert rows[0] == ("typed", "runs", 1767270615250000, "answer of typed to What?")
    assert [row[3] for row in rows[3:]] == HOSTILE
    assert not list(path.parent.glob("*.wal"))


LOADED = """
import json, sys
from datasets import Features, load_dataset
import pyarrow.parquet as pq
folder, cache = sys.argv[1:]
rows = load_dataset(folder, split="train", cache_dir=cache)
held = Features.from_arrow_schema(pq.read_schema(folder + "/data/train-00000.parquet"))
print(json.dumps({
    "same": rows.features == held, "names": list(rows.features), "answer": rows[0]["answer"],
    "content": rows["content"][3:], "outcomes": rows["outcome"][:3], "at": rows[0]["submitted_at"].isoformat(),
}))
"""


def test_datasets_loads_the_folder_with_its_features(made, written, tmp_path):
    path, _ = written(made, "huggingface")
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", LOADED, str(path), str(tmp_path / "cache")]
    told = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout.splitlines()[-1])
    assert found["same"]
    assert found["names"][:2] == ["run", "row_id"]
    assert "=cmd" in found["names"]
    assert found["answer"] == ANSWER
    assert found["content"] == HOSTILE
    assert found["outcomes"] == ["completed", "failed", "rejected"]
    assert found["at"] == "2026-01-01T12:30:15.250000+00:00"


def test_the_card_counts_rows_by_outcome(made, written):
    card = (written(made, "huggingface")[0] / "README.md").read_text(encoding="utf-8")
    assert f"| completed | {1 + len(HOSTILE)} |\n| failed | 1 |\n| rejected | 1 |" in card
    assert f"num_examples: {3 + len(HOSTILE)}" in card
