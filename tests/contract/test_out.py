"""What a run's files promise holds wherever OUT is: on a disk, or in an object store behind HTTP."""

import asyncio
import threading
from datetime import UTC, datetime
from types import SimpleNamespace

import orjson
import pyarrow.parquet as pq
import pytest

from pipeline.core.budget import Budget
from pipeline.core.errors import RunConflict, StorageError
from pipeline.core.requests import Rejection, Request
from pipeline.core.rows import Rows
from pipeline.edges import annotations_file, object_client
from pipeline.edges.files import appear, locked, replaced, unfinished, write_bytes
from pipeline.edges.opening import parquet_source
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.places import ObjectPlace, listed, out_place
from pipeline.edges.requests_file import RejectsWriter, RequestsWriter
from pipeline.edges.run_folder import range_name
from pipeline.edges.spill import SpillFolder
from pipeline.flows.finalize import finalize
from pipeline.flows.verify import verify

AT = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN = "the run's token"
JOIN_S = 60.0


@pytest.fixture(params=["disk", "store"])
def out(request, tmp_path):
    """OUT, made and empty."""
    if request.param == "store":
        place = out_place(f"s3://{request.getfixturevalue('store').bucket()}/data/set")
    else:
        place = tmp_path / "out"
    made = OutFolder(place)
    made.make()
    return made


@pytest.fixture
def run(out):
    """A planned run of six rows, of which one is rejected."""
    return planned(out, "run-1")


def planned(out, run_id):
    made = out.run(run_id)
    with RequestsWriter(made.draft / "requests.parquet", {"kept": "beside"}) as requests:
        for index in (0, 1, 3, 4, 5):
            row = Request(index, f"id-{index}", index + 2, "m", "Describe.", ("https://videos.example/1.mp4",))
            requests.add(row, f"hash {index}")
    with RejectsWriter(made.draft / "rejects.parquet") as rejects:
        rejects.add(Rejection("a.csv", 2, 4, None, "prompt", "", "text", "{}"))
    made.describe(
        {"run_id": run_id, "token": TOKEN, "carried": {}, "rows": 6, "requests": 5, "rejections": 1, "manifests": ["a"]}
    )
    return made


def annotations(*indexes):
    """Annotations as a writer has them."""
    billed = {"prompt_tokens": 100, "completion_tokens": 10, "cost": 0.25}
    return [
        {
            "row_index": index,
            "row_id": f"id-{index}",
            "model": "m",
            "outcome": "completed",
            "finished_at": AT,
            "generation_id": f"task-{index}",
            "attempts": 1,
            "attempt_log": [
                {"generation_id": f"task-{index}", "submitted_at": AT, "outcome": "completed", **billed},
            ],
            "possible_duplicate": False,
            **billed,
        }
        for index in indexes
    ]


def write(run, start, *indexes, epoch="e1"):
    schema = run._schema()
    path = run.path / "parts" / range_name(epoch, start, start + len(indexes), "parquet")
    annotations_file.write_part(path, schema, [annotations_file.table_of(annotations(*indexes), schema)])
    run.save_ids(
        epoch,
        start,
        start + len(indexes),
        [orjson.dumps([i, f"task-{i}", 1_767_225_600_000_000, 1, 0]) for i in indexes],
    )


def end(run):
    class NoLedger:
        async def snapshot(self, _):
            return None

        async def set_state(self, *_):
            """Nobody asks."""

    snapshot = SimpleNamespace(run_id=run.run_id, total=5, double_ends=0, budget=Budget())
    asyncio.run(finalize(snapshot, NoLedger(), run))


def rows_of(run):
    """Row indexes as a reader of the dataset finds them, file by file."""
    files = annotations_file.published_files(run.published)
    return [pq.read_table(parquet_source(file), partitioning=None)["row_index"].to_pylist() for file in files]


def at_once(*works):
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(JOIN_S)
    assert not any(thread.is_alive() for thread in threads)


def test_a_planned_run_is_found_and_its_requests_are_read(out, run):
    assert [found.run_id for found in out.runs()] == ["run-1"]
    assert run.requests().total == 5
    assert run.requests().metadata["kept"] == "beside"
    assert [one.row_id for one in run.requests().read(1, 3)] == ["id-1", "id-3", "id-4"]
    assert run.holds(TOKEN)
    assert not run.holds("another's")
    assert not out.run("run-2").holds(TOKEN)


def test_a_plan_that_is_not_described_is_no_run_and_leaves_nothing(out):
    made = out.run("run-1")
    with RequestsWriter(made.draft / "requests.parquet", {}):
        pass
    assert list(out.runs()) == []
    made.discard()
    assert not made.path.exists()


def test_a_discarded_plan_is_gone_for_whoever_saw_it(out, run):
    assert list(out.runs())
    OutFolder(out.path).run("run-1").discard()
    assert list(out.runs()) == []


def test_runs_are_told_newest_first_and_what_was_planned_meanwhile_is_seen(out, run):
    assert [one.run_id for one in out.runs()] == ["run-1"]
    planned(out, "run-2")
    assert [one.run_id for one in out.runs()] == ["run-2", "run-1"]


def test_marks_of_a_run_are_seen_by_others(out, run):
    other = next(OutFolder(out.path).runs())
    assert (other.begun, other.cancelled, other.abandoned, other.begun_in()) == (False, False, False, {})
    run.begin("here", "server-1")
    run.cancel(abandon=True)
    assert (other.begun, other.cancelled, other.abandoned) == (True, True, True)
    assert other.begun_in() == {"place": "here", "identity": "server-1"}
    other.cap(Budget(cost=2.5))
    assert run.budget == Budget(cost=2.5)


def test_the_mark_of_the_feed_never_goes_back_whoever_raises_it(out, run):
    assert run.fed() == 0
    assert not run.begun
    run.mark_fed(3)
    OutFolder(out.path).run("run-1").mark_fed(2)
    run.mark_fed(1)
    assert OutFolder(out.path).run("run-1").fed() == 3
    assert run.begun


def test_the_datasets_columns_are_fixed_once(out, run):
    names, shape = out.columns_of(["camera"])
    out.fix_columns(names, shape)
    assert OutFolder(out.path).columns_of(["camera"])[0] == {"camera": "camera"}
    with pytest.raises(RunConflict):
        OutFolder(out.path).columns_of(["lens"])


def test_parts_and_ids_are_read_back_and_the_same_range_replaces_itself(run):
    write(run, 0, 0, 1)
    write(run, 0, 0, 1)
    write(run, 2, 3)
    ended = run.ended()
    assert [index for index in range(6) if index in ended.rows] == [0, 1, 3]
    assert ended.outcomes == {"completed": 3}
    assert [saved[:2] for saved in run.saved_ids()] == [[0, "task-0"], [1, "task-1"], [3, "task-3"]]
    assert [saved[0] for saved in run.open_ids(Rows([0]))] == [1, 3]
    assert run.settled().prompt_tokens == 300


def test_a_run_is_published_once_however_often_it_is_tried(run):
    write(run, 0, 5, 1)
    assert run.publish().rows == 2
    assert run.publish().rows == 2
    assert rows_of(run) == [[1, 5]]
    write(run, 2, 0, 3, 4)
    assert run.publish().rows == 5
    assert rows_of(run) == [[1, 5], [0, 3, 4]]


def test_a_row_that_two_ledgers_wrote_is_published_once(run):
    write(run, 0, 0, 1, 3)
    write(run, 0, 3, 4, 5, epoch="e2")
    run.publish()
    assert rows_of(run) == [[0, 1, 3, 4, 5]]


def test_a_finished_run_is_verified_and_its_parts_are_gone(out, run):
    write(run, 0, 0, 1, 3)
    write(run, 3, 4, 5)
    assert not run.finished
    end(run)
    again = next(OutFolder(out.path).runs())
    assert again.finished
    assert again.summary()["outcomes"]["completed"] == 5
    assert listed(run.path / "parts", "part-*.parquet") == []
    assert verify(again).differences == ()
    assert out.homeless() == []
    for name in ("annotations/copy.parquet", "annotations/run=gone/x.parquet", "usage/x.parquet", "usage/.hidden"):
        folder, _, file = name.rpartition("/")
        write_bytes(out.path / folder / file, b"x")
    assert out.homeless() == ["annotations/copy.parquet", "annotations/run=gone", "usage/x.parquet"]


def test_verify_tells_of_a_file_that_is_gone(run):
    write(run, 0, 0, 1, 3, 4, 5)
    end(run)
    annotations_file.published_files(run.published)[0].unlink()
    assert any("part-00000.parquet" in str(one) for one in verify(run).differences)


def test_a_run_without_an_end_for_each_row_is_not_done(run):
    write(run, 0, 0, 1)
    with pytest.raises(StorageError, match="2 rows are on disk where 5 were asked"):
        end(run)
    assert run.summary() is None


def test_ids_that_redis_was_not_told_are_saved_only_where_the_run_is(out, run, tmp_path):
    spill = SpillFolder(tmp_path / "state")
    spilled = SimpleNamespace(name="a.jsonl", head=SimpleNamespace(run_id="run-1", token=TOKEN))
    assert spill.save_beside(spilled, str(out.path), [b'[4,"task-4",1,1,0]'])
    assert [saved[1] for saved in run.saved_ids()] == ["task-4"]
    spilled.head.token = "another's"
    assert not spill.save_beside(spilled, str(out.path), [b'[5,"task-5",1,1,0]'])
    spilled.head.run_id = "run-2"
    assert not spill.save_beside(spilled, str(out.path), [])


def test_a_file_that_is_not_whole_never_shows(out):
    path = out.path / "file"
    write_bytes(path, b"old")

    def write_half():
        with replaced(path) as temporary:
            temporary.write_bytes(b"half of the n")
            raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        write_half()
    assert path.read_bytes() == b"old"


def test_of_a_folder_whose_names_are_taken_nothing_is_used(out):
    into = out.path / "annotations" / "run=1"
    for content, appeared in ((b"first", True), (b"second", False)):
        with unfinished(out.path / "runs") as folder:
            whole = folder / "whole"
            whole.mkdir()
            for name in "ab":
                (whole / name).write_bytes(content)
            assert appear(whole, into) is appeared
    assert [place.read_bytes() for place in listed(into, "*")] == [b"first", b"first"]


def test_a_lock_is_held_by_one_at_a_time(out):
    inside, most = [], []

    def work():
        for _ in range(3):
            with locked(out.path / "lock"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    at_once(work, work, work)
    assert most == [1] * 9


def test_a_lock_whose_holder_died_is_taken_over(store, monkeypatch):
    monkeypatch.setattr("pipeline.edges.object_lock.DEAD_S", 0.5)
    folder = out_place(f"s3://{store.bucket()}/lock")
    write_bytes(folder / "000000001-dead", b"claim")
    write_bytes(folder / "choosing-dead", b"")
    with locked(folder):
        assert [place.name.partition("-")[2] != "dead" for place in folder.iterdir()] == [True]


def test_a_large_file_goes_there_and_back_in_pieces(store):
    place = out_place(f"s3://{store.bucket()}/large")
    content = bytes(range(256)) * 100_000
    with replaced(place) as temporary:
        temporary.write_bytes(content)
    assert place.read_bytes() == content
    assert parquet_source(place).read(10) == content[:10]
    assert store.counts()["POST"] == 2


@pytest.mark.parametrize(
    ("method", "status"),
    [("PUT", 503), pytest.param("*", 500, marks=pytest.mark.slow), pytest.param("GET", 500, marks=pytest.mark.slow)],
)
def test_a_store_that_fails_every_third_request_is_asked_again(store, method, status):
    out = OutFolder(out_place(f"s3://{store.bucket()}/set"))
    out.make()
    store.fail(method, 3, status)
    made = planned(out, "run-1")
    write(made, 0, 0, 1, 3)
    write(made, 3, 4, 5)
    end(made)
    assert rows_of(made) == [[0, 1, 3, 4, 5]]
    assert verify(made).differences == ()
    assert store.counts()["failed"] >= 3


def test_a_store_that_stays_away_is_told_and_nothing_is_lost(store, monkeypatch):
    monkeypatch.setattr(object_client, "PATIENCE_S", 0.5)
    out = OutFolder(out_place(f"s3://{store.bucket()}/set"))
    out.make()
    made = planned(out, "run-1")
    write(made, 0, 0, 1, 3)
    store.fail("PUT", 1)
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:\d+ does not answer as it should; nothing is lost") as told:
        write(made, 3, 4, 5)
    assert "part-e1-000000000003" in str(told.value)
    store.fail("PUT", 0)
    write(made, 3, 4, 5)
    end(made)
    assert rows_of(made) == [[0, 1, 3, 4, 5]]


def test_a_bucket_that_is_not_there_is_told(store):
    missing = OutFolder(out_place("s3://no-such-bucket/set"))
    for look in (missing.make, lambda: list(missing.runs())):
        with pytest.raises(
            StorageError, match=r"^s3://no-such-bucket/set.*: there is no bucket no-such-bucket: make it"
        ):
            look()


def test_a_store_that_nobody_reaches_is_told_at_once(store, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    object_client.forget()
    with pytest.raises(StorageError, match=r"^s3://bucket/set: http://127\.0\.0\.1:9 does not answer"):
        OutFolder(out_place("s3://bucket/set")).make()


def test_who_has_no_credentials_is_told_which(store, monkeypatch, tmp_path):
    bucket = store.bucket()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    object_client.forget()
    with pytest.raises(StorageError, match="the store refuses access: set AWS_ACCESS_KEY_ID"):
        OutFolder(out_place(f"s3://{bucket}/set")).make()


def test_a_request_of_a_row_is_rare(store):
    """The fixed price of a run aside: each part is one request, and so is each file of ids."""
    made = planned(OutFolder(out_place(f"s3://{store.bucket()}/set")), "run-1")
    made.described()
    store.counts()
    write(made, 0, 0, 1, 3)
    assert store.counts() == {"PUT": 2}


def test_places_of_a_store_compare_and_are_called_like_paths(store):
    place = out_place("s3://bucket//set/")
    assert str(place / "runs") == "s3://bucket/set/runs"
    assert isinstance(place, ObjectPlace)
    assert (place / "a.parquet").suffix == ".parquet"
    assert sorted([place / "b", place / "a"]) == [place / "a", place / "b"]
    assert {place / "a", place / "b"} == {(place / "b" / "c").parent, place / "a"}
