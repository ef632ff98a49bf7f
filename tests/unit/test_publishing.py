"""Parts become the dataset: each row once, whatever crashed between."""

from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from pipeline.core.columns import NAMES
from pipeline.edges import annotations_file
from pipeline.edges.run_folder import LocalRunFolder

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path):
    made = LocalRunFolder(tmp_path, "run-1")
    made.describe({"carried": {"shelf": "shelf"}})
    return made


def rows_of(*indexes, outcome="completed", **values):
    common = {"model": "m", "finished_at": AT, "outcome": outcome, "attempts": 1, "possible_duplicate": False}
    return [{"row_index": index, "row_id": str(index), **common, **values} for index in indexes]


def write(folder, epoch, start, *indexes, **values):
    folder.write_part(epoch, start, start + len(indexes), rows_of(*indexes, **values))


def published(folder):
    files = sorted(folder.published.glob("*"))
    assert all(path.name.startswith("part-") for path in files), files
    return [pq.read_table(path, partitioning=None)["row_index"].to_pylist() for path in files]


def test_parts_become_one_file_in_the_order_of_the_manifest(folder):
    write(folder, "e1", 0, 4, 2)
    write(folder, "e1", 2, 3, 0, 1)
    assert folder.publish().rows == 5
    assert published(folder) == [[0, 1, 2, 3, 4]]


def test_publishing_again_publishes_nothing_new(folder):
    write(folder, "e1", 0, 0, 1)
    first = folder.publish()
    [path] = folder.published.iterdir()
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    assert folder.publish() == first
    assert [(one.read_bytes(), one.stat().st_mtime_ns) for one in folder.published.iterdir()] == [before]


def test_what_came_after_a_publishing_is_one_more_file(folder):
    write(folder, "e1", 0, 0, 1)
    folder.publish()
    write(folder, "e1", 2, 2)
    assert folder.publish().rows == 3
    assert published(folder) == [[0, 1], [2]]


def test_a_row_that_stands_in_the_parts_of_two_ledgers_is_published_once(folder):
    write(folder, "e1", 0, 0, 1, 2)
    write(folder, "e2", 0, 2, 3)
    assert folder.publish().rows == 4
    assert published(folder) == [[0, 1, 2, 3]]


def test_a_row_that_was_published_before_its_second_part_came_is_published_once(folder):
    write(folder, "e1", 0, 0, 1)
    folder.publish()
    write(folder, "e2", 0, 1, 2)
    assert folder.publish().rows == 3
    assert published(folder) == [[0, 1], [2]]
    assert folder.publish().rows == 3
    assert published(folder) == [[0, 1], [2]]


def test_a_large_runs_rows_are_published_once_as_well(folder, monkeypatch):
    monkeypatch.setattr(annotations_file, "SORTED_AT_ONCE", 1)
    write(folder, "e1", 0, 0, 2)
    write(folder, "e2", 0, 2, 1)
    assert folder.publish().rows == 3
    assert sorted(published(folder)[0]) == [0, 1, 2]


def test_a_part_that_is_written_again_replaces_itself(folder):
    write(folder, "e1", 0, 0, 1, outcome="failed")
    write(folder, "e1", 0, 0, 1)
    totals = folder.publish()
    assert (totals.rows, totals.outcomes) == (2, {"completed": 2})


def test_a_crash_between_the_rename_and_the_done_marker_leaves_the_same_work_and_the_same_file(folder, monkeypatch):
    write(folder, "e1", 0, 0, 1)

    def crash(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(annotations_file, "write_usage", crash)
        with pytest.raises(RuntimeError, match="killed"):
            folder.publish()
    assert published(folder) == [[0, 1]]
    assert folder.summary() is None
    totals = folder.publish()
    folder.finish({"rows": totals.rows})
    assert published(folder) == [[0, 1]]
    assert folder.summary() == {"rows": 2}


def test_a_crash_before_the_rename_shows_no_reader_anything(folder, monkeypatch):
    write(folder, "e1", 0, 0, 1)

    def crash(*_, **__):
        raise RuntimeError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(annotations_file.pq.ParquetWriter, "write_table", crash)
        with pytest.raises(RuntimeError, match="killed"):
            folder.publish()
    assert published(folder) == []
    assert folder.publish().rows == 2


def test_what_a_killed_writer_left_behind_is_no_part(folder):
    write(folder, "e1", 0, 0)
    part = next((folder.path / "parts").iterdir())
    (part.parent / f".{part.name}.0123.tmp").write_bytes(b"half")
    assert folder.publish().rows == 1
    assert folder.ended_rows() == [(0, "completed")]


def test_the_parts_go_once_the_marker_stands_and_the_rows_stay(folder):
    write(folder, "e1", 0, 0, 1)
    folder.publish()
    folder.finish({})
    assert list((folder.path / "parts").iterdir()) == []
    assert folder.publish().rows == 2
    assert folder.ended_rows() == [(0, "completed"), (1, "completed")]


def test_an_empty_run_publishes_an_empty_file_that_can_be_read(folder):
    totals = folder.publish()
    assert (totals.rows, totals.outcomes, totals.cost, totals.prompt_tokens) == (0, {}, None, 0)
    [path] = folder.published.iterdir()
    table = pq.read_table(path, partitioning=None)
    assert len(table) == 0
    assert set(table.column_names) == {*NAMES, "shelf"}
    assert len(pq.read_table(folder.out / "usage" / "run=run-1.parquet", partitioning=None)) == 0
    assert folder.publish() == totals
    assert len(list(folder.published.iterdir())) == 1


def test_every_file_has_every_column_nulls_included(folder):
    write(folder, "e1", 0, 0)
    folder.publish()
    [path] = folder.published.iterdir()
    schema = pq.read_schema(path)
    assert {*schema.names} == {*NAMES, "shelf"}
    assert "null" not in {str(field.type) for field in schema}


def test_the_sums_are_those_of_the_published_rows(folder):
    write(folder, "e1", 0, 0, 1, prompt_tokens=10, completion_tokens=2, cost=0.5)
    write(folder, "e1", 2, 2, outcome="failed", possible_duplicate=True)
    totals = folder.publish()
    assert (totals.rows, totals.outcomes, totals.possible_duplicates) == (3, {"completed": 2, "failed": 1}, 1)
    assert (totals.prompt_tokens, totals.completion_tokens, totals.cost) == (20, 4, 1.0)
    usage = pq.read_table(folder.out / "usage" / "run=run-1.parquet", partitioning=None).to_pylist()
    assert [(row["outcome"], row["rows"], row["prompt_tokens"]) for row in usage] == [
        ("completed", 2, 20),
        ("failed", 1, None),
    ]
