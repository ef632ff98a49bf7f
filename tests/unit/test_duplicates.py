"""A duplicate has a row of its own, made of the row that was sent instead of it, whatever crashed between."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.annotations import COPIED
from pipeline.core.answers import Completion
from pipeline.core.columns import ANNOTATION
from pipeline.core.late import LateId, late_line
from pipeline.core.lifecycle import Outcome
from pipeline.core.records import Ending
from pipeline.edges import annotations_file, copies, merging, publishing
from pipeline.edges.requests_file import REQUESTS_SCHEMA
from pipeline.edges.run_folder import LocalRunFolder, range_name
from pipeline.flows.finalize import finalize
from pipeline.flows.verify import verify

RUN = "run-1"
AT = datetime(2026, 1, 1, tzinfo=UTC)
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Ledger:
    async def snapshot(self, _):
        return None

    async def set_state(self, *_):
        """Nobody asks."""


@dataclass
class Planned:
    """A run of some rows, `firsts` telling which of them ask what an earlier row asks."""

    folder: LocalRunFolder
    rows: int
    firsts: dict[int, int]

    @property
    def asked(self):
        return [index for index in range(self.rows) if index not in self.firsts]

    def write(self, *indexes, at=0, epoch="e1", **values):
        schema = self.folder._schema()
        made = [{**annotation(index), **values} for index in indexes]
        path = self.folder.path / "parts" / range_name(epoch, at, at + len(indexes), "parquet")
        annotations_file.write_part(path, schema, [annotations_file.table_of(made, schema)])

    def published(self):
        return [row for path in sorted(self.folder.published.glob("*")) for row in read(path)]


def read(path):
    return pq.read_table(path, partitioning=None).to_pylist()


def annotation(index):
    log = {"generation_id": f"task-{index}", "submitted_at": AT, "outcome": "completed", "cost": 0.5}
    return {
        "row_index": index,
        "row_id": f"id-{index}",
        "request_hash": f"hash-{index}",
        "model": "m",
        "outcome": "completed",
        "content": f"What row {index} asks.",
        "model_answered": "m-1",
        "finished_at": AT,
        "submitted_at": AT,
        "generation_id": f"task-{index}",
        "prompt_tokens": 10,
        "cost": 0.5,
        "attempts": 1,
        "polls": 3,
        "latency_s": 1.0,
        "response": "{}",
        "attempt_log": [log],
        "possible_duplicate": False,
        "shelf": f"shelf {index}",
    }


def asked(index, first):
    return {
        "row_index": index,
        "row_id": f"id-{index}",
        "line": index + 2,
        "request_hash": f"hash-{first}",
        "model": "m",
        "prompt": "Describe.",
        "prompt_name": "long" if index % 2 else None,
        "video_urls": [f"https://videos.example/{first}.mp4"],
        "carried": [("shelf", f"shelf {index}")],
    }


def plan(out, rows, firsts):
    folder = LocalRunFolder(out, RUN)
    folder.path.mkdir(parents=True)
    counts = {"rows": rows, "requests": rows - len(firsts), "duplicates": len(firsts), "rejections": 0}
    folder.describe({"run_id": RUN, "carried": {"shelf": "shelf"}, **counts})
    requests = [asked(index, index) for index in range(rows) if index not in firsts]
    pq.write_table(pa.Table.from_pylist(requests, schema=REQUESTS_SCHEMA), folder.path / "requests.parquet")
    if firsts:
        more = [pa.field("first_index", pa.int64()), pa.field("first_id", pa.string())]
        made = [
            {**asked(index, first), "first_index": first, "first_id": f"id-{first}"} for index, first in firsts.items()
        ]
        table = pa.Table.from_pylist(made, schema=pa.schema([*REQUESTS_SCHEMA, *more]))
        pq.write_table(table, folder.path / "duplicates.parquet", row_group_size=3)
    return Planned(folder, rows, firsts)


@pytest.fixture
def six(tmp_path):
    """Six rows: the third and the last ask what the first asks, the fifth what the fourth asks."""
    return plan(tmp_path, 6, {2: 0, 4: 3, 5: 0})


def test_a_duplicate_is_its_firsts_answer_under_its_own_name_and_nothing_was_billed_for_it(six):
    six.write(0, 1)
    six.write(3, at=2)
    assert six.folder.publish().rows == 6
    rows = six.published()
    assert [row["row_index"] for row in rows] == list(range(6))
    copy, first = rows[5], rows[0]
    own = {"row_id": "id-5", "row_index": 5, "duplicate_of": "id-0", "request_hash": "hash-0", "prompt_name": "long"}
    own |= {"shelf": "shelf 5", "video_urls": ["https://videos.example/0.mp4"], "prompt": "Describe.", "model": "m"}
    own |= {"attempts": 0, "attempt_log": [], "possible_duplicate": False, "system_prompt": None}
    kept = {name: first[name] for name in COPIED}
    nothing = dict.fromkeys(set(copy) - set(own) - set(kept))
    assert copy == {**own, **kept, **nothing}
    assert kept["content"] == "What row 0 asks."
    assert {"generation_id", "cost", "usage", "polls", "latency_s", "response", "prompt_tokens"} <= set(nothing)
    assert first["duplicate_of"] is None


def test_each_column_is_a_duplicates_own_or_its_firsts_or_empty():
    own = {"row_id", "row_index", "request_hash", "duplicate_of", "prompt_name", "model", "prompt", "system_prompt"}
    own |= {"video_urls", "attempts", "attempt_log", "possible_duplicate"}
    empty = {column.name for column in ANNOTATION} - own - set(COPIED)
    billed = {"credits", "cost", "usage", "response", "generation_id", "polls", "latency_s"}
    assert empty == billed | {column.name for column in ANNOTATION if column.name.endswith("_tokens")}


def test_the_whole_run_counts_a_duplicate_as_a_row_of_its_outcome_with_no_attempt(six):
    six.write(0, 1, outcome="failed", error_code="timeout")
    six.write(3, at=2)
    totals = six.folder.publish()
    assert totals.outcomes == {"failed": 4, "completed": 2}
    usage = {row["outcome"]: row for row in read(six.folder.usage_path)}
    assert [(usage[name]["rows"], usage[name]["attempts"]) for name in ("failed", "completed")] == [(4, 2), (2, 1)]
    assert usage["completed"]["cost"] == 0.5
    assert {row["error_code"] for row in six.published() if row["row_index"] in {0, 1, 2, 5}} == {"timeout"}


async def test_a_run_with_duplicates_is_finished_and_verified(six):
    six.write(0, 1, 3)
    six.folder.save_ids("e1", 0, 1, [b'[0,"task-0",1767225600000000,1,0]'])
    run = SimpleNamespace(run_id=RUN, total=3, double_ends=0, budget=None, spending=None)
    await end(six, run)
    assert verify(six.folder).differences == ()
    summary, receipt = six.folder.summary(), six.folder.receipt()
    assert (summary["requests"], summary["duplicates"], summary["outcomes"]["completed"]) == (3, 3, 6)
    rows = receipt["rows"]
    assert (rows["manifest"], rows["completed"], receipt["duplicates"]["rows"], receipt["posts"]) == (6, 6, 3, 3)


async def end(planned, run):
    from pipeline.core.budget import Budget

    run.budget = Budget()
    await finalize(run, Ledger(), planned.folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda table: table.slice(0, 5), "no annotation of a duplicate: row 5"),
        (lambda table: pa.concat_tables([table, table.slice(2, 1)]), "twice in the run's annotations: row 2"),
        (
            lambda table: table.set_column(3, "duplicate_of", pa.array([None] * 6, pa.string())),
            "a duplicate's, and does not say of which row: row 2 and 2 more",
        ),
    ],
)
async def test_a_duplicate_that_is_gone_doubled_or_unnamed_is_told(six, change, told):
    six.write(0, 1, 3)
    await end(six, SimpleNamespace(run_id=RUN, total=3, double_ends=0))
    [path] = six.folder.published.iterdir()
    table = pq.read_table(path, partitioning=None)
    pq.write_table(change(table), path)
    assert any(told in one.what for one in verify(six.folder).differences)


def test_a_duplicate_takes_what_the_end_of_the_run_put_into_its_first(six):
    six.write(1, 3)
    six.write(0, at=2, outcome="unknown", content=None, generation_id=None, attempt_log=[])
    ending = Ending(Outcome.COMPLETED, 1_767_225_700_000_000, completion=Completion("A cat.", prompt_tokens=7))
    six.folder.save_ids("e1", 0, 1, [late_line(LateId(0, "task-late", 1_767_225_600_000_000, 1, 0, ending))])
    assert six.folder.publish().outcomes == {"completed": 6}
    told = {row["row_index"]: (row["content"], row["prompt_tokens"]) for row in six.published()}
    assert (told[0], told[2], told[5]) == (("A cat.", 7), ("A cat.", None), ("A cat.", None))


def test_duplicates_without_a_row_of_their_first_wait_for_it_and_none_is_published_twice(six):
    six.write(0)
    assert six.folder.publish().rows == 3
    six.write(1, 3, at=1)
    assert six.folder.publish().rows == 6
    assert six.folder.publish().rows == 6
    files = [[row["row_index"] for row in read(path)] for path in sorted(six.folder.published.iterdir())]
    assert files == [[0, 2, 5], [1, 3, 4]]


def test_a_first_that_is_published_already_is_read_from_there(six):
    six.write(0, 1, 3)
    (six.folder.path / "duplicates.parquet").rename(six.folder.path / "aside")
    assert six.folder.publish().rows == 3
    (six.folder.path / "aside").rename(six.folder.path / "duplicates.parquet")
    assert six.folder.publish().rows == 6
    told = {row["row_index"]: row["content"] for row in six.published()}
    assert told == {index: f"What row {first} asks." for index, first in enumerate((0, 1, 0, 3, 3, 0))}


def test_a_ledger_that_is_made_anew_hears_nothing_of_duplicates(six):
    six.write(0, 1, 3)
    six.folder.publish()
    ended = six.folder.ended()
    assert (list(ended.rows), dict(ended.outcomes)) == ([0, 1, 3], {"completed": 3})


@pytest.mark.parametrize("files", [128, 2])
def test_many_duplicates_of_a_large_run_are_each_there_once_in_order(tmp_path, monkeypatch, files):
    monkeypatch.setattr(merging, "STRETCH_ROWS", 7)
    monkeypatch.setattr(copies, "_FILES", files)
    monkeypatch.setattr(copies, "_STEP_BYTES", 1)
    dice = random.Random(5)
    firsts, rows = {}, 200
    for index in range(1, rows):
        if dice.random() < 0.6:
            firsts[index] = dice.choice([first for first in range(index) if first not in firsts])
    planned = plan(tmp_path, rows, firsts)
    shuffled = planned.asked
    dice.shuffle(shuffled)
    for start in range(0, len(shuffled), 20):
        planned.write(*sorted(shuffled[start : start + 20]), at=start)
    on_disk = sum(part.stat().st_size for part in (planned.folder.path / "parts").iterdir())
    monkeypatch.setattr(publishing, "FILE_BYTES", on_disk / 2)
    assert planned.folder.publish().rows == rows
    found = planned.published()
    assert [row["row_index"] for row in found] == list(range(rows))
    assert len(list(planned.folder.published.iterdir())) > 1
    for row in found:
        first = firsts.get(row["row_index"])
        assert row["duplicate_of"] == (None if first is None else f"id-{first}")
        assert row["content"] == f"What row {row['row_index'] if first is None else first} asks."
        assert row["shelf"] == f"shelf {row['row_index']}"
    assert list(planned.folder.path.glob(".unfinished-*")) == []
