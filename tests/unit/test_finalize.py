"""A run is done when its dataset is whole, and says so last."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pipeline.cli.ending import file_lines
from pipeline.core.errors import LedgerUnavailable, StorageError
from pipeline.core.policy import Policy
from pipeline.core.requests import Request
from pipeline.core.snapshot import RunState
from pipeline.core.summary import REPORT_TROUBLE
from pipeline.edges import annotations_file, run_folder
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.edges.requests_file import RequestsWriter
from pipeline.edges.run_folder import LocalRunFolder, range_name
from pipeline.flows.finalize import finalize
from pipeline.flows.verify import verify
from pipeline.ports import RunCard

pytestmark = pytest.mark.anyio

RUN = "run-1"
AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def folder(tmp_path):
    return LocalRunFolder(tmp_path, RUN)


def plan(folder, rows):
    folder.describe({"run_id": RUN, "carried": {}, "rows": rows, "requests": rows, "rejections": 0})
    with RequestsWriter(folder.path / "requests.parquet", {}) as sink:
        for index in range(rows):
            sink.add(Request(index, str(index), index + 2, "m", "Describe.", ("https://x.example/1.mp4",)), f"{index}")


async def ended(folder, rows):
    """A ledger of a planned run whose rows all have their end, as far as it knows."""
    plan(folder, rows)
    ledger = MemoryLedger()
    card = RunCard(RUN, "api#key", "https://api", "key", "out", "secret", "e1", rows, Policy())
    await ledger.open_run(card, recover_until=0, ended={"completed": rows}, done=range(rows))
    await ledger.feed(RUN, 0, rows, [])
    run = await ledger.snapshot(RUN)
    assert run.all_ended
    return ledger, run


def write_rows(folder, epoch, start, rows):
    """One part of these annotations, as a writer makes it."""
    schema = folder._schema()
    path = folder.path / "parts" / range_name(epoch, start, start + len(rows), "parquet")
    annotations_file.write_part(path, schema, [annotations_file.table_of(rows, schema)])


def write(folder, *indexes, at=0):
    rows = [{"row_index": index, "model": "m", "finished_at": AT, "outcome": "completed"} for index in indexes]
    write_rows(folder, "e1", at, rows)


def files(folder):
    """All files that a run leaves, but for the parts, which go last."""
    return {
        path.relative_to(folder.out).as_posix(): path.read_bytes()
        for path in folder.out.rglob("*")
        if path.is_file() and path.parent.name != "parts"
    }


async def test_a_run_is_published_marked_and_finished(folder):
    ledger, run = await ended(folder, 2)
    write(folder, 0, 1)
    await finalize(run, ledger, folder)
    assert (folder.summary()["requests"], folder.summary()["outcomes"]["completed"]) == (2, 2)
    assert (await ledger.snapshot(RUN)).state is RunState.FINISHED


async def test_a_run_without_a_row_is_finished_too(folder):
    ledger, run = await ended(folder, 0)
    await finalize(run, ledger, folder)
    assert folder.summary()["requests"] == 0
    assert folder.receipt()["rows"]["manifest"] == 0


@pytest.mark.parametrize("indexes", [(), (0,), (0, 2), (0, 1, 2, 3)])
async def test_a_run_with_a_row_too_few_or_too_many_is_not_done(folder, indexes):
    ledger, run = await ended(folder, 3)
    write(folder, *indexes)
    with pytest.raises(StorageError, match=f"{len(indexes)} rows are on disk where 3 were asked"):
        await finalize(run, ledger, folder)
    assert (folder.summary(), folder.receipt()) == (None, None)
    assert (await ledger.snapshot(RUN)).state is RunState.RUNNING


async def test_a_run_whose_rows_are_not_those_that_were_asked_is_not_done(folder):
    ledger, run = await ended(folder, 3)
    write(folder, 0, 1, 7)
    with pytest.raises(StorageError, match=r"never asked: row 7; nothing was marked as done"):
        await finalize(run, ledger, folder)
    assert (folder.summary(), folder.receipt()) == (None, None)


async def test_the_row_that_was_missing_makes_the_run_done(folder):
    ledger, run = await ended(folder, 3)
    write(folder, 0, 1)
    with pytest.raises(StorageError):
        await finalize(run, ledger, folder)
    write(folder, 2, at=2)
    await finalize(run, ledger, folder)
    assert folder.summary()["outcomes"]["completed"] == 3


@pytest.mark.parametrize("news", [{"late": 1}, {"accepted_unsaved": 1}])
async def test_an_id_that_came_meanwhile_is_saved_before_the_run_is_marked_as_done(folder, news):
    ledger, run = await ended(folder, 2)
    write(folder, 0, 1)

    class Busy(MemoryLedger):
        async def snapshot(self, _):
            return replace(run, **news)

    await finalize(run, Busy(), folder)
    assert folder.summary() is None
    assert not folder.finished
    assert (await ledger.snapshot(RUN)).state is RunState.RUNNING
    folder.save_ids("e1", 0, 1, [b'[1,"task-late",1767225600000000,1,0]'])
    await finalize(run, ledger, folder)
    assert folder.receipt()["ids_without_a_row"] == 1
    assert (await ledger.snapshot(RUN)).state is RunState.FINISHED
    assert (verify(folder).differences, verify(folder).news) == ((), ())


async def test_a_run_whose_ledger_was_away_at_the_end_is_finalized_again(folder):
    ledger, run = await ended(folder, 1)
    write(folder, 0)

    class Away(MemoryLedger):
        async def set_state(self, run_id, state, reason="", *, only_from=None):
            raise LedgerUnavailable("away")

    with pytest.raises(LedgerUnavailable):
        await finalize(run, Away(), folder)
    before = files(folder)
    await finalize(run, ledger, folder)
    assert files(folder) == before
    assert (await ledger.snapshot(RUN)).state is RunState.FINISHED


@pytest.mark.parametrize(
    "step", ["annotations_file.write_usage", "audit", "LocalRunFolder.give_receipt", "LocalRunFolder.finish"]
)
async def test_a_finalize_that_dies_at_any_step_is_made_again_with_the_same_files(folder, tmp_path, monkeypatch, step):
    whole = LocalRunFolder(tmp_path / "whole", RUN)
    ledger, run = await ended(whole, 3)
    write(whole, 0, 2, 1)
    await finalize(run, ledger, whole)
    broken = LocalRunFolder(tmp_path / "broken", RUN)
    ledger, run = await ended(broken, 3)
    write(broken, 0, 2, 1)

    def die(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        *owner, name = step.split(".")
        patch.setattr(getattr(run_folder, owner[0]) if owner else run_folder, name, die)
        with pytest.raises(RuntimeError, match="killed"):
            await finalize(run, ledger, broken)
    assert broken.summary() is None
    await finalize(run, ledger, broken)
    assert files(broken) == files(whole)


async def test_the_report_is_made_of_what_is_published_and_before_the_run_is_done(folder):
    ledger, run = await ended(folder, 2)
    write(folder, 0, 1)
    seen = []
    await finalize(run, ledger, folder, lambda: seen.append((folder.done_path.exists(), *folder.published.iterdir())))
    assert seen == [(False, folder.published / "part-00000.parquet")]
    assert REPORT_TROUBLE not in folder.summary()


async def test_a_report_that_cannot_be_made_stops_no_run_and_is_told(folder):
    ledger, run = await ended(folder, 2)
    write(folder, 0, 1)

    def fail():
        raise StorageError("no room")

    await finalize(run, ledger, folder, fail)
    assert folder.summary()[REPORT_TROUBLE] == "no room"
    assert (await ledger.snapshot(RUN)).state is RunState.FINISHED
    assert verify(folder).differences == ()
    told = " ".join(file_lines(folder, folder.summary()))
    assert f"no report: no room; the dataset is whole all the same, and `vidbatch report {RUN}" in told
    assert f"receipt: {folder.receipt_path}" in told
