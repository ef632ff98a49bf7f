"""What a plan need not send: rows that ask the same, and rows that OUT has answered."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.requests import Defaults, RawRow
from pipeline.edges import requests_file, sifting
from pipeline.edges.requests_file import RejectsWriter, RequestsWriter
from pipeline.edges.requests_reader import RequestsFile
from pipeline.edges.sifting import sift
from pipeline.flows.plan import plan

ENDS = pa.schema(
    [
        *((name, pa.string()) for name in ("row_id", "request_hash", "outcome", "generation_id", "duplicate_of")),
        ("error_code", pa.string()),
        ("row_index", pa.int64()),
        ("possible_duplicate", pa.bool_()),
    ]
)


@pytest.fixture
def planned(tmp_path):
    """Plans rows that ask these questions, one a character, into a folder; what was asked, by question."""

    def made(questions, name="plan"):
        folder = tmp_path / name
        folder.mkdir()
        rows = [
            RawRow("m.csv", at + 2, {"id": f"{name}-{at}", "video_url": "https://x.example/a.mp4", "prompt": question})
            for at, question in enumerate(questions)
        ]
        with (
            RequestsWriter(folder / "requests.parquet", {"vidbatch.run_id": name}) as requests,
            RejectsWriter(folder / "rejects.parquet") as rejects,
        ):
            summary = plan(rows, Defaults(), requests_sink=requests, rejects_sink=rejects)
        return folder, summary

    return made


@pytest.fixture
def answered(tmp_path, planned):
    """Annotations of a run: question, outcome, and more cells where it takes some."""

    def made(run, *ends):
        folder, _ = planned("".join(end[0] for end in ends), run)
        with RequestsFile(folder / "requests.parquet") as file:
            asked = file.read(0, len(ends))
        cells = [
            {
                "row_id": request.row_id,
                "row_index": request.row_index,
                "request_hash": request.request_hash,
                "outcome": end[1],
                "possible_duplicate": False,
                **(end[2] if len(end) > 2 else {}),
            }
            for request, end in zip(asked, ends, strict=True)
        ]
        path = tmp_path / f"{run}.parquet"
        pq.write_table(pa.Table.from_pylist(cells, schema=ENDS), path)
        return [path]

    return made


def rows_of(folder, name, *columns):
    path = folder / f"{name}.parquet"
    return [tuple(row.values()) for row in pq.read_table(path, columns=list(columns)).to_pylist()]


def test_of_rows_that_ask_the_same_the_first_is_sent(planned):
    folder, summary = planned("abcaab")
    assert summary.repeated
    sifted = sift(folder, {})
    assert (sifted.requests, sifted.duplicates, sifted.reused.total()) == (3, 3, 0)
    assert (sifted.models, sifted.videos, sifted.prompt_characters) == ({"gemini-2.5-pro": 3}, 3, 3)
    with RequestsFile(folder / "requests.parquet") as file:
        assert [request.row_index for request in file.read(0, 9)] == [0, 1, 2]
        assert file.metadata["vidbatch.run_id"] == "plan"
    told = rows_of(folder, "duplicates", "row_index", "row_id", "first_index", "first_id")
    assert told == [(3, "plan-3", 0, "plan-0"), (4, "plan-4", 0, "plan-0"), (5, "plan-5", 1, "plan-1")]
    assert not (folder / "reused.parquet").exists()


def test_rows_that_all_ask_something_else_are_seen_as_such(planned):
    assert not planned("abc")[1].repeated


def test_what_was_answered_is_not_sent_again_and_says_where_it_was(planned, answered):
    known = {
        "run-1": answered("run-1", ("a", "completed"), ("b", "refused"), ("c", "failed"), ("d", "completed")),
        "run-2": answered("run-2", ("e", "expired"), ("d", "failed"), ("b", "completed")),
        "run-3": [],
    }
    folder, _ = planned("zabcdea")
    sifted = sift(folder, known)
    assert [row[0] for row in rows_of(folder, "requests", "row_index")] == [0, 3]
    assert sifted.reused == {"completed": 4, "expired": 1}
    columns = ("row_index", "answered_run", "answered_index", "answered_id", "outcome")
    assert rows_of(folder, "reused", *columns) == [
        (1, "run-1", 0, "run-1-0", "completed"),
        (2, "run-2", 2, "run-2-2", "completed"),
        (4, "run-1", 3, "run-1-3", "completed"),  # a later failure does not take an answer away
        (5, "run-2", 0, "run-2-0", "expired"),
        (6, "run-1", 0, "run-1-0", "completed"),  # one that asks the same was answered, too
    ]
    assert not (folder / "duplicates.parquet").exists()


@pytest.mark.parametrize(
    ("outcome", "more", "again"),
    [
        ("failed", {}, True),
        ("cancelled", {}, True),
        ("refused", {"error_code": "video_changed"}, True),
        ("refused", {"error_code": "video_changed", "possible_duplicate": True}, False),
        ("refused", {"error_code": "http_400"}, False),
        ("cancelled", {"generation_id": "task-1"}, False),
        ("cancelled", {"possible_duplicate": True}, False),
        ("unknown", {}, False),
        ("expired", {}, False),
        ("refused", {}, False),
        ("failed", {"generation_id": "task-1", "possible_duplicate": True}, True),
    ],
)
def test_what_may_have_been_paid_for_is_not_sent_again(planned, answered, outcome, more, again):
    folder, _ = planned("a")
    sifted = sift(folder, {"run-1": answered("run-1", ("a", outcome, more))})
    assert (sifted.requests, sifted.reused.total()) == ((1, 0) if again else (0, 1))


def test_a_duplicates_row_answers_for_nobody(planned, answered):
    folder, _ = planned("a")
    ends = answered("run-1", ("a", "failed"), ("a", "completed", {"duplicate_of": "x"}))
    assert sift(folder, {"run-1": ends}).requests == 1


@pytest.mark.parametrize(
    "earlier",
    [("expired", {"generation_id": "t1"}), ("unknown",), ("refused",), ("cancelled", {"generation_id": "t1"})],
)
def test_an_end_before_anything_was_sent_takes_no_other_ends_place(planned, answered, earlier):
    known = {"run-1": answered("run-1", ("a", *earlier)), "run-2": answered("run-2", ("a", "cancelled"))}
    folder, _ = planned("a")
    sifted = sift(folder, known)
    assert (sifted.requests, sifted.reused) == (0, {earlier[0]: 1})


def test_a_collection_that_found_nothing_hides_no_id(planned, answered):
    known = {
        "run-1": answered("run-1", ("a", "expired", {"generation_id": "t1"})),
        "run-2": answered("run-2", ("a", "unknown")),
    }
    folder, _ = planned("a", "first")
    assert sift(folder, known, collections={"run-2"}).reused == {"expired": 1}
    folder, _ = planned("a", "second")
    assert sift(folder, known).reused == {"unknown": 1}


def test_rows_stay_whole_and_in_order_across_many_pieces(planned, answered, monkeypatch):
    monkeypatch.setattr(requests_file, "ROW_GROUP_ROWS", 7)
    monkeypatch.setattr(sifting, "ROW_GROUP_ROWS", 7)
    monkeypatch.setattr(sifting, "_BATCH_ROWS", 5)
    questions = [chr(0x4E00 + at % 190) for at in range(400)]
    folder, _ = planned(questions)
    known = {"run-1": answered("run-1", *((question, "completed") for question in questions[50:90]))}
    sifted = sift(folder, known)
    fates = {
        name: [row[0] for row in rows_of(folder, name, "row_index")] for name in ("requests", "duplicates", "reused")
    }
    assert fates["requests"] == [at for at in range(190) if not 50 <= at < 90]
    assert fates["reused"] == [at for at in range(400) if 50 <= at % 190 < 90]
    assert sorted(index for indexes in fates.values() for index in indexes) == list(range(400))
    assert sifted.requests + sifted.duplicates + sifted.reused.total() == 400
    for name in fates:
        for index, prompt, row_id in rows_of(folder, name, "row_index", "prompt", "row_id"):
            assert (prompt, row_id) == (questions[index], f"plan-{index}")
    assert all(index % 190 == first for index, first in rows_of(folder, "duplicates", "row_index", "first_index"))


def test_nothing_may_be_left_to_send(planned, answered):
    folder, _ = planned("ab")
    assert sift(folder, {"run-1": answered("run-1", ("a", "completed"), ("b", "completed"))}).requests == 0
    with RequestsFile(folder / "requests.parquet") as file:
        assert file.total == 0
