"""Rows of two runs are matched by what they are called; rows that a run reused count as its own."""

import pyarrow as pa
import pytest

from pipeline.edges import annotations_file
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.run_pairs import pairs_of


@pytest.fixture
def out(tmp_path):
    return OutFolder(tmp_path / "out")


def row(index, row_id=None, **more):
    told = {"row_index": index, "row_id": row_id or f"v{index}", "outcome": "completed", "content": f"text {index}"}
    return {**told, "video_urls": [f"https://videos.example/{index}.mp4"], "cost": 1.0, **more}


def run(out, name, rows, **more):
    """A finished run with these annotations."""
    folder = out.run(name)
    folder.describe({"run_id": name, "carried": {}, "rows": len(rows), "requests": len(rows), "rejections": 0, **more})
    schema = folder._schema()
    tables = [annotations_file.table_of(rows, schema)]
    annotations_file.write_part(folder.published / "part-00000.parquet", schema, tables)
    folder.finish({"run_id": name})
    return folder


def reuses(folder, *rows):
    """Let a run have reused rows: their own index and id, and the run and index that answered them."""
    names = ("row_index", "row_id", "prompt_name", "answered_run", "answered_index")
    table = pa.table({name: [row[place] for row in rows] for place, name in enumerate(names)})
    annotations_file.pq.write_table(table, folder.path / "reused.parquet")


def pairs(out, a, b):
    with pairs_of(out, a, b) as found:
        return list(found)


def test_rows_are_matched_by_id_in_the_order_of_the_manifest(out):
    a = run(out, "a", [row(0, "x"), row(1, "y"), row(2, "only a")])
    b = run(out, "b", [row(0, "y"), row(1, "x"), row(5, "only b")])
    found = pairs(out, a, b)
    assert [(one.row_id, one.a is None, one.b is None) for one in found] == [
        ("x", False, False),
        ("y", False, False),
        ("only a", False, True),
        ("only b", True, False),
    ]
    assert (found[0].a.content, found[0].b.content) == ("text 0", "text 1")


def test_prompts_are_matched_by_name_where_both_runs_name_them(out):
    both = [row(0, "x", prompt_name="short"), row(1, "x", prompt_name="long")]
    a, b = run(out, "a", both), run(out, "b", [both[1]])
    assert [(one.prompt_name, one.b is None) for one in pairs(out, a, b)] == [("short", True), ("long", False)]
    single = run(out, "c", [row(0, "x")])
    assert [(one.prompt_name, one.b is None) for one in pairs(out, a, single)] == [("short", False), ("long", False)]


def test_a_reused_row_has_the_answer_of_the_run_that_answered_it_under_its_own_name(out):
    a = run(out, "a", [row(0, "x"), row(1, "y")])
    b = run(out, "b", [row(1, "new")])
    reuses(b, (0, "renamed", None, "a", 1))
    told = {one.row_id: one.b for one in pairs(out, a, b)}
    assert told["renamed"].content == "text 1"
    assert told["new"].content == "text 1"
    assert (told["x"], told["y"]) == (None, None)


def test_what_was_billed_for_a_row_is_that_of_all_its_attempts(out):
    log = [{"cost": 1.0, "prompt_tokens": 7}, {"cost": 2.5, "prompt_tokens": None}]
    a = run(out, "a", [row(0, attempt_log=log, prompt_tokens=7), row(1, attempt_log=[])])
    b = run(out, "b", [row(1)])
    reuses(b, (0, "v0", None, "a", 0))
    told = {one.row_id: (one.a.cost, one.a.prompt_tokens, one.b.cost) for one in pairs(out, a, b)}
    assert told == {"v0": (3.5, 7, 3.5), "v1": (1.0, None, 1.0)}


def test_a_run_that_reused_all_rows_is_compared_like_any_other(out):
    a, b = run(out, "a", [row(0), row(1)]), run(out, "b", [])
    reuses(b, (0, "v0", None, "a", 0), (1, "v1", None, "a", 1))
    assert all(one.a == one.b for one in pairs(out, a, b))
