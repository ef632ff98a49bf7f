"""Whole runs in each mode: the same manifest, the same dataset, every answer paid for once."""

import csv

import orjson
import pyarrow.parquet as pq
import pytest

from pipeline.core.policy import MODES
from pipeline.simulator.digest import digest

ROWS = 40
PROMPT = "What is there?"


@pytest.fixture
def manifest(tmp_path):
    rows = [(f"v{i}", f"https://videos.example/{i}.mp4") for i in range(ROWS)]
    with (tmp_path / "videos.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "video_url"), *rows])
    return dict(rows)


def read(out):
    return [
        row for path in sorted(out.glob("annotations/**/*.parquet")) for row in pq.ParquetFile(path).read().to_pylist()
    ]


def asked(api, mode, *more):
    told = ("--prompt", PROMPT, "--reasoning", "--base-url", api.base_url, "--yes", "--mode", mode)
    return ("run", "videos.csv", "--out", f"out-{mode}", *told, *more)


@pytest.mark.parametrize(
    "mode", [*[pytest.param(mode, marks=pytest.mark.slow) for mode in MODES if mode != "stream"], "stream"]
)
def test_every_mode_gives_the_same_dataset(terminal, simulator, manifest, tmp_path, mode):
    api = simulator(seed=5, latency="0.3s", stream_usage="extra")
    ended = terminal(*asked(api, mode))
    assert ended.code == 0, ended.err
    rows, books = read(tmp_path / f"out-{mode}"), api.posts()
    assert {row["row_id"]: row["content"].rpartition("digest: ")[2] for row in rows} == {
        name: digest([url.encode()], PROMPT) for name, url in manifest.items()
    }
    assert len(books) == ROWS == len(rows)
    assert sum(row["prompt_tokens"] + row["completion_tokens"] for row in rows) == sum(
        post["prompt_tokens"] + post["completion_tokens"] for post in books
    )
    odd = [row for row in rows if not row["reasoning"] or row["possible_duplicate"] or row["attempts"] != 1]
    assert not odd, [(row["row_id"], row["reasoning"], row["polls"], row["attempt_log"]) for row in odd]
    assert len({row["generation_id"] for row in rows}) == ROWS
    verified = terminal("verify", next((tmp_path / f"out-{mode}").glob("runs/2*")).name, "--out", f"out-{mode}")
    assert verified.code == 0, verified.err


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES[1:])
def test_what_goes_wrong_in_a_mode_costs_what_it_must_and_is_told(terminal, simulator, manifest, tmp_path, mode):
    api = simulator(
        seed=5,
        latency="0.2s",
        fail_rate=0.1,
        submit_throttle_rate=0.1,
        error_after_rate=0.05,
        hangup_before_rate=0.05,
        stream_cut_rate=0.2,
        truncated_answers=0.1,
        stream_usage="extra",
    )
    ended = terminal(*asked(api, mode, "--repair", "1"))
    assert ended.code in {0, 1}, ended.err
    out = tmp_path / f"out-{mode}"
    rows, books = read(out), api.posts()
    assert sorted(row["row_id"] for row in rows) == sorted(manifest)
    completed = [row for row in rows if row["outcome"] == "completed"]
    assert len(completed) >= 0.9 * ROWS
    for row in completed:
        if row["answer_status"] == "ok":
            assert row["content"].endswith(digest([manifest[row["row_id"]].encode()], PROMPT))
    # whatever was billed stands in a log, or was owned up to
    logged = sum(len(row["attempt_log"]) for row in rows)
    assert len(books) <= logged
    surplus = {row["row_id"] for row in rows if row["possible_duplicate"]}
    unknown = [one for row in rows for one in row["attempt_log"] if one["outcome"] == "unknown"]
    assert {row["row_id"] for row in rows if any(one["outcome"] == "unknown" for one in row["attempt_log"])} <= surplus
    receipt = orjson.loads(next(out.glob("runs/*/receipt.json")).read_bytes())
    told = [post for post in books if post["answered"]]
    assert len(books) - len(told) <= len(unknown), receipt


def test_one_row_is_seen_as_it_is_written(terminal, simulator, manifest, tmp_path):
    api = simulator(seed=5, latency="4s")
    run = terminal.starts(*asked(api, "stream", "--limit", "3"))
    run.until(lambda: list(tmp_path.glob("out-stream/runs/*/begun")), "the run was begun")
    run_id = next(tmp_path.glob("out-stream/runs/*/begun")).parent.name
    seen = terminal("watch", run_id, "--follow", "v1")
    assert (seen.code, run.ends().code) == (0, 0), seen.err
    [row] = [row for row in read(tmp_path / "out-stream") if row["row_id"] == "v1"]
    assert seen.out == row["content"] + "\n"
    assert row["reasoning"] in seen.err
    assert f"is generation {row['generation_id']}" in seen.err
    wrong = terminal("watch", run_id, "--follow", "nobody")
    assert wrong.code == 2
