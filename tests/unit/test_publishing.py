"""Parts become the dataset: each row once, whatever crashed between."""

import fcntl
import os
import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from pipeline.core.answers import Completion
from pipeline.core.budget import MOST_TOKENS, Settled
from pipeline.core.columns import NAMES
from pipeline.core.late import LateId, late_line
from pipeline.core.lifecycle import Outcome
from pipeline.core.records import Ending
from pipeline.edges import annotations_file, merging, publishing
from pipeline.edges.run_folder import LocalRunFolder, range_name

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path):
    made = LocalRunFolder(tmp_path, "run-1")
    made.describe({"carried": {"shelf": "shelf"}})
    return made


def entry(generation_id, outcome="completed", at=AT, **billed):
    return {"generation_id": generation_id, "submitted_at": at, "outcome": outcome, **billed}


def rows_of(*indexes, outcome="completed", **values):
    common = {"model": "m", "finished_at": AT, "outcome": outcome, "attempts": 1, "possible_duplicate": False}
    billed = {name: values[name] for name in ("prompt_tokens", "completion_tokens", "cost") if name in values}
    return [
        {
            "row_index": index,
            "row_id": str(index),
            **common,
            "generation_id": f"task-{index}",
            "submitted_at": AT,
            "attempt_log": [entry(f"task-{index}", outcome, **billed)],
            **values,
        }
        for index in indexes
    ]


def write_rows(folder, epoch, start, rows):
    """One part of these annotations, as a writer makes it."""
    schema = folder._schema()
    path = folder.path / "parts" / range_name(epoch, start, start + len(rows), "parquet")
    annotations_file.write_part(path, schema, [annotations_file.table_of(rows, schema)])


def write(folder, epoch, start, *indexes, **values):
    write_rows(folder, epoch, start, rows_of(*indexes, **values))


def published(folder):
    files = sorted(folder.published.glob("*"))
    assert all(path.name.startswith("part-") for path in files), files
    return [pq.read_table(path, partitioning=None)["row_index"].to_pylist() for path in files]


def ends(folder):
    ended = folder.ended()
    return list(ended.rows), ended.outcomes


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


def test_a_large_run_is_some_files_of_about_one_size_in_order_whatever_the_order_of_its_parts(folder, monkeypatch):
    monkeypatch.setattr(merging, "STRETCH_ROWS", 3)
    monkeypatch.setattr(annotations_file, "PART_GROUP_ROWS", 2)
    indexes = list(range(40))
    random.Random(3).shuffle(indexes)
    for start in range(0, 40, 8):
        write(folder, "e1", start, *sorted(indexes[start : start + 8]))
    write(folder, "e2", 0, 5, 17, 39)
    on_disk = sum(part.stat().st_size for part in (folder.path / "parts").iterdir())
    monkeypatch.setattr(publishing, "FILE_BYTES", on_disk / 3)
    assert folder.publish().rows == 40
    files = published(folder)
    assert [index for rows in files for index in rows] == list(range(40))
    assert len(files) == 3
    assert min(map(len, files)) >= 9


def test_each_file_names_the_parts_whose_rows_it_holds(folder, monkeypatch):
    monkeypatch.setattr(merging, "STRETCH_ROWS", 1)
    write(folder, "e1", 0, 0, 1)
    write(folder, "e1", 2, 2, 3)
    monkeypatch.setattr(publishing, "FILE_BYTES", sum(p.stat().st_size for p in (folder.path / "parts").iterdir()) / 2)
    folder.publish()
    named = [
        orjson.loads(pq.read_schema(path).metadata[b"vidbatch.parts"]) for path in sorted(folder.published.iterdir())
    ]
    assert named == [["part-e1-000000000000-000000000002.parquet"], ["part-e1-000000000002-000000000004.parquet"]]


def several(folder, monkeypatch):
    """Four rows, to be published in two files."""
    monkeypatch.setattr(merging, "STRETCH_ROWS", 1)
    write(folder, "e1", 0, 0, 2)
    write(folder, "e1", 2, 1, 3)
    monkeypatch.setattr(publishing, "FILE_BYTES", sum(p.stat().st_size for p in (folder.path / "parts").iterdir()) / 2)


def test_a_reader_sees_all_files_of_a_run_or_none(folder, monkeypatch):
    several(folder, monkeypatch)
    seen = []
    rename = Path.rename

    def watched(self, target):
        seen.append(published(folder))
        rename(self, target)
        seen.append(published(folder))

    monkeypatch.setattr(Path, "rename", watched)
    folder.publish()
    assert seen == [[], [[0, 1], [2, 3]]]


def test_files_of_others_in_the_folder_are_left_and_ours_join_them_each_row_once(folder, monkeypatch):
    several(folder, monkeypatch)
    folder.published.mkdir(parents=True)
    (folder.published / ".of-another").touch()
    link, calls = os.link, []

    def dies_between(source, target):
        calls.append(target)
        if len(calls) == 2:  # the folder as a whole could not be renamed: the first file, then the second
            raise KeyboardInterrupt
        return link(source, target)

    with monkeypatch.context() as broken:
        broken.setattr(os, "link", dies_between)
        with pytest.raises(KeyboardInterrupt):
            folder.publish()
    assert published_parts(folder) == [[0, 1]]
    assert folder.publish().rows == 4
    assert published_parts(folder) == [[0, 1], [2, 3]]


def published_parts(folder):
    return [pq.read_table(path)["row_index"].to_pylist() for path in sorted(folder.published.glob("part-*"))]


def test_the_files_of_whoever_published_first_stay(folder, monkeypatch):
    several(folder, monkeypatch)
    rename = Path.rename

    def another_first(self, target):
        with monkeypatch.context() as undone:
            undone.setattr(Path, "rename", rename)
            LocalRunFolder(folder.out, folder.run_id).publish()
        first.append([path.stat().st_ino for path in sorted(folder.published.iterdir())])
        return rename(self, target)

    first = []
    with monkeypatch.context() as raced:
        raced.setattr(Path, "rename", another_first)
        assert folder.publish().rows == 4
    assert [[path.stat().st_ino for path in sorted(folder.published.iterdir())]] == first
    assert published(folder) == [[0, 1], [2, 3]]


def test_what_a_killed_publisher_left_goes_with_the_next_one_and_a_living_ones_stays(folder):
    write(folder, "e1", 0, 0)
    for name in ("dead", "living"):
        (folder.path / f".unfinished-{name}").mkdir()
        (folder.path / f".unfinished-{name}" / "part-00000.parquet").write_bytes(b"half")
    lock = os.open(folder.path / ".unfinished-living", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        folder.publish()
    finally:
        os.close(lock)
    assert [path.name for path in folder.path.glob(".unfinished-*")] == [".unfinished-living"]


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
        broken.setattr(pq.ParquetWriter, "write_table", crash)
        with pytest.raises(RuntimeError, match="killed"):
            folder.publish()
    assert published(folder) == []
    assert folder.publish().rows == 2


def test_what_a_killed_writer_left_behind_is_no_part(folder):
    write(folder, "e1", 0, 0)
    part = next((folder.path / "parts").iterdir())
    (part.parent / f".{part.name}.0123.tmp").write_bytes(b"half")
    assert folder.publish().rows == 1
    assert ends(folder) == ([0], {"completed": 1})


def test_the_parts_go_once_the_marker_stands_and_the_rows_stay(folder):
    write(folder, "e1", 0, 0, 1)
    folder.publish()
    folder.finish({})
    assert list((folder.path / "parts").iterdir()) == []
    assert folder.publish().rows == 2
    assert ends(folder) == ([0, 1], {"completed": 2})


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


def usage_of(folder):
    return pq.read_table(folder.out / "usage" / "run=run-1.parquet", partitioning=None).to_pylist()


def test_usage_sums_everything_that_was_or_may_have_been_billed(folder):
    log = [
        entry("task-a", "failed", prompt_tokens=7, cost=0.25),
        entry(None, "unknown"),
        entry("task-b", prompt_tokens=10, completion_tokens=2, cost=0.5),
    ]
    write(folder, "e1", 0, 0, prompt_tokens=10, completion_tokens=2, cost=0.5, attempt_log=log, attempts=3)
    write(folder, "e1", 1, 1, outcome="cancelled", attempt_log=[])
    totals = folder.publish()
    kept = ("outcome", "rows", "attempts", "prompt_tokens", "completion_tokens", "cost")
    assert [tuple(row[name] for name in kept) for row in usage_of(folder)] == [
        ("cancelled", 1, 0, None, None, None),
        ("completed", 1, 3, 17, 2, 0.75),
    ]
    assert (totals.prompt_tokens, totals.cost) == (17, 0.75)


def test_usage_tells_all_kinds_of_tokens_and_what_they_cost_at_the_price_of_each_prompt(folder):
    kinds = {"reasoning_tokens": 3, "cached_tokens": 4, "audio_tokens": 5, "video_tokens": 6, "credits": 0.5}
    price = {"input": 1.0, "output": 10.0, "input_long": 2.0, "long_prompt_tokens": 1_000}
    described = orjson.loads((folder.path / "run.json").read_bytes())
    folder.describe({**described, "prices": {"m": price}})
    log = [
        entry("task-a", prompt_tokens=1_000, completion_tokens=100, cost=0.75, cost_told=0.75, **kinds),
        entry("task-b", prompt_tokens=1_001, completion_tokens=100, cost=0.003, **kinds),
        entry("task-c", prompt_tokens=7),
        entry("task-d", "failed"),
    ]
    write(folder, "e1", 0, 0, attempt_log=log, attempts=4)
    write(folder, "e1", 1, 1, model="unpriced", attempt_log=[entry("task-e", prompt_tokens=9, completion_tokens=1)])
    folder.publish()
    priced, unpriced = usage_of(folder)
    assert {name: priced[name] for name in kinds} == {name: 2 * amount for name, amount in kinds.items()}
    assert (priced["attempts"], priced["prompt_tokens"], priced["cost"], priced["cost_told"]) == (4, 2_008, 0.753, 0.75)
    assert priced["cost_at_price"] == pytest.approx((1_000 + 1_001 * 2 + 7 + 200 * 10) / 1e6)
    assert (unpriced["prompt_tokens"], unpriced["cost_at_price"], unpriced["video_tokens"]) == (9, None, None)


def test_usage_is_by_model_day_and_outcome(folder):
    later = datetime(2026, 1, 2, tzinfo=UTC)
    write(folder, "e1", 0, 0, 1, model="m")
    write(folder, "e1", 2, 2, model="n")
    write(folder, "e1", 3, 3, model="m", finished_at=later)
    folder.publish()
    assert [(row["model"], row["day"], row["rows"]) for row in usage_of(folder)] == [
        ("m", AT.date(), 2),
        ("m", later.date(), 1),
        ("n", AT.date(), 1),
    ]


SECOND = 1_000_000
ACCEPTED = 1_767_225_600 * SECOND
ANSWER = Completion(content="A cat.", prompt_tokens=1_000, completion_tokens=10)


def late(folder, *ids):
    folder.save_ids("e1", 0, len(ids), [one if isinstance(one, bytes) else late_line(one) for one in ids])


def ended(outcome=Outcome.COMPLETED, completion=ANSWER):
    return Ending(outcome, ACCEPTED + 60 * SECOND, completion=completion)


def rows(folder):
    return {row["row_index"]: row for file in sorted(folder.published.iterdir()) for row in read(file)}


def read(file):
    return pq.read_table(file, partitioning=None).to_pylist()


def test_a_late_id_is_put_into_its_rows_log_and_no_other_row_is_touched(folder):
    log = [entry(None, "unknown"), entry("task-1")]
    write(folder, "e1", 0, 0, 2)
    write(folder, "e1", 2, 1, attempt_log=log, attempts=2, possible_duplicate=True)
    late(folder, LateId(1, "task-late", ACCEPTED, 1), LateId(1, "task-late", ACCEPTED, 1, 0, ended()))
    folder.publish()
    found = rows(folder)
    assert [(one["generation_id"], one["prompt_tokens"]) for one in found[1]["attempt_log"]] == [
        ("task-late", 1_000),
        ("task-1", None),
    ]
    assert (found[1]["outcome"], found[1]["generation_id"], found[1]["possible_duplicate"]) == (
        "completed",
        "task-1",
        True,
    )
    assert [found[index]["attempt_log"][0]["generation_id"] for index in (0, 2)] == ["task-0", "task-2"]
    assert published(folder) == [[0, 1, 2]]


def test_the_late_answer_of_a_row_without_one_is_its_answer(folder):
    write(folder, "e1", 0, 0, outcome="unknown", attempt_log=[entry(None, "unknown")], generation_id=None)
    late(folder, LateId(0, "task-late", ACCEPTED, 1, 0, ended()))
    assert folder.publish().outcomes == {"completed": 1}
    assert (rows(folder)[0]["content"], rows(folder)[0]["generation_id"]) == ("A cat.", "task-late")


def test_an_id_on_disk_that_no_row_knows_is_put_into_its_rows_log(folder):
    write(folder, "e1", 0, 0, 1)
    late(folder, b'[0,"task-0",1767225600000000,1,0]', b'[1,"task-forgotten",1767225600000000,1,0]')
    folder.publish()
    found = rows(folder)
    assert [(one["generation_id"], one["outcome"]) for one in found[1]["attempt_log"]] == [
        ("task-1", "completed"),
        ("task-forgotten", "unknown"),
    ]
    assert [found[index]["possible_duplicate"] for index in (0, 1)] == [False, True]
    assert [found[index]["attempts"] for index in (0, 1)] == [1, 2]


def test_of_two_rows_with_one_id_only_the_one_that_was_accepted_first_is_believed(folder):
    earlier, log = datetime(2025, 12, 31, tzinfo=UTC), [entry("task-1", at=AT, prompt_tokens=9)]
    write(folder, "e1", 0, 0, 2)
    write(folder, "e1", 2, 1, content="A dog.", prompt_tokens=9, attempt_log=log)
    shared = [entry("task-1", at=earlier, prompt_tokens=9)]
    write(folder, "e1", 3, 3, generation_id="task-1", attempt_log=shared, content="A dog.", prompt_tokens=9)
    assert folder.publish().outcomes == {"completed": 3, "unknown": 1}
    found = rows(folder)
    assert (found[3]["outcome"], found[3]["content"]) == ("completed", "A dog.")
    assert (found[1]["outcome"], found[1]["error_code"]) == ("unknown", "duplicate_generation_id")
    assert (found[1]["content"], found[1]["prompt_tokens"], found[1]["generation_id"]) == (None, None, None)
    assert [(one["generation_id"], one["prompt_tokens"]) for one in found[1]["attempt_log"]] == [("task-1", None)]
    assert "row 3" in found[1]["error_message"]
    assert sum(row["prompt_tokens"] or 0 for row in usage_of(folder)) == 9


def test_a_row_with_the_id_of_a_published_one_is_not_believed(folder):
    write(folder, "e1", 0, 0)
    folder.publish()
    before = next(folder.published.iterdir()).read_bytes()
    earlier = datetime(2025, 12, 31, tzinfo=UTC)
    write(folder, "e1", 1, 1, generation_id="task-0", attempt_log=[entry("task-0", at=earlier)])
    folder.publish()
    assert (rows(folder)[0]["outcome"], rows(folder)[1]["outcome"]) == ("completed", "unknown")
    assert min(folder.published.iterdir()).read_bytes() == before


def test_of_a_row_in_two_parts_the_generations_of_both_are_kept(folder):
    write(folder, "e1", 0, 0, outcome="failed")
    again = [entry("task-again", prompt_tokens=5)]
    write(folder, "e2", 0, 0, generation_id="task-again", attempt_log=again, content="A cat.", prompt_tokens=5)
    assert folder.publish().outcomes == {"completed": 1}
    [row] = rows(folder).values()
    assert (row["content"], row["generation_id"], row["possible_duplicate"]) == ("A cat.", "task-again", True)
    assert [one["generation_id"] for one in row["attempt_log"]] == ["task-0", "task-again"]


def test_a_row_that_both_ledgers_saw_to_one_end_is_as_it_was(folder):
    write(folder, "e1", 0, 0, prompt_tokens=5)
    write(folder, "e2", 0, 0, prompt_tokens=5)
    folder.publish()
    assert (rows(folder)[0]["possible_duplicate"], len(rows(folder)[0]["attempt_log"])) == (False, 1)


def test_late_ids_of_a_large_run_leave_its_order_alone(folder, monkeypatch):
    monkeypatch.setattr(merging, "STRETCH_ROWS", 2)
    write(folder, "e1", 0, 3, 4)
    write(folder, "e1", 2, 0, 1, 2)
    late(folder, LateId(1, "task-late", ACCEPTED, 2, 0, ended()))
    folder.publish()
    assert published(folder) == [[0, 1, 2, 3, 4]]
    assert len(rows(folder)[1]["attempt_log"]) == 2


def test_what_is_on_disk_tells_what_was_spent_and_what_may_have_been(folder):
    write(folder, "e1", 0, 0, prompt_tokens=100, completion_tokens=10, cost=0.0012345)
    write(folder, "e2", 0, 0, 1, prompt_tokens=100, completion_tokens=10, cost=0.0012345)
    lost = [entry(None, "unknown"), entry("task-2", prompt_tokens=7, completion_tokens=0, cost=2.0**63)]
    write(folder, "e1", 2, 2, attempt_log=lost)
    write(folder, "e1", 3, 3, 4, outcome="failed")
    write(folder, "e1", 5, 5, outcome="refused", attempt_log=[])
    write(folder, "e1", 6, 6, prompt_tokens=2**63 - 1, completion_tokens=2**63 - 1, cost=None)
    told = Settled(200 + 7 + MOST_TOKENS, 20 + MOST_TOKENS, 2 * 1_234 + 10**12, kept=3)
    assert folder.settled() == told
    folder.publish()
    assert folder.settled() == told
    assert LocalRunFolder(folder.out, "run-2").settled() == Settled()


def test_what_late_ids_used_is_spent_in_a_ledger_that_is_made_anew_too(folder):
    lost = [entry(None, "unknown"), entry("task-1", prompt_tokens=7, completion_tokens=1, cost=0.1)]
    write(folder, "e1", 0, 1, attempt_log=lost)
    write(folder, "e1", 1, 2, prompt_tokens=7, completion_tokens=1, cost=0.1)
    before = folder.settled()
    used = Completion("A dog.", prompt_tokens=100, completion_tokens=10, cost=0.5)
    ids = [LateId(row, f"task-late-{row}", ACCEPTED, 1, 0, ended(completion=used)) for row in (1, 9)]
    late(folder, *ids, LateId(2, "task-2", ACCEPTED, 1, 0, ended(completion=used)), LateId(3, "task-3", ACCEPTED, 1))
    after = replace(before, prompt_tokens=before.prompt_tokens + 200, completion_tokens=before.completion_tokens + 20)
    after = replace(after, cost_micro=before.cost_micro + 1_000_000, kept=before.kept - 1)
    assert folder.settled() == after
    folder.publish()
    assert folder.settled() == after
