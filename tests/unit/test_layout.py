"""Files of the dataset are laid out so that readers skip what they do not look for."""

from datetime import UTC, datetime
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.shapes import shape_of
from pipeline.edges import annotations_file, layout, merging
from pipeline.edges.answer_column import answer_type, shape_metadata
from pipeline.edges.run_folder import LocalRunFolder, range_name

AT = datetime(2026, 1, 1, tzinfo=UTC)
ROWS, GROUP = 400, 100
IDS = [uuid4().hex for _ in range(ROWS)]


@pytest.fixture
def published(tmp_path, monkeypatch):
    """One file of four row groups; ids have no order."""
    monkeypatch.setattr(merging, "STRETCH_ROWS", GROUP)
    folder = LocalRunFolder(tmp_path, "run-1")
    folder.describe({"carried": {"shelf": "shelf"}})
    schema = folder._schema()
    log = [{"generation_id": "task", "outcome": "completed"}]
    rows = [
        {
            "row_index": index,
            "row_id": IDS[index],
            "request_hash": IDS[index][::-1],
            "generation_id": f"task-{IDS[index]}",
            "outcome": "completed",
            "prompt": "Describe.",
            "content": f"answer {index}",
            "attempt_log": log,
            "finished_at": AT,
            "possible_duplicate": False,
            "shelf": f"shelf {index % 3}",
        }
        for index in range(ROWS)
    ]
    table = annotations_file.table_of(rows, schema)
    annotations_file.write_part(folder.path / "parts" / range_name("e1", 0, ROWS, "parquet"), schema, [table])
    folder.publish()
    [path] = folder.published.iterdir()
    return path


def columns(path):
    group = pq.read_metadata(path).row_group(0)
    return {group.column(place).path_in_schema: group.column(place) for place in range(group.num_columns)}


def test_a_row_that_is_looked_for_by_its_id_is_in_one_row_group(published):
    for name, sought in (("row_id", IDS[250]), ("generation_id", f"task-{IDS[250]}"), ("request_hash", IDS[250][::-1])):
        probe = f"select bloom_filter_excludes from parquet_bloom_probe('{published}', '{name}', '{sought}')"
        told = [excluded for (excluded,) in duckdb.sql(probe).fetchall()]
        assert (len(told), told[2]) == (4, False)
        assert told.count(True) >= 2, name  # one in a hundred is taken for one that may have it


def test_rows_are_told_to_be_in_order_and_each_row_group_tells_what_it_holds(published):
    metadata = pq.read_metadata(published)
    held = columns(published)
    place = list(held).index("row_index")
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    assert {group.sorting_columns for group in groups} == {(pq.SortingColumn(place),)}
    bounds = [(group.column(place).statistics.min, group.column(place).statistics.max) for group in groups]
    assert bounds == [(0, 99), (100, 199), (200, 299), (300, 399)]
    for name in ("row_id", "request_hash", "generation_id", "outcome", "finished_at", "prompt_tokens"):
        assert held[name].statistics is not None, name
    assert held["content"].statistics is None
    assert {column.compression for column in held.values()} == {"ZSTD"}


def test_what_repeats_is_stored_once_and_what_does_not_has_no_dictionary(published):
    held = columns(published)
    with_one = {name for name, column in held.items() if column.has_dictionary_page}
    assert with_one >= {"model", "outcome", "prompt", "shelf", "attempt_log.list.element.outcome"}
    assert not with_one & {"row_id", "content", "response", "generation_id", "row_index"}


def test_words_of_a_typed_answer_have_a_dictionary_and_bounds(tmp_path):
    shape = shape_of(
        {
            "type": "object",
            "properties": {
                "species": {"enum": ["owl", "fox"]},
                "note": {"type": "string"},
                "times": {"type": "array", "items": {"type": "number"}},
            },
        }
    )
    answer = answer_type(shape)
    schema = pa.schema([("row_id", pa.string()), ("row_index", pa.int64()), ("answer", answer)])
    schema = pa.schema([*schema, ("request_hash", pa.string()), ("generation_id", pa.string())])
    schema = schema.with_metadata(shape_metadata(shape))
    row = {"row_id": "1", "row_index": 1, "answer": {"species": "owl", "note": "asleep", "times": [1.0]}}
    with layout.dataset_writer(tmp_path / "f.parquet", schema, 1) as writer:
        writer.write_table(pa.Table.from_pylist([row], schema=schema))
    held = columns(tmp_path / "f.parquet")
    assert (held["answer.species"].has_dictionary_page, held["answer.note"].has_dictionary_page) == (True, False)
    assert held["answer.species"].statistics.min == "owl"
    assert held["answer.times.list.element"].statistics.max == 1.0


def test_a_pyarrow_that_writes_no_bloom_filters_writes_the_same_rows(published, tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "_writes_bloom_filters", lambda: False)
    table = pq.read_table(published, partitioning=None)
    with layout.dataset_writer(tmp_path / "f.parquet", table.schema, GROUP) as writer:
        writer.write_table(table)
    assert pq.read_table(tmp_path / "f.parquet", partitioning=None).equals(table)
