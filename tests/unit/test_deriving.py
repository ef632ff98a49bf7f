"""Retries and collections as they are planned: which rows of which runs, and what is on disk before they begin."""

from datetime import UTC, datetime

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli.deriving import Nothing, prepare_collection, prepare_retry
from pipeline.cli.ending import left_lines
from pipeline.cli.preparing import Prepared, Question, found, prepare
from pipeline.cli.wording import again_words
from pipeline.core.errors import KeyMissing, RunConflict, UsageError
from pipeline.core.lifecycle import Outcome
from pipeline.core.prompts import Prompt
from pipeline.core.requests import Defaults
from pipeline.core.standing import DEFAULT_OUTCOMES, Selection
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.requests_reader import RequestsFile
from pipeline.edges.schemas import checked_schema

USUAL = Selection(frozenset(DEFAULT_OUTCOMES))
ACCEPTED = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("row_index", pa.int64()),
        ("row_id", pa.string()),
        ("request_hash", pa.string()),
        ("duplicate_of", pa.string()),
        ("outcome", pa.string()),
        ("error_code", pa.string()),
        ("generation_id", pa.string()),
        ("submitted_at", pa.timestamp("us", tz="UTC")),
        ("possible_duplicate", pa.bool_()),
        ("answer_status", pa.string()),
    ]
)


def finish(prepared, ends, *, file="part-00000.parquet"):
    """End a run with these rows: row index → (outcome, code, generation id, doubtful), what follows may be left out."""
    folder = prepared.folder
    rows = [
        (index, *end, *(None, None, False)[len(end) - 1 :], ACCEPTED) if len(end) < 4 else (index, *end, ACCEPTED)
        for index, end in ends.items()
    ]
    named = ("row_index", "outcome", "error_code", "generation_id", "possible_duplicate", "submitted_at")
    folder.published.mkdir(parents=True)
    asked = folder.requests().rows([row[0] for row in rows])
    cells = [
        {"row_id": asked[row[0]].row_id, "request_hash": asked[row[0]].request_hash}
        | dict(zip(named, row, strict=True))
        for row in rows
    ]
    table = pa.Table.from_pylist(cells, schema=SCHEMA)
    pq.write_table(table, folder.published / file)
    folder.begin("unix:///here", "identity")
    counts = {outcome.value: sum(row[1] == outcome.value for row in rows) for outcome in Outcome}
    (folder.path / "done.json").write_bytes(orjson.dumps({"outcomes": counts}))


@pytest.fixture
def out(tmp_path):
    return OutFolder(tmp_path / "out")


@pytest.fixture
def run(tmp_path, out):
    """A planned run of eight requests, whose row 3 was rejected."""
    cells = [f"https://videos.example/{i}.{'avi' if i == 3 else 'mp4'},Describe {i}.,v{i},shelf-{i}" for i in range(9)]
    manifest = tmp_path / "videos.csv"
    manifest.write_text("\n".join(["video_url,prompt,id,place", *cells]), encoding="utf-8")
    question = Question((manifest,), Defaults(), "https://api.example", None)
    prices = {"gemini-2.5-pro": {"input": 1.0, "output": 2.0}, "other": {"input": 9.0, "output": 9.0}}
    return prepare(question, out, prices=prices, strict=False, progress=None)


def test_a_firing_has_one_run_however_often_its_command_is_given_and_whatever_was_changed_since(tmp_path, out):
    manifest = tmp_path / "tonight.csv"

    def given(firing, video, *, refresh=True):
        manifest.write_text(f"video_url,prompt\nhttps://videos.example/{video}.mp4,Describe.", encoding="utf-8")
        question = Question((manifest,), Defaults(), "https://api.example", None)
        return prepare(question, out, prices={}, strict=False, progress=None, refresh=refresh, firing=firing)

    planned = given("nightly/1", "a")
    first = given("nightly/1", "b")
    assert first.folder.run_id != planned.folder.run_id, "a plan of which nothing was sent gives way"
    first.folder.begin("redis://r", "identity")
    assert given("nightly/1", "c").folder.run_id == first.folder.run_id
    finish(first, {0: ("failed", "timeout")})
    again = given("nightly/1", "b")
    assert (again.folder.run_id, again.finished) == (first.folder.run_id, True)
    second = given("nightly/2", "b")
    assert (second.resumed, second.described["requests"]) == (False, 1)


ENDS = {
    0: ("completed",),
    1: ("failed", "timeout"),
    2: ("failed", "generation_failed"),
    4: ("cancelled", "cancelled"),
    5: ("unknown", "worker_lost"),
    6: ("expired", "deadline", "task-6", False),
    7: ("cancelled", "abandoned", "task-7", True),
    8: ("refused", "invalid"),
}


def indexes(prepared):
    with RequestsFile(prepared.folder.path / "requests.parquet") as file:
        return [request.row_index for request in file.read(0, 100)]


def test_a_retry_asks_failed_and_cancelled_rows_just_as_they_were_asked(out, run):
    finish(run, ENDS)
    retry = prepare_retry(out, run.folder.run_id, USUAL)
    assert indexes(retry) == [1, 2, 4]
    rows = [1, 2, 4]
    with (
        RequestsFile(run.folder.path / "requests.parquet") as first,
        RequestsFile(retry.folder.path / "requests.parquet") as again,
    ):
        assert again.rows(rows) == first.rows(rows)
    described = retry.described
    assert described["retry_of"] == run.folder.run_id
    assert described["selection"] == {"outcomes": ["cancelled", "failed"], "codes": []}
    assert (described["rows"], described["requests"], described["rejections"]) == (3, 3, 0)
    for name in ("base_url", "carried", "manifests", "models"):
        assert described[name] == {**run.described, "models": {"gemini-2.5-pro": 3}}[name]
    assert list(described["prices"]) == ["gemini-2.5-pro"]
    assert described["token"] != run.described["token"]
    assert not retry.folder.begun
    assert (retry.folder.path / "rejects.parquet").exists()


def test_a_retry_judges_its_answers_as_the_run_that_it_comes_from(tmp_path, out):
    manifest = tmp_path / "one.csv"
    manifest.write_text("video_url\nhttps://videos.example/1.mp4", encoding="utf-8")
    schemas = [checked_schema({"type": "object", "properties": {"n": {"minimum": n}}}) for n in (1, 2)]

    def asked(schema):
        return Question((manifest,), Defaults(), "https://api.example", None, (Prompt("?"),), schema)

    first = prepare(asked(schemas[0]), out, prices={}, strict=False, progress=None)
    finish(first, {0: ("failed", "timeout")})
    retry = prepare_retry(out, first.folder.run_id, USUAL)
    kept = {name: retry.described[name] for name in ("answer_schema", "schema_digest", "answer_shape")}
    assert kept == {
        "answer_schema": schemas[0].schema,
        "schema_digest": schemas[0].digest,
        "answer_shape": {"struct": {"n": "json"}},
    }
    assert len({asked(schema).digest() for schema in (None, *schemas)}) == 3


def test_the_same_retry_is_the_same_run_until_it_is_finished(out, run):
    finish(run, ENDS)
    retry = prepare_retry(out, run.folder.run_id, USUAL)
    again = prepare_retry(out, run.folder.run_id, USUAL)
    assert (again.folder.run_id, again.resumed) == (retry.folder.run_id, False)
    retry.folder.begin("unix:///here", "identity")
    assert prepare_retry(out, run.folder.run_id, USUAL).resumed
    timeouts = Selection(USUAL.outcomes, frozenset({"timeout"}))
    with pytest.raises(RunConflict, match=f"vidbatch retry {run.folder.run_id} --out"):
        prepare_retry(out, run.folder.run_id, timeouts)


def test_rows_that_a_later_retry_completed_are_not_asked_again(out, run):
    finish(run, ENDS)
    first = prepare_retry(out, run.folder.run_id, USUAL)
    finish(first, {1: ("completed",), 2: ("failed", "timeout"), 4: ("unknown", "worker_lost")})
    second = prepare_retry(out, run.folder.run_id, USUAL)
    assert second.folder.run_id != first.folder.run_id
    assert indexes(second) == [2]
    finish(second, {2: ("completed",)})
    for run_id in (run.folder.run_id, first.folder.run_id):
        nothing = prepare_retry(out, run_id, USUAL)
        assert isinstance(nothing, Nothing)
        assert nothing.remains.again == 0
    unknown = Selection(frozenset({Outcome.UNKNOWN}))
    assert indexes(prepare_retry(out, first.folder.run_id, unknown)) == [4]


def test_only_finished_runs_are_retried(out, run):
    with pytest.raises(RunConflict, match=f"is not finished.*vidbatch cancel {run.folder.run_id}"):
        prepare_retry(out, run.folder.run_id, USUAL)
    with pytest.raises(UsageError, match=f"holds no run other; it holds {run.folder.run_id}"):
        prepare_retry(out, "other", USUAL)


def test_a_folder_without_runs_is_not_made(tmp_path):
    with pytest.raises(UsageError, match="it holds none"):
        prepare_retry(OutFolder(tmp_path / "absent"), "other", USUAL)
    assert not (tmp_path / "absent").exists()


def test_a_collection_knows_on_disk_that_all_its_rows_were_sent_before_it_can_be_found(out, run):
    finish(run, ENDS)
    collection = prepare_collection(out, run.folder.run_id, dict)
    assert collection.described["collects"] == run.folder.run_id
    assert indexes(collection) == [6, 7]
    at = round(ACCEPTED.timestamp() * 1_000_000)
    assert collection.folder.saved_ids() == [[6, "task-6", at, 1, 0], [7, "task-7", at, 1, 1]]
    assert collection.folder.fed() == 2
    assert prepare_collection(out, run.folder.run_id, dict).folder.run_id == collection.folder.run_id


def test_what_was_collected_is_not_collected_again(out, run):
    finish(run, ENDS)
    collection = prepare_collection(out, run.folder.run_id, dict)
    finish(collection, {6: ("completed", None, "task-6", False), 7: ("expired", "deadline", "task-7", True)})
    second = prepare_collection(out, run.folder.run_id, dict)
    assert indexes(second) == [7]
    finish(second, {7: ("failed", "timeout", "task-7", True)})
    assert isinstance(prepare_collection(out, run.folder.run_id, dict), Nothing)
    assert indexes(prepare_retry(out, run.folder.run_id, USUAL)) == [1, 2, 4, 7]


def test_a_manifest_with_the_requests_of_a_collection_is_a_run_of_its_own(tmp_path, out, run):
    finish(run, dict.fromkeys(ENDS, ("expired", "deadline", "task", False)))
    collection = prepare_collection(out, run.folder.run_id, dict)
    finish(collection, dict.fromkeys(ENDS, ("completed",)))
    moved = tmp_path / "moved.csv"
    moved.write_text((tmp_path / "videos.csv").read_text() + "\n", encoding="utf-8")
    question = Question((moved,), Defaults(), "https://api.example", None)
    same = prepare(question, out, prices={}, strict=False, progress=None)
    assert same.folder.run_id == run.folder.run_id


def test_a_plan_that_fails_half_way_leaves_no_run(out, run, monkeypatch):
    finish(run, ENDS)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.edges.run_folder.LocalRunFolder.mark_fed", full)
    with pytest.raises(OSError, match="No space"):
        prepare_collection(out, run.folder.run_id, dict)
    assert [folder.run_id for folder in out.runs()] == [run.folder.run_id]


def test_a_collection_without_a_key_keeps_nobody_from_the_folder(out, run):
    finish(run, ENDS)

    def missing():
        raise KeyMissing("no API key")

    with pytest.raises(KeyMissing):
        prepare_collection(out, run.folder.run_id, missing)
    assert isinstance(prepare_retry(out, run.folder.run_id, USUAL), Prepared)


def told(prepared):
    return "\n".join(left_lines(prepared, prepared.folder.summary()))


def test_the_end_of_a_run_names_what_can_be_done_for_rows_that_did_not_complete(out, run):
    finish(run, ENDS)
    run_id = run.folder.run_id
    assert f"2 rows have a generation that was paid for: `vidbatch collect {run_id} --out {out.path}`" in told(run)
    assert (
        f"`vidbatch retry {run_id} --out {out.path}` (3 failed or cancelled, 1 that may have been billed: --unknown"
        in told(run)
    )
    retry = prepare_retry(out, run_id, USUAL)
    retry.folder.begin("unix:///here", "identity")
    assert f"run {retry.folder.run_id} works on some of these rows" in told(run)
    finish(retry, {1: ("completed",), 2: ("completed",), 4: ("completed",)})
    assert told(found(retry.folder)) == ""
    assert "(1 that may have been billed: --unknown, 1 refused: --outcome refused)" in told(run)


def test_a_run_whose_rows_later_runs_completed_says_so(out, run):
    finish(run, {**dict.fromkeys(ENDS, ("completed",)), 2: ("failed", "timeout")})
    finish(prepare_retry(out, run.folder.run_id, USUAL), {2: ("completed",)})
    assert told(run) == "all of them completed by now, in later runs"


def test_a_run_without_rows_left_has_nothing_to_tell(out, run):
    finish(run, dict.fromkeys(ENDS, ("completed",)))
    assert told(run) == ""


def test_the_command_that_goes_on_with_a_run_is_told_as_typed(out, run):
    finish(run, ENDS)
    run_id = run.folder.run_id
    assert again_words(run.folder, run.described).startswith("vidbatch run ")
    chosen = Selection(frozenset({Outcome.FAILED}), frozenset({"timeout"}))
    retry = prepare_retry(out, run_id, chosen)
    assert isinstance(retry, Prepared)
    words = f"vidbatch retry {run_id} --out {out.path} --outcome failed --code timeout"
    assert again_words(retry.folder, retry.described) == words


@pytest.fixture
def doubled(tmp_path, out):
    """A planned run of seven rows: 2, 3 and 6 ask what 0 asks, and 5 what 4 asks."""
    cells = [f"https://videos.example/{video}.mp4,Describe.,v{row}" for row, video in enumerate("0100440")]
    manifest = tmp_path / "doubled.csv"
    manifest.write_text("\n".join(["video_url,prompt,id", *cells]), encoding="utf-8")
    question = Question((manifest,), Defaults(), "https://api.example", None)
    made = prepare(question, out, prices={}, strict=False, progress=None)
    assert indexes(made) == [0, 1, 4]
    ends = {0: ("failed", "timeout"), 1: ("completed",), 4: ("expired", "deadline", "task-4", False)}
    finish(made, ends)
    [path] = made.folder.published.iterdir()
    named = pq.read_table(path, partitioning=None)
    copies = [{**named.to_pylist()[place], "duplicate_of": f"v{first}"} for place, first in ((0, 0), (0, 0), (2, 4))]
    more = [{**row, "row_index": index, "generation_id": None} for row, index in zip(copies, (2, 3, 5), strict=True)]
    pq.write_table(pa.concat_tables([named, pa.Table.from_pylist(more, schema=named.schema)]), path)
    return made


def copied(prepared):
    rows = pq.read_table(prepared.folder.duplicates().path).to_pylist()
    return [(row["row_index"], row["row_id"], row["first_index"], row["first_id"]) for row in rows]


def test_duplicates_come_along_when_their_first_is_asked_again(out, doubled):
    retry = prepare_retry(out, doubled.folder.run_id, USUAL)
    assert (indexes(retry), copied(retry)) == ([0], [(2, "v2", 0, "v0"), (3, "v3", 0, "v0"), (6, "v6", 0, "v0")])
    counts = {name: retry.described[name] for name in ("rows", "requests", "duplicates", "rejections")}
    assert counts == {"rows": 4, "requests": 1, "duplicates": 3, "rejections": 0}
    finish(retry, {0: ("failed", "timeout")})
    again = prepare_retry(out, retry.folder.run_id, USUAL)
    assert (indexes(again), copied(again)) == ([0], copied(retry))


def test_duplicates_come_along_when_their_firsts_answer_is_collected(out, doubled):
    collection = prepare_collection(out, doubled.folder.run_id, lambda: None)
    assert (indexes(collection), copied(collection)) == ([4], [(5, "v5", 4, "v4")])
    assert [saved[:2] for saved in collection.folder.saved_ids()] == [[4, "task-4"]]


def test_a_run_whose_chosen_rows_have_no_duplicates_has_no_file_of_them(out, run):
    finish(run, ENDS)
    retry = prepare_retry(out, run.folder.run_id, USUAL)
    assert (retry.described["duplicates"], retry.folder.duplicates().path.exists()) == (0, False)


def test_what_is_left_counts_duplicates_too(out, doubled):
    selection = Selection(frozenset({Outcome.REFUSED}))
    left = prepare_retry(out, doubled.folder.run_id, selection).remains
    assert left.counts == {(Outcome.FAILED, "timeout"): 4, (Outcome.EXPIRED, "deadline"): 2}
    assert (left.again, left.collectable) == (4, 2)
    lines = "\n".join(left_lines(doubled, doubled.folder.summary()))
    assert "2 rows have a generation that was paid for" in lines


def test_completed_rows_are_asked_again_by_what_their_answer_is_worth(out, run):
    finish(run, {0: ("completed",), 1: ("completed",), 2: ("failed", "timeout")})
    path = run.folder.published / "part-00000.parquet"
    table = pq.read_table(path, partitioning=None)
    place = table.column_names.index("answer_status")
    pq.write_table(table.set_column(place, "answer_status", pa.array(["ok", "invalid", None])), path)
    retry = prepare_retry(out, run.folder.run_id, Selection(frozenset(), answers=frozenset({"invalid"})))
    assert isinstance(retry, Prepared)
    assert list(retry.folder.requests().rows([1])) == [1]
    assert retry.described["requests"] == 1
    assert again_words(retry.folder, retry.described).endswith("--answer invalid")
