"""What workers could not tell the ledger in time: kept in files, told later, and never paid for twice by it."""

import os
from dataclasses import replace

import orjson
import pytest

from pipeline.cli.operation import Operation
from pipeline.cli.running import _replay_spilled
from pipeline.core.answers import Accepted, Ambiguous, Problem, Refused
from pipeline.core.errors import LedgerMismatch, LedgerUnavailable, StorageError
from pipeline.core.late import is_late
from pipeline.core.lifecycle import Outcome
from pipeline.core.snapshot import RunState
from pipeline.core.spilling import SpillHead
from pipeline.edges.spill import SpillFolder
from pipeline.flows.replay import Fate, Replay, replay_to_disk

pytestmark = pytest.mark.anyio

LEASE_MS = 10_000
PLACE = "redis://here:6379/0"
GOOD_HEAD = orjson.dumps({"run": "r", "out": "/nowhere", "token": "secret", "place": PLACE}) + b"\n"
CUT_STEP = b'{"i":0,"t":"1:w:1","s":"submitting","v":"accepted","w":0,"r":[]}\n'
LOST = Problem("worker_lost", "nobody answered")


@pytest.fixture
def spill(tmp_path):
    return SpillFolder(tmp_path / "state")


@pytest.fixture
def out(world, tmp_path):
    """OUT with the run's folder."""
    folder = tmp_path / "out" / "runs" / world.run
    folder.mkdir(parents=True)
    (folder / "run.json").write_bytes(orjson.dumps({"token": "secret"}))
    return tmp_path / "out"


def head(world, out="/nowhere", token="secret", place=PLACE):
    return SpillHead(world.run, str(out), token, place)


def replay(world, spill, place=PLACE):
    return Replay(spill, world.ledger, "replayer-1", place)


def no_disk_for_ids(world, out):
    """Where the folder of ids should be is something else."""
    sent = out / "runs" / world.run / "sent"
    sent.write_bytes(b"no folder")
    return sent


def sent_lines(out):
    return [orjson.loads(line) for file in out.glob("runs/*/sent/*.jsonl") for line in file.read_bytes().splitlines()]


async def accepted_ids(world):
    items = (await world.ledger.accepted_ids(world.run, 100)).items
    return [
        (is_late(item), *(orjson.loads(item)["late"] if is_late(item) else orjson.loads(item))[:2]) for item in items
    ]


async def test_what_was_kept_is_recorded_as_if_it_had_never_been_away(world, spill):
    await world.open(rows=4)
    rows = (await world.claim()).rows
    answers = [Accepted("task-0"), Ambiguous(LOST), Refused(Problem("no", "")), Accepted("task-3")]
    spill.keep(head(world), "w-1", [world.sent(row, answer) for row, answer in zip(rows, answers, strict=True)])
    [told] = await replay(world, spill)()
    assert (told.fate, told.steps, spill.names()) == (Fate.RECORDED, 4, [])
    run = await world.look()
    assert (run.pending, run.ready, run.submitting, run.outcomes[Outcome.REFUSED]) == (2, 1, 0, 1)
    assert await accepted_ids(world) == [(False, 0, "task-0"), (False, 3, "task-3")]


async def test_many_rows_are_recorded_in_groups(world, spill):
    await world.open(rows=100)
    rows = (await world.claim(limit=100)).rows
    spill.keep(head(world), "w-1", [world.sent(row, Accepted(f"task-{row.row_index}")) for row in rows])
    await replay(world, spill)()
    assert (await world.look()).pending == 100


async def test_an_id_whose_row_was_given_up_meanwhile_is_adopted(world, spill):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    spill.keep(head(world), "w-1", [world.sent(row, Accepted("task-0"))])
    world.clock.advance(LEASE_MS)
    await world.commit(*(world.lost(taken, LOST) for taken in (await world.lapsed()).rows))
    await replay(world, spill)()
    run = await world.look()
    assert (run.pending, run.ready, spill.names()) == (1, 0, [])
    assert await accepted_ids(world) == [(False, 0, "task-0")]


async def test_an_id_whose_row_was_sent_again_meanwhile_is_kept_as_a_late_one(world, spill):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    spill.keep(head(world), "w-1", [world.sent(row, Accepted("task-0"))])
    world.clock.advance(LEASE_MS)
    await world.commit(*(world.lost(taken, LOST) for taken in (await world.lapsed()).rows))
    world.clock.advance(LEASE_MS)
    [again] = (await world.claim()).rows
    await world.commit(world.sent(again, Accepted("task-again")))
    await replay(world, spill)()
    assert sorted(await accepted_ids(world)) == [(False, 0, "task-again"), (True, 0, "task-0")]


async def test_a_replay_that_was_cut_short_is_harmlessly_made_again(world, spill):
    await world.open(rows=3)
    rows = (await world.claim()).rows
    commits = [world.sent(row, Accepted(f"task-{row.row_index}")) for row in rows]
    spill.keep(head(world), "w-1", commits)
    assert await world.commit(*commits[:2]) == [True, True]
    await replay(world, spill)()
    assert (await world.look()).pending == 3
    assert await accepted_ids(world) == [(False, 0, "task-0"), (False, 1, "task-1"), (False, 2, "task-2")]


async def test_while_redis_is_away_a_file_waits(world, spill, monkeypatch):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    spill.keep(head(world), "w-1", [world.sent(row, Accepted("task-0"))])
    replaying = replay(world, spill)

    async def away(*_):
        raise LedgerUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(world.ledger, "commit", away)
        with pytest.raises(LedgerUnavailable):
            await replaying()
    assert len(spill.names()) == 1
    await replaying()
    assert ((await world.look()).pending, spill.names()) == (1, [])


async def test_ids_of_a_run_whose_ledger_is_gone_go_to_its_folder(world, spill, out):
    await world.open(rows=2)
    rows = (await world.claim()).rows
    spill.keep(head(world, out), "w-1", [world.sent(rows[0], Accepted("task-0")), world.sent(rows[1], Ambiguous(LOST))])
    await world.ledger.forget(world.run)
    [told] = await replay(world, spill)()
    assert (told.fate, spill.names()) == (Fate.SAVED, [])
    assert [line[:2] for line in sent_lines(out)] == [[0, "task-0"]]


@pytest.mark.parametrize("token", ["secret", "another"])
async def test_a_file_of_a_run_that_nobody_knows_stays_and_is_told_once(world, spill, out, token):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    where = "/nowhere" if token == "secret" else out
    spill.keep(head(world, where, token), "w-1", [world.sent(row, Accepted("task-0"))])
    await world.ledger.forget(world.run)
    replaying = replay(world, spill)
    assert [told.fate for told in await replaying()] == [Fate.KEPT]
    assert await replaying() == []
    assert (len(spill.names()), sent_lines(out)) == (1, [])


async def test_a_file_of_a_run_in_another_versions_ledger_stays(world, spill, monkeypatch):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    spill.keep(head(world), "w-1", [world.sent(row, Accepted("task-0"))])

    async def foreign(*_):
        raise LedgerMismatch("version 1")

    monkeypatch.setattr(world.ledger, "card", foreign)
    assert [told.fate for told in await replay(world, spill)()] == [Fate.FOREIGN]
    assert len(spill.names()) == 1


@pytest.mark.parametrize(
    "damage", [b"", b"no JSON\n", b"[]\n", b'{"run": "r"}\n', GOOD_HEAD + b"[1]\n", GOOD_HEAD + CUT_STEP]
)
async def test_a_file_that_can_not_be_read_is_left_and_keeps_no_other_waiting(world, spill, damage):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    spill.keep(head(world), "w-1", [world.sent(row, Accepted("task-0"))])
    (spill.path / "broken.jsonl").write_bytes(damage)
    assert {told.fate for told in await replay(world, spill)()} == {Fate.RECORDED, Fate.DAMAGED}
    assert spill.names() == ["broken.jsonl"]


async def test_a_file_is_replayed_by_one_process_at_a_time(world, spill):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    spill.keep(head(world), "w-1", [world.sent(row, Accepted("task-0"))])
    [name] = spill.names()
    with spill.held(name) as ours:
        assert ours is not None
        with SpillFolder(spill.path.parent).held(name) as theirs:
            assert theirs is None
    with spill.held(name) as first:
        assert first is not None
        descriptor = os.open(spill.path / name, os.O_RDONLY)
        spill.remove(name)
        assert not spill._locked(descriptor)
        os.close(descriptor)
    with spill.held(name) as gone:
        assert gone is None


async def test_before_a_ledger_is_made_anew_the_ids_of_its_run_alone_go_to_its_folder(world, spill, out):
    await world.open(rows=2)
    rows = (await world.claim()).rows
    spill.keep(head(world, "/moved"), "w-1", [world.sent(rows[0], Accepted("task-0"))])
    spill.keep(SpillHead("run-other", str(out), "secret", PLACE), "w-1", [world.sent(rows[1], Accepted("task-1"))])
    assert [told.fate for told in replay_to_disk(spill, world.run, str(out), PLACE)] == [Fate.SAVED]
    assert [line[:2] for line in sent_lines(out)] == [[0, "task-0"]]
    assert len(spill.names()) == 1


async def test_a_disk_that_refuses_says_what_is_lost_by_it(world, tmp_path):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    (tmp_path / "state").write_bytes(b"no folder")
    with pytest.raises(StorageError, match="task-0"):
        SpillFolder(tmp_path / "state").keep(head(world), "w-1", [world.sent(row, Accepted("task-0"))])


@pytest.mark.parametrize("known", [True, False])
async def test_a_worker_of_another_redis_leaves_a_file_alone_and_says_nothing_of_it(world, spill, out, known):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    spill.keep(head(world, out), "w-1", [world.sent(row, Accepted("task-0"))])
    if not known:
        await world.ledger.forget(world.run)
    assert await replay(world, spill, "redis://elsewhere:6379/0")() == []
    assert replay_to_disk(spill, world.run, str(out), "redis://elsewhere:6379/0") == []
    assert (len(spill.names()), sent_lines(out)) == (1, [])
    assert len(await replay(world, spill)()) == 1
    assert spill.names() == []


async def test_an_id_that_a_finished_run_takes_up_no_more_goes_to_its_folder(world, spill, out):
    await world.open(rows=2)
    rows = (await world.claim()).rows
    spill.keep(head(world, out), "w-1", [world.sent(row, Accepted(f"task-{row.row_index}")) for row in rows])
    world.clock.advance(LEASE_MS)
    await world.commit(*(world.lost(taken, LOST) for taken in (await world.lapsed()).rows))
    world.clock.advance(LEASE_MS)
    again = (await world.claim()).rows
    await world.commit(*(world.sent(row, Refused(Problem("no", ""))) for row in again))
    await world.ledger.set_state(world.run, RunState.FINISHED)
    [told] = await replay(world, spill)()
    assert (told.fate, spill.names()) == (Fate.SAVED, [])
    assert [line[:2] for line in sent_lines(out)] == [[0, "task-0"], [1, "task-1"]]
    assert await accepted_ids(world) == []


async def test_a_disk_that_refuses_ids_is_told_apart_from_a_file_that_can_not_be_read(world, spill, out):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    spill.keep(head(world, out), "w-1", [world.sent(row, Accepted("task-0"))])
    (spill.path / f"{world.run}-broken.jsonl").write_bytes(b"no JSON\n")
    await world.ledger.forget(world.run)
    sent, replaying = no_disk_for_ids(world, out), replay(world, spill)
    told = {one.fate: one.why for one in await replaying()}
    assert told.keys() == {Fate.DAMAGED, Fate.REFUSED}
    assert (str(sent) in told[Fate.REFUSED], "broken" in told[Fate.DAMAGED]) == (True, True)
    assert (len(spill.names()), await replaying()) == (2, [])
    sent.unlink()
    assert [one.fate for one in await replaying()] == [Fate.SAVED]


async def test_a_file_that_can_not_be_removed_is_told_and_keeps_no_other_waiting(world, spill, monkeypatch):
    await world.open(rows=2)
    for row in (await world.claim()).rows:
        spill.keep(head(world), f"w-{row.row_index}", [world.sent(row, Accepted(f"task-{row.row_index}"))])

    def refuses(path, **_):
        raise OSError(f"{path} is on a disk that is read-only")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", refuses)
        assert [one.fate for one in await replay(world, spill)()] == [Fate.REFUSED] * 2
    assert (await world.look()).pending == 2
    assert [one.fate for one in await replay(world, spill)()] == [Fate.RECORDED] * 2
    assert len(await accepted_ids(world)) == 2


async def test_before_a_ledger_is_made_anew_a_damaged_file_keeps_no_other_waiting(world, spill, out):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    spill.path.mkdir(parents=True)
    (spill.path / f"{world.run}-broken.jsonl").write_bytes(b"no JSON\n")
    os.utime(spill.path / f"{world.run}-broken.jsonl", (0, 0))
    spill.keep(head(world), "w-1", [world.sent(row, Accepted("task-0"))])
    told = replay_to_disk(spill, world.run, str(out), PLACE)
    assert [one.fate for one in told] == [Fate.DAMAGED, Fate.SAVED]
    assert [line[:2] for line in sent_lines(out)] == [[0, "task-0"]]
    assert spill.names() == [f"{world.run}-broken.jsonl"]


async def test_a_run_does_not_go_on_from_a_folder_that_refused_ids_which_are_known(world, spill, out):
    card = replace(await world.open(rows=1), out=str(out))
    [row] = (await world.claim()).rows
    spill.keep(head(world, out), "w-1", [world.sent(row, Accepted("task-0"))])
    await world.ledger.forget(world.run)
    sent = no_disk_for_ids(world, out)
    operation = Operation(PLACE, 1, None, False, None, {"VIDBATCH_STATE": str(spill.path.parent)})
    with pytest.raises(StorageError, match=str(sent)):
        await _replay_spilled(card, operation, world.ledger, PLACE)
    sent.unlink()
    await _replay_spilled(card, operation, world.ledger, PLACE)
    assert ([line[:2] for line in sent_lines(out)], spill.names()) == ([[0, "task-0"]], [])


async def test_no_file_takes_the_place_of_another_that_waits(world, spill):
    await world.open(rows=3)
    first, second, third = (world.sent(row, Accepted(f"task-{row.row_index}")) for row in (await world.claim()).rows)
    spill.keep(head(world), "w-1", [first])
    spill.keep(head(world), "w-1", [second])
    spill.remove(spill.names()[0])
    spill.keep(head(world), "w-1", [third])
    kept = []
    for name in spill.names():
        with spill.held(name) as spilled:
            kept += [commit.row_index for commit in spilled.commits]
    assert sorted(kept) == [1, 2]


async def test_the_state_folder_is_made_for_its_user_alone(world, tmp_path):
    await world.open(rows=1)
    [row] = (await world.claim()).rows
    state = tmp_path / "new" / "state"
    SpillFolder(state).keep(head(world), "w-1", [world.sent(row, Accepted("task-0"))])
    for folder in (state, state / "spill"):
        found = folder.stat()
        assert (found.st_mode & 0o777, found.st_uid) == (0o700, os.getuid())
