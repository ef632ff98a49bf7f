"""Before a cent is spent: bad rows are named, and what can't be used ends with one sentence."""

import csv
import os
import pty
import subprocess
import sys
from pathlib import Path

import orjson
import pyarrow.parquet as pq

MANIFESTS = Path(__file__).parents[3] / "manifests"


def expected_faults():
    """By row of the example: the field that its `expect` column names."""
    with (MANIFESTS / "bad-rows.csv").open(newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.DictReader(file))
    return {row["id"]: row["expect"] for row in rows if row["expect"] not in ("a request", None)}


def test_every_kind_of_bad_row_is_named_and_the_good_rows_run(terminal, simulator):
    api = simulator(latency="0.1s", models="gemini-2.5-pro=10,gemini-2.5-flash=10")
    ran = terminal("run", MANIFESTS / "bad-rows.csv", "--out", "out", "--base-url", api.base_url, "--yes", "--json")
    assert ran.code == 1, ran.err
    told = orjson.loads(ran.out)
    assert told["outcomes"]["completed"] - told["duplicates"] == told["requests"] == api.summary()["posts_accepted"]
    assert told["rows"] == told["requests"] + told["duplicates"] + told["rejections"]
    [rejects] = (terminal.folder / "out" / "runs").glob("*/rejects.parquet")
    rejected = pq.read_table(rejects).to_pylist()
    assert len(rejected) == told["rejections"]
    by_id = {}
    for row in rejected:
        assert row["file"].endswith("bad-rows.csv")
        assert row["line"] > 1
        assert row["allowed"]
        cells = orjson.loads(row["row"]) if row["row"].startswith("{") else {}
        by_id.setdefault(cells.get("id"), set()).add(row["field"])
    wanted = expected_faults()
    assert {row_id: by_id[row_id] for row_id in wanted if row_id in by_id} == {
        row_id: {field} for row_id, field in wanted.items() if row_id in by_id
    }
    assert len(set(wanted) & set(by_id)) >= 25
    assert f"{told['rejections']} rejected" in ran.err or ran.err == ""


def test_strict_stops_at_the_first_bad_row_with_one_sentence(here, tmp_path):
    refused = here("run", MANIFESTS / "bad-rows.csv", "--out", "out", "--yes", "--strict")
    assert refused.code == 2
    assert "line 3, field video_url" in refused.err
    assert len(refused.err.splitlines()) == 1
    assert not list((tmp_path / "out" / "runs").glob("2*")), "no plan is left behind"


def test_a_manifest_that_cannot_be_read_is_one_sentence(here, tmp_path):
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 this is none")
    (tmp_path / "odd.xlsx").write_bytes(b"PK")
    (tmp_path / "broken.csv.gz").write_bytes(b"not gzip")
    for name in ("absent.csv", "broken.parquet", "odd.xlsx", "broken.csv.gz"):
        refused = here("plan", name)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.startswith("vidbatch: ")
        assert name in refused.err
        assert len(refused.err.splitlines()) == 1, refused.err


def test_a_plan_spends_nothing_leaves_nothing_behind_and_speaks_json(here, tmp_path, manifest):
    videos = manifest(30).path
    before = sorted(tmp_path.glob("**/*.parquet"))
    planned = here("plan", videos, "--limit", "7", "--json", VIDBATCH_API_KEY=None)
    assert planned.code == 0
    told = orjson.loads(planned.out)
    assert (told["rows"], told["requests"], told["rejections"]) == (7, 7, 0)
    assert planned.err == ""
    assert sorted(tmp_path.glob("**/*.parquet")) == before
    told_of_bad = here("plan", MANIFESTS / "bad-rows.jsonl")
    assert told_of_bad.code == 1
    assert "bad-rows.jsonl, line 2" in told_of_bad.out


def test_nobody_there_to_confirm_is_a_usage_error_and_the_same_command_asks_again(here, tmp_path, manifest):
    command = ("run", manifest(5).path, "--out", "out", "--base-url", "http://127.0.0.1:9")
    for _ in range(2):
        asked = here(*command)
        assert asked.code == 2
        assert "--yes" in asked.err
        assert "5 requests" in asked.err
    other = here(*command, "--prompt", "Something else", "--limit", "2")
    assert "2 requests" in other.err, "a plan of which nothing was sent gives way"


def test_a_person_who_says_no_has_sent_nothing_and_is_asked_again(alone, manifest):
    command = [str(Path(sys.executable).parent / "vidbatch"), "run", str(manifest(5).path), "--out", "out"]
    for _ in range(2):
        ours, theirs = pty.openpty()
        typed = subprocess.Popen(
            command, env=alone.environment, cwd=alone.folder, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        said = read_until(ours, b"[y/N]")
        os.write(ours, b"n\n")
        said += read_until(ours, None)
        os.close(ours)
        assert typed.wait(60) == 0
        assert b"Send 5 requests" in said
        assert b"nothing was sent" in said


def read_until(descriptor, word):
    """What a terminal shows until a word, or until its end."""
    said = b""
    while word is None or word not in said:
        try:
            got = os.read(descriptor, 65536)
        except OSError:  # the other side is gone
            return said
        if not got:
            return said
        said += got
    return said


def test_without_a_key_nothing_is_sent_and_the_plan_is_kept(here, tmp_path, manifest):
    command = ("run", manifest(5).path, "--out", "out", "--base-url", "http://127.0.0.1:9", "--yes")
    stopped = here(*command, VIDBATCH_API_KEY=None)
    assert stopped.code == 4
    assert "set VIDBATCH_API_KEY" in stopped.err
    assert len(list((tmp_path / "out" / "runs").glob("2*/requests.parquet"))) == 1


def test_a_key_in_the_settings_file_is_refused(here, tmp_path, manifest):
    (tmp_path / "vidbatch.toml").write_text('api_key = "sk-never"\n')
    refused = here("plan", manifest(2).path)
    assert refused.code == 2
    assert "never read from this file" in refused.err
    assert "sk-never" not in refused.err


def test_what_is_typed_wrong_ends_with_2_and_no_traceback(here, tmp_path, manifest):
    videos = manifest(2).path
    (tmp_path / "out-file").write_text("a file")
    for words, told in (
        (("run", videos, "--out", "out", "--poll", "sometimes"), "sometimes"),
        (("run", videos, "--out", "out", "--base-url", "ftp://x", "--yes"), "--base-url: The API"),
        (("run", videos, "--out", "out", "--detach"), "--redis"),
        (("run", videos), "--out"),
        (("plan", videos, "--temperature", "7"), "temperature"),
        (("dance",), "dance"),
    ):
        refused = here(*words)
        assert refused.code == 2, (words, refused)
        assert told in refused.err
