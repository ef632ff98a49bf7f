"""Typed answers on their way from the writer into the dataset, and what a dataset takes."""

import tracemalloc

import orjson
import pyarrow.parquet as pq
import pytest

from pipeline.core.answers import Completion
from pipeline.core.columns import SCHEMA_VERSION
from pipeline.core.ends import columns_of
from pipeline.core.errors import RunConflict
from pipeline.core.late import LateId, late_line
from pipeline.core.lifecycle import Outcome
from pipeline.core.records import Ending, RowRecord, pack, pack_ending
from pipeline.core.requests import Defaults, RawRow
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.requests_file import RejectsWriter, RequestsWriter
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.edges.schemas import checked_schema, judging_of
from pipeline.flows import write
from pipeline.flows.plan import plan
from pipeline.flows.write import STEP_BYTES, STEP_ROWS, steps

AT = 1_800_000_000_000_000
SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["cat", "dog"]}, "times": {"type": "array", "items": {"type": "number"}}},
    "required": ["label"],
}
SHAPE = {"struct": {"label": "word", "times": {"list": "float"}}}


@pytest.fixture
def folder(tmp_path):
    made = LocalRunFolder(tmp_path, "run-1")
    made.path.mkdir(parents=True)
    rows = [RawRow("m.csv", n + 2, {"video_url": f"https://v.example/{n}.mp4", "prompt": "?"}) for n in range(4)]
    with (
        RequestsWriter(made.path / "requests.parquet", {}) as requests,
        RejectsWriter(made.path / "rejects.parquet") as rejects,
    ):
        plan(rows, Defaults(), requests_sink=requests, rejects_sink=rejects)
    made.describe({"carried": {}, "answer_schema": SCHEMA, "answer_shape": SHAPE, "rows": 4, "requests": 4})
    return made


def written(folder, *endings):
    records = [RowRecord(attempts=1, generation_id=f"task-{n}", submitted_at=AT) for n in range(len(endings))]
    items = [
        b'{"i":%d,"r":%b,"e":%b}' % (n, pack(record), pack_ending(ending))
        for n, (record, ending) in enumerate(zip(records, endings, strict=True))
    ]
    indexes = range(len(items))
    models = folder.requests().models(indexes)
    columns = columns_of(items, indexes, models, {}, AT, folder.judging())
    folder.write_part("e", 0, len(items), [columns])


def completed(content, **told):
    return Ending(Outcome.COMPLETED, AT + 9, Completion(content=content, **told))


def published(folder):
    totals = folder.publish()
    files = sorted(folder.published.glob("*.parquet"))
    rows = {row["row_index"]: row for file in files for row in pq.ParquetFile(file).read().to_pylist()}
    return totals, rows


def test_answers_of_every_status_are_published_with_their_text(folder):
    written(
        folder,
        completed('{"label": "cat", "times": [1, 2.5]}'),
        completed("A cat."),
        completed('{"label": "c', finish_reason="length"),
        Ending(Outcome.FAILED, AT),
    )
    totals, rows = published(folder)
    assert [rows[n]["answer_status"] for n in range(4)] == ["ok", "invalid", "truncated", None]
    assert [rows[n]["answer"] for n in range(4)] == [{"label": "cat", "times": [1.0, 2.5]}, None, None, None]
    assert [rows[n]["content"] for n in range(4)][1:] == ["A cat.", '{"label": "c', None]
    assert totals.answer_statuses == {"ok": 1, "invalid": 1, "truncated": 1}
    assert folder.found().answer_statuses == totals.answer_statuses


def test_a_late_answer_that_becomes_its_rows_is_typed(folder):
    written(folder, completed('{"label": "dog"}'), Ending(Outcome.UNKNOWN, AT), Ending(Outcome.UNKNOWN, AT))
    late = [LateId(n, f"late-{n}", AT, 2, 0, completed(text)) for n, text in ((1, '{"label": "cat"}'), (2, "A dog."))]
    folder.save_ids("e", 0, 2, [late_line(one) for one in late])
    _, rows = published(folder)
    assert [rows[n]["answer"] for n in range(3)] == [
        {"label": "dog", "times": None},
        {"label": "cat", "times": None},
        None,
    ]
    assert [rows[n]["answer_status"] for n in range(3)] == ["ok", "ok", "invalid"]
    assert (rows[2]["outcome"], rows[2]["content"]) == ("completed", "A dog.")


def test_a_late_refusal_is_one(folder):
    written(folder, Ending(Outcome.UNKNOWN, AT))
    refused = completed(None, refusal="I can't.")
    folder.save_ids("e", 0, 1, [late_line(LateId(0, "late", AT, 2, 0, refused))])
    _, rows = published(folder)
    assert (rows[0]["answer_status"], rows[0]["answer_error"]) == ("refused", "I can't.")


def test_what_is_decoded_at_a_time_is_bounded_in_rows_and_in_bytes():
    assert [len(some) for some in steps([b"x"] * (2 * STEP_ROWS + 1))] == [STEP_ROWS, STEP_ROWS, 1]
    large = [b"x" * (STEP_BYTES // 2 + 1), b"x" * (3 * STEP_BYTES), b"x", b"x"]
    assert [len(some) for some in steps(large)] == [1, 1, 2]
    assert [*steps([])] == []


def test_typed_answers_of_a_large_part_take_no_more_memory_than_those_of_a_small_one(monkeypatch):
    monkeypatch.setattr(write, "STEP_ROWS", 100)
    monkeypatch.setattr(write, "STEP_BYTES", 50_000)
    judging = judging_of({"answer_schema": SCHEMA})
    ending = completed(orjson.dumps({"label": "cat", "times": [n / 7 for n in range(100)]}).decode())
    item = b'{"i":1,"r":%b,"e":%b}' % (pack(RowRecord(attempts=1)), pack_ending(ending))

    def peak(rows):
        items = [item] * rows
        tracemalloc.start()
        try:
            for some in steps(items):
                columns_of(some, range(len(some)), ["m"] * len(some), {}, AT, judging)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(50)
    assert peak(2_000) < peak(200) + 64 * 1024


def test_a_dataset_keeps_the_shape_of_its_first_answers(tmp_path):
    out = OutFolder(tmp_path)
    assert out.columns_of(["shelf"], SHAPE) == ({"shelf": "shelf"}, SHAPE)
    out.fix_columns({"shelf": "shelf"}, SHAPE)
    out.fix_columns({"other": "other"}, None)
    kept = orjson.loads((tmp_path / "dataset.json").read_bytes())
    assert kept == {"schema_version": SCHEMA_VERSION, "carried": {"shelf": "shelf"}, "answer": SHAPE}
    other_order = {"struct": {"times": {"list": "float"}, "label": "text"}}
    names, shape = out.columns_of(["shelf"], other_order)
    assert (names, [*shape["struct"]]) == ({"shelf": "shelf"}, ["label", "times"])


@pytest.mark.parametrize(
    ("held", "given", "told"),
    [
        (None, SHAPE, "have no schema, and the answers of this command have the fields label, times"),
        (SHAPE, None, "have the fields label, times, and the answers of this command have no schema"),
        (SHAPE, {"struct": {"label": "word"}}, "and the answers of this command have the fields label:"),
        ({"list": "text"}, {"list": "float"}, "answers are lists, and the answers of this command are lists"),
        ("json", "text", "answers are JSON text, and the answers of this command are of type text"),
    ],
)
def test_a_dataset_takes_no_answers_of_another_shape(tmp_path, held, given, told):
    out = OutFolder(tmp_path)
    out.fix_columns({}, held)
    with pytest.raises(RunConflict) as refused:
        out.columns_of([], given)
    assert told in str(refused.value)
    assert "another --out" in str(refused.value)


def test_a_dataset_of_another_version_is_refused_before_anything_is_planned(tmp_path):
    (tmp_path / "dataset.json").write_bytes(orjson.dumps({"schema_version": 1, "carried": {}}))
    with pytest.raises(RunConflict, match="schema_version: found 1; allowed is 2"):
        OutFolder(tmp_path).make()


def test_the_run_keeps_the_order_of_fields_that_the_dataset_has(folder):
    folder.describe({**folder.described(), "answer_shape": {"struct": {"times": {"list": "float"}, "label": "text"}}})
    written(folder, completed('{"label": "cat"}'))
    part = next((folder.path / "parts").glob("*"))
    assert [field.name for field in pq.read_schema(part).field("answer").type] == ["times", "label"]
    assert pq.read_table(part)["answer"].to_pylist() == [{"times": None, "label": "cat"}]


def test_what_is_kept_of_a_schema_is_all_that_judging_needs():
    checked = checked_schema(SCHEMA)
    assert orjson.loads(orjson.dumps(checked.shape)) == SHAPE
