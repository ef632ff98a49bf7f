"""Before a cent is spent: bad rows are named, and what can't be used ends with one sentence."""

import csv
import os
import pty
import subprocess
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

MANIFESTS = Path(__file__).parents[3] / "manifests"


@pytest.fixture
def offline(alone):
    """A terminal whose commands are to leave nothing behind and to reach nobody."""
    yield alone
    state = Path(alone.environment["VIDBATCH_STATE"])
    assert not list(state.iterdir()), "a plan started something"


def expected_faults():
    """By row of the example: the field that its `expect` column names."""
    with (MANIFESTS / "bad-rows.csv").open(newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.DictReader(file))
    return {row["id"]: row["expect"] for row in rows if row["expect"] not in ("a request", None)}


def test_every_kind_of_bad_row_is_named_and_the_good_rows_run(terminal, simulator):
    api = simulator(latency="0.1s")
    ran = terminal("run", MANIFESTS / "bad-rows.csv", "--out", "out", "--base-url", api.base_url, "--yes", "--json")
    assert ran.code == 1, ran.err
    told = orjson.loads(ran.out)
    assert told["outcomes"]["completed"] == told["requests"] == api.summary()["posts_accepted"]
    assert told["rows"] == told["requests"] + told["rejections"]
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


def test_strict_stops_at_the_first_bad_row_with_one_sentence(offline):
    refused = offline("run", MANIFESTS / "bad-rows.csv", "--out", "out", "--yes", "--strict")
    assert refused.code == 2
    assert "line 3, field video_url" in refused.err
    assert len(refused.err.splitlines()) == 1
    assert not list((offline.folder / "out" / "runs").glob("2*")), "no plan is left behind"


def test_a_manifest_that_cannot_be_read_is_one_sentence(offline):
    (offline.folder / "broken.parquet").write_bytes(b"PAR1 this is none")
    (offline.folder / "odd.xlsx").write_bytes(b"PK")
    (offline.folder / "broken.csv.gz").write_bytes(b"not gzip")
    for name in ("absent.csv", "broken.parquet", "odd.xlsx", "broken.csv.gz"):
        refused = offline("plan", name)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.startswith("vidbatch: ")
        assert name in refused.err
        assert len(refused.err.splitlines()) == 1, refused.err


def test_a_plan_spends_nothing_leaves_nothing_behind_and_speaks_json(offline, manifest):
    videos = manifest(30).path
    before = sorted(offline.folder.glob("**/*.parquet"))
    planned = offline("plan", videos, "--limit", "7", "--json", VIDBATCH_API_KEY=None)
    assert planned.code == 0
    told = orjson.loads(planned.out)
    assert (told["rows"], told["requests"], told["rejections"]) == (7, 7, 0)
    assert planned.err == ""
    assert sorted(offline.folder.glob("**/*.parquet")) == before
    told_of_bad = offline("plan", MANIFESTS / "bad-rows.jsonl")
    assert told_of_bad.code == 1
    assert "bad-rows.jsonl, line 2" in told_of_bad.out


def test_nobody_there_to_confirm_is_a_usage_error_and_the_same_command_asks_again(offline, manifest):
    command = ("run", manifest(5).path, "--out", "out", "--base-url", "http://127.0.0.1:9")
    for _ in range(2):
        asked = offline(*command)
        assert asked.code == 2
        assert "--yes" in asked.err
        assert "5 requests" in asked.err
    other = offline(*command, "--prompt", "Something else", "--limit", "2")
    assert "2 requests" in other.err, "a plan of which nothing was sent gives way"


def test_a_person_who_says_no_has_sent_nothing_and_is_asked_again(offline, manifest):
    command = [str(Path(os.sys.executable).parent / "vidbatch"), "run", str(manifest(5).path), "--out", "out"]
    for _ in range(2):
        ours, theirs = pty.openpty()
        typed = subprocess.Popen(
            command, env=offline.environment, cwd=offline.folder, stdin=theirs, stdout=theirs, stderr=theirs
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


def test_without_a_key_nothing_is_sent_and_the_plan_is_kept(offline, manifest):
    command = ("run", manifest(5).path, "--out", "out", "--base-url", "http://127.0.0.1:9", "--yes")
    stopped = offline(*command, VIDBATCH_API_KEY=None)
    assert stopped.code == 4
    assert "set VIDBATCH_API_KEY" in stopped.err
    assert len(list((offline.folder / "out" / "runs").glob("2*/requests.parquet"))) == 1


def test_a_key_in_the_settings_file_is_refused(offline, manifest):
    (offline.folder / "vidbatch.toml").write_text('api_key = "sk-never"\n')
    refused = offline("plan", manifest(2).path)
    assert refused.code == 2
    assert "never read from this file" in refused.err
    assert "sk-never" not in refused.err


def test_what_is_typed_wrong_ends_with_2_and_no_traceback(offline, manifest):
    videos = manifest(2).path
    (offline.folder / "out-file").write_text("a file")
    for words, told in (
        (("run", videos, "--out", "out", "--poll", "sometimes"), "sometimes"),
        (("run", videos, "--out", "out", "--base-url", "ftp://x", "--yes"), "ftp://x"),
        (("run", videos, "--out", "out", "--detach"), "--redis"),
        (("run", videos), "--out"),
        (("plan", videos, "--temperature", "7"), "temperature"),
        (("dance",), "dance"),
    ):
        refused = offline(*words)
        assert refused.code == 2, (words, refused)
        assert told in refused.err
