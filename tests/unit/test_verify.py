"""Whatever is changed in the files of a finished run, its receipt tells; and a run that nobody touched is verified."""

import asyncio
import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.core.budget import Budget
from pipeline.core.requests import Rejection, Request
from pipeline.edges import annotations_file
from pipeline.edges.requests_file import RejectsWriter, RequestsWriter
from pipeline.edges.run_folder import LocalRunFolder, range_name
from pipeline.flows.finalize import finalize
from pipeline.flows.verify import verify

RUN = "run-1"
AT = datetime(2026, 1, 1, tzinfo=UTC)
REJECTED = 2
ASKED = (0, 1, 3, 4, 5)


class NoLedger:
    async def snapshot(self, _):
        return None

    async def set_state(self, *_):
        """Nobody asks."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of six rows, one rejected, in two published files; one row may have been billed twice."""
    made = LocalRunFolder(tmp_path_factory.mktemp("finished"), RUN)
    made.path.mkdir(parents=True)
    made.describe({"run_id": RUN, "carried": {}, "rows": 6, "requests": 5, "rejections": 1, "manifests": ["a.csv"]})
    with RequestsWriter(made.path / "requests.parquet", {}) as requests:
        for index in ASKED:
            row = Request(index, str(index), index + 2, "m", "Describe.", ("https://videos.example/1.mp4",))
            requests.add(row, f"hash {index}")
    with RejectsWriter(made.path / "rejects.parquet") as rejects:
        rejects.add(Rejection("a.csv", REJECTED, 4, None, "prompt", "", "text", "{}"))
    made.save_ids("e1", 0, 5, [saved(index) for index in ASKED])
    write_rows(made, "e1", 0, [annotation(index) for index in (0, 1, 3)])
    made.publish()
    write_rows(made, "e1", 3, [annotation(4), annotation(5, lost=True)])
    end(made)
    assert verify(made).differences == ()
    return made.out


@pytest.fixture
def folder(finished, tmp_path):
    """Files of that run to be changed."""
    return LocalRunFolder(Path(shutil.copytree(finished, tmp_path / "out")), RUN)


def write_rows(folder, epoch, start, rows):
    """One part of these annotations, as a writer makes it."""
    schema = folder._schema()
    path = folder.path / "parts" / range_name(epoch, start, start + len(rows), "parquet")
    annotations_file.write_part(path, schema, [annotations_file.table_of(rows, schema)])


def annotation(index, *, lost=False):
    billed = {"prompt_tokens": 100 + index, "completion_tokens": 10, "cost": 0.25}
    log = [{"generation_id": None, "submitted_at": AT, "outcome": "unknown"}] if lost else []
    log.append({"generation_id": f"task-{index}", "submitted_at": AT, "outcome": "completed", **billed})
    return {
        "row_index": index,
        "row_id": str(index),
        "model": "m",
        "outcome": "completed",
        "finished_at": AT,
        "generation_id": f"task-{index}",
        "attempts": len(log),
        "attempt_log": log,
        "possible_duplicate": lost,
        **billed,
    }


def saved(index, generation_id=""):
    return orjson.dumps([index, generation_id or f"task-{index}", round(AT.timestamp() * 1_000_000), 1, 0])


def end(folder):
    run = SimpleNamespace(run_id=folder.run_id, total=folder.described()["requests"], double_ends=0, budget=Budget())
    asyncio.run(finalize(run, NoLedger(), folder))


def told(folder):
    """All differences, a line each."""
    return [str(one) for one in verify(folder).differences]


def part(folder, number=0):
    return folder.published / f"part-{number:05}.parquet"


def rewrite(path, change):
    """Write a file again with its table changed."""
    table = pq.read_table(path, partitioning=None)
    pq.write_table(change(table).cast(table.schema), path)


def replaced(table, name, values):
    place = table.column_names.index(name)
    return table.set_column(place, name, pa.array(values, table.schema.field(name).type))


def edit(path, **values):
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | values))


def test_the_receipt_adds_up(folder):
    receipt = folder.receipt()
    rows = receipt["rows"]
    ends = [count for end, count in rows.items() if end != "manifest"]
    assert rows == {
        "manifest": 6,
        "rejected": 1,
        "reused": 0,
        "completed": 5,
        "failed": 0,
        "refused": 0,
        "expired": 0,
        "unknown": 0,
        "cancelled": 0,
    }
    assert sum(ends) == rows["manifest"]
    assert [file["rows"] for file in receipt["annotations"]] == [3, 2]
    assert sum(file["billed"]["prompt_tokens"] for file in receipt["annotations"]) == receipt["usage"]["prompt_tokens"]
    told = {name: amount for name, amount in receipt["usage"].items() if amount is not None}
    assert told == {"prompt_tokens": 513, "completion_tokens": 50, "cost": 1.25}
    assert receipt["posts"] == 6
    assert receipt["possible_duplicates"] == {"rows": 1, "posts": 1, "worst_case_cost": 0.25}
    assert receipt["finished_at"] == AT.isoformat()
    assert folder.summary()["receipt"] == "runs/run-1/receipt.json"


def test_a_part_that_is_deleted_is_told(folder):
    part(folder).unlink()
    lines = told(folder)
    assert "annotations/run=run-1/part-00000.parquet: is not there or can't be read; the receipt says 3 rows" in lines
    assert "annotations/run=run-1: no annotation: row 0 and 2 more" in lines


def test_a_row_that_is_removed_is_told(folder):
    rewrite(part(folder), lambda table: table.filter(pc.not_equal(table["row_index"], 1)))
    lines = told(folder)
    assert "annotations/run=run-1/part-00000.parquet: rows 2, and the receipt says 3" in lines
    assert "annotations/run=run-1: no annotation: row 1" in lines


def test_a_row_that_stands_there_twice_is_told(folder):
    rewrite(part(folder), lambda table: pa.concat_tables([table, table.slice(0, 1)]))
    lines = told(folder)
    assert "annotations/run=run-1/part-00000.parquet: twice in the run's annotations: row 0" in lines
    assert "annotations/run=run-1/part-00000.parquet: rows 4, and the receipt says 3" in lines


def test_a_row_that_stands_in_two_files_is_told_though_the_number_of_rows_fits(folder):
    rewrite(part(folder, 1), lambda table: replaced(table, "row_index", [4, 3]))
    lines = told(folder)
    assert "annotations/run=run-1/part-00001.parquet: twice in the run's annotations: row 3" in lines
    assert "annotations/run=run-1: no annotation: row 5" in lines


def test_a_token_count_that_is_changed_is_told(folder):
    rewrite(part(folder), lambda table: replaced(table, "prompt_tokens", [100, 999, 103]))
    assert "annotations/run=run-1/part-00000.parquet: kept.prompt_tokens 1202, and the receipt says 304" in told(folder)


def test_a_token_count_that_is_changed_in_a_log_is_told_with_its_line_of_usage(folder):
    def change(table):
        logs = table["attempt_log"].to_pylist()
        logs[0][0]["completion_tokens"] = 1
        return replaced(table, "attempt_log", logs)

    rewrite(part(folder), change)
    assert (
        "usage/run=run-1.parquet: sums.completion_tokens of m 2026-01-01 completed 50, and the annotations have 41"
        in told(folder)
    )


def test_an_answer_that_is_changed_is_told_by_the_files_checksum(folder):
    rewrite(part(folder), lambda table: replaced(table, "content", ["another", None, None]))
    assert any(line.startswith("annotations/run=run-1/part-00000.parquet: sha256 ") for line in told(folder))


def test_a_rejects_file_that_is_edited_is_told(folder):
    rewrite(folder.path / "rejects.parquet", lambda table: replaced(table, "found", ["edited"]))
    lines = told(folder)
    assert any(line.startswith("runs/run-1/rejects.parquet: sha256 ") for line in lines)
    assert all(line.startswith("runs/run-1/rejects.parquet: ") for line in lines)


def test_a_rejection_that_is_removed_is_told(folder):
    rewrite(folder.path / "rejects.parquet", lambda table: table.slice(0, 0))
    lines = told(folder)
    assert "runs/run-1/rejects.parquet: rows 0, and the receipt says 1" in lines
    assert "runs/run-1/requests.parquet: in no file of the plan: row 2" in lines


def test_a_row_that_is_rejected_and_annotated_is_told(folder):
    rewrite(part(folder), lambda table: replaced(table, "row_index", [0, REJECTED, 3]))
    lines = told(folder)
    assert "annotations/run=run-1/part-00000.parquet: rejected before: row 2" in lines
    assert "annotations/run=run-1: no annotation: row 1" in lines


def test_a_row_that_nobody_asked_is_told(folder):
    rewrite(part(folder), lambda table: replaced(table, "row_index", [0, 77, 3]))
    assert "annotations/run=run-1/part-00000.parquet: never asked: row 77" in told(folder)


@pytest.mark.parametrize("index", [None, -1, 1 << 60])
def test_an_index_that_can_be_no_row_is_told(folder, index):
    rewrite(part(folder), lambda table: replaced(table, "row_index", [0, index, 3]))
    assert any("no valid index" in line for line in told(folder))


def test_another_file_among_the_runs_annotations_is_told(folder):
    pq.write_table(pq.read_table(part(folder), partitioning=None).slice(0, 0), folder.published / "more.parquet")
    assert told(folder) == ["annotations/run=run-1/more.parquet: 0 rows, and the receipt does not know the file"]


def test_a_file_that_can_not_be_read_is_told_and_the_others_are_compared_all_the_same(folder):
    part(folder).write_bytes(part(folder).read_bytes()[:-100])
    lines = told(folder)
    assert any(line.startswith("annotations/run=run-1/part-00000.parquet: can't be read: ") for line in lines)
    assert not any("part-00001" in line for line in lines)


def test_a_file_without_a_column_that_is_summed_is_told(folder):
    table = pq.read_table(part(folder), partitioning=None)
    pq.write_table(table.drop_columns(["attempt_log"]), part(folder))
    assert any("part-00000.parquet: can't be read: " in line for line in told(folder))


def test_a_usage_table_that_is_changed_is_told(folder):
    rewrite(folder.usage_path, lambda table: replaced(table, "cost", [1.0]))
    lines = told(folder)
    assert "usage/run=run-1.parquet: sums.cost of m 2026-01-01 completed 1.0, and the annotations have 1.25" in lines
    assert "runs/run-1/receipt.json: usage.cost is 1.25, and the files say 1.0" in lines


def test_a_line_of_usage_that_is_removed_is_told(folder):
    rewrite(folder.usage_path, lambda table: table.slice(0, 0))
    assert "usage/run=run-1.parquet: the line m 2026-01-01 completed is not there" in told(folder)


def test_a_usage_table_that_is_gone_is_told(folder):
    folder.usage_path.unlink()
    assert any(line.startswith("usage/run=run-1.parquet: can't be read") for line in told(folder))


@pytest.mark.parametrize(
    "change",
    [
        {"posts": 5},
        {"usage": {"prompt_tokens": 1, "completion_tokens": 50, "cost": 1.25}},
        {"possible_duplicates": {"rows": 0, "posts": 0, "worst_case_cost": 0.0}},
        {"double_ends": 1},
        {"created_at": "2020-01-01"},
        {"finished_at": "2020-01-01"},
        {"manifests": []},
        {"rows": {}},
        {"run_id": "run-2"},
        {"more": 1},
        {"ids_without_a_row": 1},
        {"annotations": []},
        {"annotations": None, "requests": "?", "usage": 3, "rows": [], "double_ends": None},
    ],
)
def test_a_receipt_that_is_edited_is_told(folder, change):
    edit(folder.receipt_path, **change)
    assert told(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"7", b"{"])
def test_a_receipt_that_is_none_is_told(folder, content):
    folder.receipt_path.write_bytes(content)
    assert told(folder)


def test_a_receipt_that_is_gone_is_told(folder):
    folder.receipt_path.unlink()
    assert told(folder) == ["runs/run-1/receipt.json: is not there"]


def test_a_run_without_its_marker_is_not_finished(folder):
    folder.done_path.unlink()
    assert told(folder) == ["runs/run-1/done.json: is not there: the run is not finished, or lost it"]


@pytest.mark.parametrize(
    ("name", "value", "held"),
    [
        ("run_id", "run-2", "run-1"),
        ("requests", 6, 5),
        ("prompt_tokens", 512, 513),
        ("completion_tokens", None, 50),
        ("cost", 1.0, 1.25),
        ("cost", None, 1.25),
        ("possible_duplicates", 0, 1),
        ("double_ends", 1, 0),
        ("receipt", "elsewhere.json", "runs/run-1/receipt.json"),
        ("more", 1, None),
    ],
)
def test_a_marker_that_is_edited_is_told(folder, name, value, held):
    edit(folder.done_path, **{name: value})
    assert told(folder) == [f"runs/run-1/done.json: {name} is {value}, and the files say {held}"]


def test_an_outcome_that_is_edited_in_the_marker_is_told(folder):
    edit(folder.done_path, outcomes={"completed": 4, "failed": 1})
    assert "runs/run-1/done.json: outcomes.completed is 4, and the files say 5" in told(folder)


def test_a_receipt_that_forgets_a_file_of_ids_is_told_by_the_marker(folder):
    edit(folder.receipt_path, sent=[])
    [line] = told(folder)
    assert line.startswith("runs/run-1/done.json: receipt_sha256 is ")


def test_a_file_of_ids_that_is_deleted_is_told(folder):
    [file] = (folder.path / "sent").iterdir()
    file.unlink()
    name = f"runs/run-1/sent/{file.name}"
    assert told(folder) == [f"{name}: is not there or can't be read; the receipt says 5 rows"]


def test_a_file_of_ids_that_is_edited_is_told(folder):
    folder.save_ids("e1", 0, 5, [saved(index) for index in ASKED[:4]] + [saved(5, "task-x")])
    assert any(line.startswith("runs/run-1/sent/part-e1-") and ": sha256 " in line for line in told(folder))
    assert "runs/run-1/receipt.json: ids_without_a_row is 0, and the files say 1" in told(folder)


def test_a_request_that_is_removed_is_told(folder):
    rewrite(folder.path / "requests.parquet", lambda table: table.slice(1))
    lines = told(folder)
    assert "runs/run-1/requests.parquet: rows 4, and the receipt says 5" in lines
    assert "annotations/run=run-1/part-00000.parquet: never asked: row 0" in lines


def test_an_id_that_was_paid_for_and_that_came_after_the_end_is_news_and_no_difference(folder):
    line = b'{"late":[4,"task-late",1767225600000000,2,0],"e":null}'
    folder.save_ids("e2", 0, 3, [saved(4), line, line])
    assert told(folder) == []
    assert verify(folder).news == ("1 ids came after the run was done; they are in sent/, and no row has them",)


def test_an_id_that_its_row_has_is_no_news_wherever_it_is_saved_again(folder):
    folder.save_ids("e0", 0, 1, [saved(4)])
    assert (told(folder), verify(folder).news) == ([], ())


def test_a_run_that_an_older_version_finished_says_so_and_its_rows_are_compared(folder):
    folder.receipt_path.unlink()
    old = {name: value for name, value in folder.summary().items() if not name.startswith("receipt")}
    folder.done_path.write_bytes(orjson.dumps({**old, "prompt_tokens": 1}))
    verdict = verify(folder)
    assert verdict.differences == ()
    assert "an older version of vidbatch finished it and gave no receipt" in verdict.news[0]
    part(folder).unlink()
    assert "annotations/run=run-1: no annotation: row 0 and 2 more" in told(folder)
    assert "runs/run-1/done.json: outcomes.completed is 5, and the files say 2" in told(folder)


def test_a_run_that_lost_both_files_that_tell_its_end_is_finished_all_the_same(folder):
    folder.done_path.unlink()
    folder.receipt_path.unlink()
    assert folder.finished


def test_a_run_that_is_under_way_is_not_finished_though_it_published(folder):
    folder.done_path.unlink()
    write_rows(folder, "e1", 0, [annotation(index) for index in (0, 1, 3)])
    assert (folder.finished, folder.has_results) == (False, True)


def test_a_file_of_ids_that_is_broken_is_told(folder):
    folder.save_ids("e2", 0, 1, [b"[4,"])
    [line] = told(folder)
    assert "holds a line that is no accepted id" in line


def test_a_run_of_some_rows_of_a_manifest_is_verified_as_well(tmp_path):
    made = LocalRunFolder(tmp_path, "run-2")
    made.path.mkdir(parents=True)
    partial = {"run_id": "run-2", "carried": {}, "retry_of": RUN, "rows": 1, "requests": 1, "rejections": 0}
    made.describe(partial)
    with RequestsWriter(made.path / "requests.parquet", {}) as requests:
        requests.add(Request(900, "900", 902, "m", "Describe.", ("https://videos.example/1.mp4",)), "hash")
    write_rows(made, "e1", 0, [annotation(900)])
    end(made)
    assert told(made) == []
