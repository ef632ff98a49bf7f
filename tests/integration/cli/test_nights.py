"""One dataset, night after night: what is new, what changed and what failed is sent, and nothing else."""

import csv
from dataclasses import dataclass, field

import duckdb
import orjson
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.seals import seal

NEW = 50
FAILING = 10


@dataclass
class Nights:
    """Runs the nightly command in a folder; `sent` are the POSTs of each night."""

    terminal: object
    api: object
    sent: list = field(default_factory=list)
    runs: list = field(default_factory=list)

    def run(self, rows, *more, code=0, **variables):
        path = self.terminal.folder / "tonight.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("id", "video_url", "prompt", "shelf"), *rows])
        before = self.api.summary()["posts_received"]
        command = ("run", path, "--out", "out", "--base-url", self.api.base_url, "--yes", "--json")
        told = self.terminal(*command, *more, **variables)
        assert told.code == code, told
        self.sent.append(self.api.summary()["posts_received"] - before)
        self.runs.append(orjson.loads(told.out))
        return self.runs[-1]


@pytest.fixture
def nights(terminal, simulator):
    api = simulator(latency="0.05s", failing_videos="broken", fail_codes="content_policy_violation")
    return Nights(terminal, api)


def rows_of(count):
    return [(f"v{i}", f"https://videos.example/{i}.mp4", f"Describe clip {i}.", f"shelf {i % 7}") for i in range(count)]


@pytest.mark.parametrize("count", [100, pytest.param(1_000, marks=pytest.mark.slow)])
def test_three_nights_pay_for_what_is_new_what_changed_and_what_failed(nights, count):
    changed = 20
    first = rows_of(count)
    grown = rows_of(count + NEW)
    for at in range(
        count + 3, count + NEW, NEW // FAILING
    ):  # not the first ones, which a guard would take for a mistake
        grown[at] = (grown[at][0], f"https://videos.example/broken-{at}.mp4", *grown[at][2:])
    second = [*grown[count:], *grown[:count]]  # the new ones come first: nothing is joined by order
    third = [
        (*row[:2], f"{row[2]} Now!", row[3]) if row[0] in {f"v{i}" for i in range(changed)} else row for row in second
    ]
    nights.run(first)
    nights.run(second, code=1)
    nights.api.set(failing_videos="")
    told = nights.run(third)
    assert nights.sent == [count, NEW, changed + FAILING]
    assert (told["reused"], told["requests"]) == (count + NEW - changed - FAILING, changed + FAILING)
    out = nights.terminal.folder / "out"
    the_glob_reads_all(out, count + NEW + changed + FAILING)
    latest = the_latest_answers(nights.terminal, out, [row[0] for row in third])
    assert latest["outcome"].eq("completed").all()
    assert latest["prompt"].tolist() == [row[2] for row in third]
    for run in nights.runs:
        assert nights.terminal("verify", run["run_id"], "--out", "out").code == 0


def the_glob_reads_all(out, rows):
    glob = f"{out}/annotations/**/*.parquet"
    query = f"select count(*), count(distinct run) from read_parquet('{glob}')"
    with duckdb.connect() as connection:
        assert connection.sql(query).fetchall() == [(rows, 3)]
    assert pl.read_parquet(glob).height == rows
    assert len(pd.read_parquet(out / "annotations")) == rows
    assert ds.dataset(out / "annotations", partitioning="hive").count_rows() == rows


def the_latest_answers(terminal, out, ids):
    told = terminal("export", out, "--latest", "--to", "latest.parquet")
    assert told.code == 0, told.err
    frame = pd.read_parquet(terminal.folder / "latest.parquet")
    assert frame["row_id"].tolist() == ids
    return frame


@pytest.mark.slow
def test_the_same_command_sends_what_failed_and_a_fresh_look_asks_all(nights):
    rows = [*rows_of(4), ("bad", "https://videos.example/broken.mp4", "Describe.", "x")]
    nights.run(rows, code=1)
    again = nights.run(rows, code=1)
    assert nights.sent == [5, 1]
    assert (again["requests"], again["reused"]) == (1, 4)
    nights.api.set(failing_videos="")
    third = nights.run(rows)
    nothing = nights.run(rows)
    assert nothing["run_id"] == third["run_id"]
    assert nights.run(rows[:3])["requests"] == 0  # a manifest of its own, all answered before
    fresh = nights.run(rows, "--refresh")
    assert (fresh["requests"], fresh["reused"]) == (5, 0)
    assert nights.sent == [5, 1, 1, 0, 0, 5]


@pytest.mark.slow
def test_a_schedule_that_gives_a_command_again_after_its_run_was_over_pays_nothing_twice(nights, fleet):
    seal(fleet.url, fleet.key, nights.api.base_url)
    rows = [*rows_of(4), ("bad", "https://videos.example/broken.mp4", "Describe.", "x")]
    first = nights.run(rows, "--refresh", code=1, VIDBATCH_FIRING="nightly/1")
    assert nights.run(rows[1:], "--refresh", code=1, VIDBATCH_FIRING="nightly/1")["run_id"] == first["run_id"]
    nights.run(rows, "--refresh", code=1, VIDBATCH_FIRING="nightly/2")
    assert nights.sent == [5, 0, 5]


def test_a_row_that_can_not_be_asked_is_told_though_all_others_were_answered(nights):
    rows = rows_of(3)
    nights.run(rows)
    told = nights.run([*rows, ("bad", "ftp://videos.example/3.mp4", "Describe.", "x")], code=1)
    assert (told["rows"], told["requests"], told["reused"], told["rejections"]) == (4, 0, 3, 1)
    out = nights.terminal.folder / "out"
    assert nights.terminal("export", out, "--latest", "--to", "latest.parquet").code == 0
    latest = pd.read_parquet(nights.terminal.folder / "latest.parquet")
    assert latest["outcome"].tolist() == ["completed"] * 3 + ["rejected"]


def test_a_later_night_that_answered_a_row_leaves_nothing_to_retry(nights):
    rows = [*rows_of(3), ("bad", "https://videos.example/broken.mp4", "Describe.", "x")]
    first = nights.run(rows, code=1)
    nights.api.set(failing_videos="")
    nights.run([*rows, ("new", "https://videos.example/new.mp4", "Describe.", "x")])
    assert nights.sent == [4, 2]
    retried = nights.terminal("retry", first["run_id"], "--out", "out", "--yes")
    assert (retried.code, "every row of it completed" in retried.err) == (0, True), retried.err
    assert nights.run(rows)["run_id"] == first["run_id"]  # all of it is answered by now: nothing is left to alarm of
    assert nights.sent == [4, 2, 0]


def test_a_file_of_no_run_among_the_annotations_is_told(nights):
    told = nights.run(rows_of(2))
    assert nights.terminal("verify", "--out", "out").code == 0
    [part] = (nights.terminal.folder / "out").glob(f"annotations/run={told['run_id']}/*.parquet")
    out, run = part.parents[2], part.parent.name
    for stray in ("annotations/copy.parquet", f"annotations/{run}/more.parquet", "usage/run=gone.parquet"):
        (out / stray).write_bytes(part.read_bytes())
    (out / "annotations" / run / "notes.txt").write_text("mine")
    verified = nights.terminal("verify", "--out", "out")
    assert verified.code == 1
    told = verified.err.splitlines()
    for line in (
        "annotations/copy.parquet: no run has these annotations",
        f"annotations/{run}/more.parquet: 2 rows, and the receipt does not know the file",
        "usage/run=gone.parquet: no run has this table",
    ):
        assert line in told
    assert any(line.startswith(f"annotations/{run}/notes.txt: can't be read") for line in told)


def test_another_api_and_another_schema_answer_for_nobody(nights, simulator):
    rows = rows_of(2)
    nights.run(rows)
    other = simulator(latency="0s")
    plan = ("plan", nights.terminal.folder / "tonight.csv", "--out", "out", "--json")
    assert orjson.loads(nights.terminal(*plan, "--base-url", nights.api.base_url).out)["requests"] == 0
    assert orjson.loads(nights.terminal(*plan, "--base-url", other.base_url).out)["requests"] == 2
    schemas = [nights.terminal.folder / name for name in ("one.json", "two.json")]
    for most, path in enumerate(schemas, 1):
        path.write_bytes(orjson.dumps({"type": "object", "properties": {"n": {"type": "integer", "maximum": most}}}))
    typed = ("tonight.csv", "--out", "typed", "--no-schema-instruction", "--base-url", nights.api.base_url)
    ran = nights.terminal("run", *typed, "--schema", schemas[0], "--yes")
    assert ran.code == 0, ran.err
    left = [
        orjson.loads(nights.terminal("plan", *typed, "--schema", path, "--json").out)["requests"] for path in schemas
    ]
    assert left == [0, 2]


def test_a_plan_says_no_where_a_run_would(nights, simulator):
    nights.run(rows_of(2))
    path = nights.terminal.folder / "tonight.csv"
    path.write_text("id,video_url,prompt,room\nx,https://videos.example/9.mp4,?,a\n", encoding="utf-8")
    refused = nights.terminal("plan", path, "--out", "out", "--base-url", nights.api.base_url)
    assert (refused.code, "one dataset has one set of columns" in refused.err) == (2, True)


def test_rows_that_ask_the_same_are_sent_once_and_have_a_row_each(nights):
    rows = rows_of(3)
    twice = [*rows, ("again", *rows[0][1:3], "other shelf"), ("bad", "https://videos.example/broken.mp4", "?", "x")]
    told = nights.run([*twice, ("bad again", *twice[-1][1:])], code=1)
    assert nights.sent == [4]
    assert (told["rows"], told["requests"], told["duplicates"]) == (6, 4, 2)
    out = nights.terminal.folder / "out"
    found = {
        row["row_id"]: row
        for file in sorted(out.glob("annotations/**/*.parquet"))
        for row in pq.ParquetFile(file).read().to_pylist()
    }
    assert found["again"]["duplicate_of"] == "v0"
    assert found["again"]["content"] == found["v0"]["content"]
    assert (found["again"]["shelf"], found["v0"]["shelf"]) == ("other shelf", "shelf 0")
    assert (found["again"]["total_tokens"], found["again"]["cost"], found["again"]["attempts"]) == (None, None, 0)
    assert (found["bad again"]["outcome"], found["bad again"]["error_code"]) == ("failed", "content_policy_violation")
    assert nights.terminal("verify", told["run_id"], "--out", "out").code == 0
    nights.api.set(failing_videos="")
    retried = nights.terminal("retry", told["run_id"], "--out", "out", "--yes")
    assert retried.code == 0, retried.err
    assert nights.api.summary()["posts_received"] == 5
    latest = the_latest_answers(nights.terminal, out, [row[0] for row in twice] + ["bad again"])
    assert latest["outcome"].eq("completed").all()


def test_every_video_is_asked_every_prompt(nights):
    (nights.terminal.folder / "prompts.yaml").write_text(
        "what: What is on shelf {{ shelf }}?\nown: '{{ prompt }} Briefly.'\n", encoding="utf-8"
    )
    rows = rows_of(3)
    told = nights.run(rows, "--prompts", "prompts.yaml")
    assert (told["rows"], told["requests"], nights.sent) == (6, 6, [6])
    out = nights.terminal.folder / "out"
    frame = pl.read_parquet(f"{out}/annotations/**/*.parquet").sort("row_index")
    assert frame["row_id"].to_list() == ["v0", "v0", "v1", "v1", "v2", "v2"]
    assert frame["prompt_name"].to_list() == ["what", "own"] * 3
    assert frame["prompt"].to_list()[:2] == ["What is on shelf shelf 0?", "Describe clip 0. Briefly."]
    assert nights.terminal("verify", told["run_id"], "--out", "out").code == 0


def test_a_pattern_in_quotes_stands_for_all_files_that_match(nights):
    for place, half in enumerate((rows_of(6)[:3], rows_of(6)[3:])):
        with (nights.terminal.folder / f"part-{place}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("id", "video_url", "prompt", "shelf"), *half])
    command = ("run", "part-*.csv", "--out", "out", "--base-url", nights.api.base_url, "--yes", "--json")
    told = nights.terminal(*command)
    assert (told.code, orjson.loads(told.out)["requests"]) == (0, 6)
    nothing = nights.terminal("run", "nothing-*.csv", "--out", "out", "--yes")
    assert (nothing.code, "no file matches nothing-*.csv" in nothing.err) == (2, True)
