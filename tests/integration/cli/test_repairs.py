"""Answers that are asked for again, and the bill: failures, repairs and answers in doubt, token by token."""

import csv
import sys
from collections import Counter

import orjson
import pyarrow.parquet as pq
import pytest

ROWS = 150
SCHEMA = {
    "type": "object",
    "properties": {
        "digest": {"type": "string"},
        "kind": {"enum": ["indoor", "outdoor"]},
        "people": {"type": "integer"},
    },
    "required": ["digest", "kind", "people"],
}
KINDS = ("prompt_tokens", "completion_tokens", "reasoning_tokens", "audio_tokens", "video_tokens")


@pytest.fixture
def done(terminal, simulator, tmp_path):
    """OUT with a run in which everything goes wrong now and then, and the books of the API."""
    api = simulator(
        seed=11,
        latency="0.2s",
        invalid_answers=0.12,
        stubborn_answers=0.3,
        truncated_answers=0.08,
        refused_answers=0.04,
        empty_answers=0.04,
        fail_rate=0.06,
        error_after_rate=0.05,
        error_before_rate=0.02,
    )
    rows = [(f"v{i}", f"https://videos.example/{i}.mp4", i % 2) for i in range(ROWS)]
    with (tmp_path / "videos.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "video_url", "reasoning"), *rows])
    (tmp_path / "labels.json").write_bytes(orjson.dumps(SCHEMA))
    asked = ("run", "videos.csv", "--schema", "labels.json", "--prompt", "What is there?", "--repair", "1")
    ended = terminal(*asked, "--out", "out", "--base-url", api.base_url, "--yes")
    assert ended.code in {0, 1}, ended.err
    return tmp_path / "out", api


def read(pattern, out):
    return [row for path in sorted(out.glob(pattern)) for row in pq.ParquetFile(path).read().to_pylist()]


def receipt_of(out):
    return orjson.loads(next(out.glob("runs/*/receipt.json")).read_bytes())


def test_repairs_mend_what_can_be_mended_and_the_bill_is_the_apis(done, terminal):
    out, api = done
    rows, books = read("annotations/**/*.parquet", out), {post["id"]: post for post in api.posts()}
    assert Counter(row["row_id"] for row in rows) == Counter(f"v{i}" for i in range(ROWS))
    every_answer_is_the_best_that_came(rows)
    the_usage_table_is_the_bill(out, rows, books)
    sys.stdout.write(figures(rows, books, receipt_of(out)))
    verified = terminal("verify", next(out.glob("runs/2*")).name, "--out", "out")
    assert verified.code == 0, verified.err
    rows_are_asked_again_by_their_answer(out, rows, api, terminal)


def figures(rows, books, receipt):
    """For whoever runs the tests with `-rP` or `-s`."""
    entries = Counter((one["outcome"], one["answer_status"] or "") for row in rows for one in row["attempt_log"])
    known = {one["generation_id"] for row in rows for one in row["attempt_log"]}
    unknown = [post for post in books.values() if post["id"] not in known]
    told = ", ".join(f"{count} {' '.join(filter(None, what))}" for what, count in sorted(entries.items()))
    worst = receipt["possible_duplicates"]["worst_case_cost"]
    bound = f"{len(unknown)} of unknown id cost {sum(post['cost'] for post in unknown):.4f}, bounded by {worst:.4f}"
    return f"{len(books)} generations, attempts: {told}; usage {receipt['usage']}; {bound}\n"


def every_answer_is_the_best_that_came(rows):
    worth = ("empty", "refused", "truncated", "invalid", "ok")
    repaired = [row for row in rows if sum(one["answer_status"] is not None for one in row["attempt_log"]) > 1]
    assert repaired
    assert any(row["answer_status"] == "ok" for row in repaired)
    assert any(row["answer_status"] == "invalid" for row in repaired), "some are stubborn"
    for row in rows:
        assert row["attempts"] == len(row["attempt_log"])
        kept = [one for one in row["attempt_log"] if one["generation_id"] == row["generation_id"]]
        if row["outcome"] != "completed":
            assert not any(one["answer_status"] for one in row["attempt_log"]), "an answer was lost"
            continue
        [own] = kept
        assert (own["content"], own["answer_status"]) == (None, row["answer_status"])
        others = [one for one in row["attempt_log"] if one["answer_status"] and one is not own]
        assert all(worth.index(one["answer_status"]) <= worth.index(row["answer_status"]) for one in others)
        assert all(one["content"] for one in others if one["answer_status"] == "invalid")
    cut = [row for row in rows if any(one["answer_status"] == "truncated" for one in row["attempt_log"])]
    assert cut
    assert {row["answer_status"] for row in cut if len(row["attempt_log"]) > 1} >= {"ok"}, "a larger cap helped"


def the_usage_table_is_the_bill(out, rows, books):
    usage, log = read("usage/*.parquet", out), [one for row in rows for one in row["attempt_log"]]
    known = {one["generation_id"] for one in log if one["generation_id"]}
    learned = [post for post in books.values() if post["id"] in known]
    unknown = [post for post in books.values() if post["id"] not in known]
    assert len(known) == sum(one["generation_id"] is not None for one in log) == len(learned)
    for kind in KINDS:
        billed = sum(post[kind] for post in learned)
        assert sum(line[kind] or 0 for line in usage) == billed > 0, kind
    assert sum(line["cached_tokens"] or 0 for line in usage) == 0
    for name in ("cost", "cost_told", "cost_at_price"):
        assert sum(line[name] or 0 for line in usage) == pytest.approx(sum(post["cost"] for post in learned)), name
    assert unknown, "some answers were lost"
    assert not any(post["answered"] for post in unknown)
    receipt = receipt_of(out)
    assert len(unknown) <= receipt["possible_duplicates"]["posts"]
    assert sum(post["cost"] for post in unknown) <= 1.05 * receipt["possible_duplicates"]["worst_case_cost"]
    assert receipt["posts"] == len(log) == sum(line["attempts"] for line in usage)
    assert sum(line["rows"] for line in usage) == ROWS
    done = orjson.loads(next(out.glob("runs/*/done.json")).read_bytes())
    assert (
        done["prompt_tokens"] == receipt["usage"]["prompt_tokens"] == sum(line["prompt_tokens"] or 0 for line in usage)
    )


def rows_are_asked_again_by_their_answer(out, rows, api, terminal):
    refused = [row["row_index"] for row in rows if row["answer_status"] == "refused"]
    assert refused
    before = len(api.posts())
    api.set(fail_rate=0.0, error_after_rate=0.0, error_before_rate=0.0)
    run_id = next(out.glob("runs/2*")).name
    again = terminal("retry", run_id, "--out", "out", "--answer", "refused", "--yes")
    assert again.code == 0, again.err
    assert len(api.posts()) - before == len(refused)
    retried = [row for row in read("annotations/**/*.parquet", out) if row["row_index"] in refused]
    assert len(retried) == 2 * len(refused)
