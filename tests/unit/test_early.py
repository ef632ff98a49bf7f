"""While a run goes on, rows are published that nothing can change any more, each once; the others wait for the end."""

import asyncio
import os
import threading
from datetime import UTC, datetime, timedelta

import orjson
import pyarrow.parquet as pq
import pytest

from pipeline.core.answers import Completion
from pipeline.core.errors import StorageError
from pipeline.core.late import LateId, late_line
from pipeline.core.lifecycle import Outcome
from pipeline.core.policy import Policy
from pipeline.core.records import Ending
from pipeline.core.requests import Request
from pipeline.core.rows import Rows
from pipeline.edges import annotations_file, merging, publishing
from pipeline.edges.clock import MachineClock
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.edges.requests_file import RequestsWriter
from pipeline.edges.run_folder import LocalRunFolder, range_name
from pipeline.flows.shift import Bench
from pipeline.flows.write import Writing, write_shift
from pipeline.ports import FedRow, RunCard

RUN = "run-1"
AT = datetime(2026, 1, 1, tzinfo=UTC)
OLD = AT - timedelta(hours=1)
NEWEST = 99
"""A row that was accepted an hour after all others."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "FILE_BYTES", 1)
    made = LocalRunFolder(tmp_path, RUN)
    made.describe({"run_id": RUN, "carried": {}})
    return made


def entry(generation_id, at, outcome="completed"):
    return {"generation_id": generation_id, "submitted_at": at, "outcome": outcome}


def row(index, *, at=OLD, **values):
    log = [entry(f"task-{index}", at)]
    common = {"row_index": index, "row_id": str(index), "model": "m", "finished_at": AT, "outcome": "completed"}
    ids = {"generation_id": f"task-{index}", "submitted_at": at, "attempts": 1, "attempt_log": log}
    return {**common, **ids, "possible_duplicate": False, **values}


def write(folder, start, *rows, epoch="e1"):
    schema = folder._schema()
    path = folder.path / "parts" / range_name(epoch, start, start + len(rows), "parquet")
    annotations_file.write_part(path, schema, [annotations_file.table_of(rows, schema)])


def go_on():
    return False


def early(folder):
    folder.publish_early(go_on)
    return files(folder)


def files(folder):
    paths = sorted(folder.published.glob("*"))
    return [pq.read_table(path, partitioning=None)["row_index"].to_pylist() for path in paths]


def rows_of(folder):
    paths = sorted(folder.published.glob("*"))
    return {row["row_index"]: row for path in paths for row in pq.read_table(path, partitioning=None).to_pylist()}


def test_each_file_is_in_order_and_what_came_later_is_another_one(folder):
    write(folder, 0, row(3), row(NEWEST, at=AT), row(0))
    assert early(folder) == [[0, 3]]
    write(folder, 3, row(2), row(1))
    assert early(folder) == [[0, 3], [1, 2]]
    assert early(folder) == [[0, 3], [1, 2]]
    assert len(list((folder.path / "parts").iterdir())) == 2
    assert folder.publish().rows == 5
    assert files(folder) == [[0, 3], [1, 2], [NEWEST]]


def test_no_file_is_published_before_parts_fill_one_and_a_half(folder, monkeypatch):
    write(folder, 0, row(0), row(1), row(NEWEST, at=AT))
    [part] = (folder.path / "parts").iterdir()
    monkeypatch.setattr(publishing, "FILE_BYTES", part.stat().st_size)
    assert early(folder) == []
    write(folder, 3, row(2), row(3), row(4))
    assert early(folder) == [[0, 1, 2, 3, 4]]


def test_what_was_tried_for_nothing_is_not_tried_again_for_each_part(folder, monkeypatch):
    tried, take_up = [], annotations_file.batches
    for number in range(3):
        write(folder, number, row(number, at=AT))
    size = sum(part.stat().st_size for part in (folder.path / "parts").iterdir()) / 3
    monkeypatch.setattr(publishing, "FILE_BYTES", size * 4 / 2)

    def watched(path, columns):
        tried.append(path)
        return take_up(path, columns)

    monkeypatch.setattr("pipeline.edges.early.batches", watched)
    assert early(folder) == []
    before = len(tried)
    assert before
    assert early(folder) == []
    assert len(tried) == before
    write(folder, 3, row(3, at=AT))
    assert early(folder) == []
    assert len(tried) > before


DOUBTED = {
    "lost": {"attempt_log": [entry(None, OLD, "unknown"), entry("task-1", OLD)], "attempts": 2},
    "flagged": {"possible_duplicate": True},
    "unknown": {"outcome": "unknown"},
    "cancelled": {"outcome": "cancelled", "generation_id": None, "attempt_log": []},
    "expired": {"outcome": "expired"},
    "just accepted": {"at": AT},
    "the id of another": {"generation_id": "task-0", "attempt_log": [entry("task-0", OLD)]},
}


@pytest.mark.parametrize("doubt", DOUBTED)
def test_a_row_in_doubt_stays_in_its_part_until_the_end(folder, doubt):
    write(folder, 0, row(0), row(1, **DOUBTED[doubt]), row(2), row(NEWEST, at=AT))
    assert early(folder) == [[2] if doubt == "the id of another" else [0, 2]]
    assert folder.publish().rows == 4


SURE = {
    "failed": {"outcome": "failed"},
    "refused": {"outcome": "refused", "generation_id": None, "submitted_at": None, "attempt_log": []},
    "again": {"attempt_log": [entry("task-before", OLD, "failed"), entry("task-1", OLD)], "attempts": 2},
}


@pytest.mark.parametrize("sure", SURE)
def test_a_row_whose_posts_all_have_their_id_is_sure_however_it_ended(folder, sure):
    write(folder, 0, row(1, **SURE[sure]), row(NEWEST, at=AT))
    assert early(folder) == [[1]]


def test_a_row_with_an_id_on_disk_that_its_log_does_not_know_stays(folder):
    write(folder, 0, row(0), row(1), row(2), row(NEWEST, at=AT))
    known = orjson.dumps([0, "task-0", 1, 1, 0])
    folder.save_ids("e1", 0, 3, [known, late_line(LateId(1, "task-late", 1, 1)), b'[2,"task-forgotten",1,1,0]'])
    assert early(folder) == [[0]]
    assert folder.publish().rows == 4
    assert [len(rows_of(folder)[index]["attempt_log"]) for index in (0, 1, 2)] == [1, 2, 2]


def test_a_row_whose_id_a_row_under_way_was_given_too_stays(folder):
    write(folder, 0, row(0), row(1), row(NEWEST, at=AT))
    folder.save_ids("e1", 0, 1, [b'[7,"task-1",1,1,0]'])
    assert early(folder) == [[0]]


def test_a_row_in_the_parts_of_two_ledgers_stays_and_keeps_the_generations_of_both(folder):
    write(folder, 0, row(0), row(1, outcome="failed"), row(NEWEST, at=AT))
    write(folder, 0, row(1, generation_id="task-again", attempt_log=[entry("task-again", OLD)]), epoch="e2")
    assert early(folder) == [[0]]
    assert folder.publish().rows == 3
    made = rows_of(folder)[1]
    assert ([one["generation_id"] for one in made["attempt_log"]], made["outcome"]) == (
        ["task-1", "task-again"],
        "completed",
    )


def test_what_comes_to_a_published_row_after_all_changes_no_file_and_is_told_by_the_receipt(folder):
    write(folder, 0, row(0), row(1), row(NEWEST, at=AT))
    early(folder)
    before = [path.read_bytes() for path in folder.published.iterdir()]
    write(folder, 0, row(1, generation_id="task-again", attempt_log=[entry("task-again", OLD)]), epoch="e2")
    write(folder, 1, row(2, generation_id="task-0", attempt_log=[entry("task-0", OLD)]), epoch="e2")
    ending = Ending(Outcome.COMPLETED, 5, completion=Completion("A cat.", prompt_tokens=7))
    folder.save_ids("e1", 0, 1, [late_line(LateId(0, "task-late", 1, 1, 0, ending))])
    assert folder.publish().rows == 4
    assert [path.read_bytes() for path in sorted(folder.published.iterdir())][:1] == before
    made = rows_of(folder)
    assert (made[0]["outcome"], made[0]["content"]) == ("completed", None)
    assert (made[2]["outcome"], made[2]["error_code"]) == ("unknown", "duplicate_generation_id")
    assert folder.found().unplaced_ids == 1
    assert folder.publish().rows == 4


def test_whoever_finds_the_next_name_taken_looks_again(folder, monkeypatch):
    """Two publishers at a time: one is overtaken between its look at the files and its own file."""
    write(folder, 0, row(0), row(1), row(NEWEST, at=AT))
    early(folder)
    write(folder, 3, row(2), row(3))
    link = os.link

    def overtaken(source, target):
        with monkeypatch.context() as undone:
            undone.setattr(os, "link", link)
            LocalRunFolder(folder.out, RUN).publish()
        return link(source, target)

    with monkeypatch.context() as raced:
        raced.setattr(os, "link", overtaken)
        folder.publish_early(go_on)
    assert files(folder) == [[0, 1], [2, 3, NEWEST]]
    write(folder, 5, row(4))
    with monkeypatch.context() as raced:
        raced.setattr(os, "link", overtaken)
        assert folder.publish().rows == 6
    assert files(folder) == [[0, 1], [2, 3, NEWEST], [4]]


def test_the_end_that_comes_between_is_not_published_twice(folder, monkeypatch):
    """The first file of a run, put early while the whole run is being put at its end."""
    write(folder, 0, row(0), row(1), row(NEWEST, at=AT))
    rename = os.rename

    def overtaken(source, target, **more):
        with monkeypatch.context() as undone:
            undone.setattr(os, "rename", rename)
            LocalRunFolder(folder.out, RUN).publish_early(go_on)
        return rename(source, target, **more)

    with monkeypatch.context() as raced:
        raced.setattr(os, "rename", overtaken)
        assert folder.publish().rows == 3
    assert files(folder) == [[0, 1], [NEWEST]]


def test_told_to_stop_it_leaves_nothing_behind(folder, monkeypatch):
    monkeypatch.setattr(merging, "STRETCH_ROWS", 1)
    write(folder, 0, row(0), row(1), row(NEWEST, at=AT))
    asked = iter([False])
    folder.publish_early(lambda: next(asked, True))
    assert files(folder) == []
    assert list(folder.path.glob(".unfinished-*")) == []
    assert early(folder) == [[0], [1]]


def test_parts_that_went_with_the_end_of_the_run_are_no_trouble_and_others_are(folder):
    write(folder, 0, row(0), row(NEWEST, at=AT))
    [part] = (folder.path / "parts").iterdir()
    part.write_bytes(b"no Parquet")
    with pytest.raises(StorageError):
        folder.publish_early(go_on)
    folder.done_path.write_bytes(b"{}")
    folder.publish_early(go_on)


def test_a_write_shift_publishes_and_goes_on_writing_meanwhile(folder, monkeypatch):
    """The publishing is held until a part was written beside it."""
    written, seen = [], []

    class Slow(LocalRunFolder):
        def write_part(self, *given):
            super().write_part(*given)
            written.append(given)

        def publish_early(self, stop):
            while not written and not stop():
                """The part is on its way."""
            seen.append(len(written))

    async def hold():
        ledger = MemoryLedger()
        card = RunCard(RUN, "api#key", "https://api", "key", "out", "secret", "e1", 1, Policy())
        await ledger.open_run(card, recover_until=0, ended={}, done=Rows())
        ledger._runs[RUN].results.items.append(b'{"i":0,"r":{},"e":{"o":"completed","t":1}}')
        ledger._runs[RUN].fed = 1
        bench = Bench(RUN, "write", "w", 1, 0.0, 8.0, go_on)
        return await write_shift(bench, ledger, MachineClock(), Writing(card, Slow(folder.out, RUN), {}), lambda: 0)

    with RequestsWriter(folder.path / "requests.parquet", {}) as requests:
        requests.add(Request(0, "0", 2, "m", "Describe.", ("https://videos.example/0.mp4",)), "hash")
    assert asyncio.run(hold()) == 1
    assert seen == [1]


def test_a_row_that_is_accepted_while_rows_are_published_has_its_id_on_disk_before_that_is_through(folder, monkeypatch):
    """Nothing is in flight at the first look; the publishing is held until an id that came later is on disk."""
    monkeypatch.setattr("pipeline.flows.write.LOOK_S", 0.01)
    due, saved, held = [], threading.Event(), []

    class Slow(LocalRunFolder):
        ids_every_s = 0.0

        def save_ids(self, *given):
            super().save_ids(*given)
            saved.set()

        def publish_early(self, stop):
            held.append(saved.wait(10))

    class Watched(MemoryLedger):
        async def snapshot(self, run_id):
            found = await super().snapshot(run_id)
            if due:
                self._runs[run_id].accepted.items.append(b'[0,"task-1",1,1,0]')
                due.clear()
            return found

    async def hold():
        ledger = Watched()
        card = RunCard(RUN, "api#key", "https://api", "key", "out", "secret", "e1", 1, Policy())
        await ledger.open_run(card, recover_until=0, ended={}, done=Rows())
        await ledger.feed(RUN, 0, 1, [FedRow(0, b"{}")])
        due.append(True)
        bench = Bench(RUN, "write", "w", 1, 10.0, 8.0, go_on)
        await write_shift(bench, ledger, MachineClock(), Writing(card, Slow(folder.out, RUN), {}), lambda: 0)

    asyncio.run(hold())
    assert held == [True]
