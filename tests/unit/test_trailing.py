"""What a dataset's newest answers took, read from files as they are published."""

import pytest

from pipeline.core.estimates import Range
from pipeline.edges.annotations_file import schema_of, table_of, write_part
from pipeline.edges.trailing import NEWEST_ROWS, trailing


def publish(out, run_id, rows, *, carried=(), part=0):
    folder = out / "annotations" / f"run={run_id}"
    folder.mkdir(parents=True, exist_ok=True)
    schema = schema_of(carried, run_id)
    write_part(folder / f"part-{part:05}.parquet", schema, [table_of(rows, schema)])


def row(model="m", prompt=1_000, completion=100, **cells):
    return {"model": model, "outcome": "completed", "prompt_tokens": prompt, "completion_tokens": completion, **cells}


def test_an_empty_out_tells_nothing(tmp_path):
    assert trailing(tmp_path, ["m"]) == {}
    publish(tmp_path, "1", [])
    assert trailing(tmp_path, ["m"]) == {}


def test_completed_rows_of_the_model_are_told_by_mean_and_quartiles(tmp_path):
    rows = [row(prompt=tokens, cost=tokens / 1e6) for tokens in (1_000, 2_000, 3_000, 4_000, 10_000)]
    rows += [{"model": "m", "outcome": "failed", "prompt_tokens": 10**9, "completion_tokens": 1}]
    rows += [{"model": "m", "outcome": "completed"}, row("other", 7)]
    publish(tmp_path, "1", rows)
    seen = trailing(tmp_path, ["m", "absent"])
    assert list(seen) == ["m"]
    assert seen["m"].rows == 5
    assert seen["m"].prompt_tokens == Range(2_000, 4_000, 4_000)
    assert seen["m"].cost is not None
    assert seen["m"].cost.likely == pytest.approx(0.004)
    assert seen["m"].a_second is None


def test_rows_without_a_known_cost_tell_their_tokens(tmp_path):
    publish(tmp_path, "1", [row()] * 9)
    assert trailing(tmp_path, ["m"])["m"].cost is None


def test_a_second_of_video_is_measured_where_rows_say_how_long_it_is(tmp_path):
    rows = [row(prompt=3_000, duration_s="10"), row(prompt=600, duration_s="2.0 ")] * 3
    rows += [row(prompt=10**8, duration_s=cell) for cell in (None, "", "long", "0", "-1")]
    publish(tmp_path, "1", rows, carried=["duration_s"])
    a_second = trailing(tmp_path, ["m"])["m"].a_second
    assert a_second == Range(300, 300, 300)


def test_the_newest_runs_rows_count_first(tmp_path):
    publish(tmp_path, "20260101", [row(prompt=1)] * 100)
    publish(tmp_path, "20260202", [row(prompt=5)] * (NEWEST_ROWS - 50))
    seen = trailing(tmp_path, ["m"])["m"]
    assert seen.rows == NEWEST_ROWS
    assert seen.prompt_tokens.likely == pytest.approx((5 * (NEWEST_ROWS - 50) + 50) / NEWEST_ROWS)


def test_a_model_that_is_rare_is_looked_for_in_older_runs_too(tmp_path):
    publish(tmp_path, "20260101", [row("rare", 9)] * 3)
    publish(tmp_path, "20260202", [row()] * 200)
    assert {model: one.rows for model, one in trailing(tmp_path, ["m", "rare"]).items()} == {"m": 200, "rare": 3}


def test_a_file_that_cannot_be_read_hides_no_other(tmp_path):
    publish(tmp_path, "1", [row()] * 6)
    (tmp_path / "annotations" / "run=1" / "part-00001.parquet").write_bytes(b"PAR1 this is none")
    assert trailing(tmp_path, ["m"])["m"].rows == 6
