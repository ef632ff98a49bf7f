"""A long run takes no more memory on its disk side than a short one, but for a few bytes a row."""

import asyncio
import random
import tracemalloc
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.lifecycle import Outcome
from pipeline.core.policy import Policy
from pipeline.core.records import Ending, RowRecord, pack, pack_ending, saved_line
from pipeline.core.requests import Defaults, RawRow
from pipeline.core.rows import Rows
from pipeline.edges import annotations_file, merging
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.edges.requests_file import RejectsWriter, RequestsWriter
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.flows import feed as feeding
from pipeline.flows import write
from pipeline.flows.plan import plan
from pipeline.flows.verify import verify
from pipeline.ports import Batch, RunCard

RUN = "run-1"
FEW, MANY = 1_000, 9_000
BYTES_A_ROW = 64
"""What may grow: a byte or two of each row for what ended, four for its part, eight for each hash of its ids, and for
half as many duplicates their row index and their first's, in order and sorted, and what waits on disk."""

SLACK = 256 * 1024
"""What the same work differs by: lists of files and row groups, and where a buffer happened to be doubled."""


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch):
    """Bounds that few rows reach already."""
    monkeypatch.setattr(merging, "STRETCH_ROWS", 500)
    monkeypatch.setattr(annotations_file, "BATCH_ROWS", 500)
    monkeypatch.setattr(annotations_file, "PART_GROUP_ROWS", 100)
    monkeypatch.setattr(write, "PART_ROWS", 500)
    monkeypatch.setattr(write, "IDS", 500)
    monkeypatch.setattr(write, "STEP_ROWS", 100)
    monkeypatch.setattr(feeding, "FEED_WINDOW_ROWS", 500)


class Ends(MemoryLedger):
    """Has rows that ended, and keeps none of them."""

    def __init__(self, rows):
        super().__init__()
        self._rows, self._written, self._saved, self.fed = rows, 0, 0, 0

    async def results(self, run_id, limit):
        return Batch(self._written, tuple(_ended(row) for row in self._some(self._written, limit)))

    async def accepted_ids(self, run_id, limit):
        return Batch(self._saved, tuple(saved_line(row, _record(row)) for row in self._some(self._saved, limit)))

    async def results_written(self, run_id, batch):
        self._written = batch.end

    async def accepted_saved(self, run_id, batch):
        self._saved = batch.end

    async def feed(self, run_id, cursor, until, rows):
        self.fed = until
        return True

    def _some(self, start, limit):
        rows = list(range(start, min(start + limit, self._rows)))
        random.Random(start).shuffle(rows)
        return rows


def _record(row):
    return RowRecord(attempts=1, generation_id=f"task-{row:024}", submitted_at=1_800_000_000_000_000 + row)


def _ended(row):
    ending = Ending(Outcome.COMPLETED, 1_800_000_009_000_000 + row)
    return b'{"i":%d,"r":%b,"e":%b}' % (row, pack(_record(row)), pack_ending(ending))


def planning(folder, rows):
    manifest = (
        RawRow("m.csv", row + 2, {"video_url": f"https://videos.example/{row}.mp4", "prompt": "p", "id": f"id-{row}"})
        for row in range(rows)
    )
    folder.path.mkdir(parents=True)
    with (
        RequestsWriter(folder.path / "requests.parquet", {}, row_group_rows=500) as requests,
        RejectsWriter(folder.path / "rejects.parquet") as rejects,
    ):
        summary = plan(manifest, Defaults(), requests_sink=requests, rejects_sink=rejects)
    counts = {"rows": summary.rows + rows // 2, "requests": summary.requests, "rejections": 0}
    counts["duplicates"] = rows // 2
    folder.describe({"run_id": RUN, "carried": {}, "manifests": [], **counts})


def _duplicate(folder, rows):
    """Behind all requests come half as many duplicates, of any of them."""
    table = pq.read_table(folder.path / "requests.parquet").slice(0, rows // 2)
    firsts = pa.array(random.Random(rows).choices(range(rows), k=rows // 2))
    table = table.set_column(0, "row_index", pa.array(range(rows, rows + rows // 2)))
    table = table.append_column("first_index", firsts).append_column("first_id", firsts.cast(pa.string()))
    pq.write_table(table, folder.path / "duplicates.parquet", row_group_size=500)


def _card(rows):
    return RunCard(RUN, "api#key", "https://api", "key", "out", "secret", "e1", rows, Policy())


def writing(folder, rows):
    ledger, needs = Ends(rows), write.Writing(_card(rows), folder, {})

    async def work():
        await write.save_ids(ledger, needs)
        while await write.write_part(ledger, needs, lambda: 0):
            await write.save_ids(ledger, needs)

    asyncio.run(work())


def recovering(folder, rows):
    ledger = Ends(rows)

    async def work():
        opened = MemoryLedger()
        await opened.open_run(_card(rows), recover_until=rows, ended={}, done=Rows())
        run = await opened.snapshot(RUN)
        while ledger.fed < rows:
            await feeding.feed(replace(run, fed=ledger.fed), ledger, folder, Policy())

    ended = folder.ended()
    assert (len(ended.rows), len(ended.rows.bitmap())) == (rows, -(-rows // 8))
    assert folder.settled().kept == rows
    asyncio.run(work())


def publishing(folder, rows):
    assert folder.publish().rows == rows + rows // 2


def publishing_again(folder, rows):
    """As after a worker that died before the done marker: the parts are there, and the files, too."""
    assert folder.publish().rows == rows + rows // 2


def auditing(folder, rows):
    found = folder.found()
    assert (found.faults, found.unplaced_ids) == ([], 0)
    assert verify(folder).run_id == RUN


POOLS = []
"""Kept for good: a buffer that outlives its pool is given back to nowhere."""

STAGES = (planning, writing, recovering, publishing, publishing_again, auditing)


def peaks(out, rows):
    """The most that each stage held, in bytes: Python's objects and Arrow's buffers."""
    folder, told = LocalRunFolder(out, RUN), {}
    for stage in STAGES:
        before = pa.default_memory_pool()
        if stage is writing:
            _duplicate(folder, rows)
        POOLS.append(pool := pa.proxy_memory_pool(before))
        pa.set_memory_pool(pool)
        tracemalloc.start()
        try:
            stage(folder, rows)
            told[stage.__name__] = tracemalloc.get_traced_memory()[1] + pool.max_memory()
        finally:
            tracemalloc.stop()
            pa.set_memory_pool(before)
    return told


def test_every_stage_of_a_long_run_holds_what_it_holds_of_a_short_one(tmp_path):
    peaks(tmp_path / "first", 50)  # what is loaded and cached once is no growth
    few, many = peaks(tmp_path / "few", FEW), peaks(tmp_path / "many", MANY)
    grown = {name: many[name] - few[name] for name in many}
    allowed = BYTES_A_ROW * (MANY - FEW) + SLACK
    assert {name: more for name, more in grown.items() if more > allowed} == {}, (few, many)
