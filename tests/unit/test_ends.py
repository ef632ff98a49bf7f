"""How rows ended becomes rows of the dataset: names, times, what was billed, what went wrong, beside what was asked."""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.answers import Completion, Problem
from pipeline.core.columns import NAMES, carried_names
from pipeline.core.costs import Price
from pipeline.core.ends import columns_of, in_order, row_index_of
from pipeline.core.errors import StorageError
from pipeline.core.lifecycle import Outcome
from pipeline.core.policy import Policy
from pipeline.core.records import Attempt, Ending, RowRecord, pack, pack_ending
from pipeline.core.requests import Request
from pipeline.core.rows import Rows
from pipeline.edges.annotations_file import schema_of
from pipeline.edges.ends_table import joined
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.edges.requests_file import RequestsWriter
from pipeline.edges.requests_reader import RequestsFile
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.flows import write
from pipeline.ports import RunCard

SECOND = 1_000_000
AT = 1_800_000_000 * SECOND
NAMED = carried_names(["shelf", "answer"])
PRICES = {"m": Price(input=1.0, output=2.0)}
COMPLETION = Completion(content="A cat.", prompt_tokens=1_000, completion_tokens=10, model_answered="m-1")
SENT = RowRecord(attempts=1, polls=2, generation_id="task-1", submitted_at=AT)


def request(row_index, **values):
    common = {"model": "m", "prompt": "Describe.", "video_urls": ("https://videos.example/1.mp4",), "line": 5}
    carried = {"shelf": f"s{row_index}", "answer": None}
    return Request(**{"row_index": row_index, "row_id": f"row-{row_index}", **common, "carried": carried, **values})


@pytest.fixture
def planned(tmp_path):
    """Requests of the rows 0 to 99, without every tenth."""
    with RequestsWriter(tmp_path / "requests.parquet", {}, row_group_rows=7) as writer:
        for row_index in range(100):
            if row_index % 10:
                writer.add(request(row_index, model="m" if row_index % 3 else "n"), f"hash-{row_index}")
    with RequestsFile(tmp_path / "requests.parquet") as file:
        yield file


def item(row_index, record, ending):
    return b'{"i":%d,"r":%b,"e":%b}' % (row_index, pack(record), pack_ending(ending))


def put_together(planned, *items):
    items = in_order(items)
    indexes = [row_index_of(one) for one in items]
    columns = columns_of(items, indexes, planned.models(indexes), PRICES, AT + 9 * SECOND)
    table = joined(planned.asked(indexes), columns, NAMED, schema_of(NAMED.values(), "run-1"))
    return table.to_pylist()


def test_a_completed_row_has_its_answer_its_times_and_its_cost(planned):
    [row] = put_together(planned, item(4, SENT, Ending(Outcome.COMPLETED, AT + 5 * SECOND, completion=COMPLETION)))
    assert (row["row_id"], row["row_index"], row["outcome"], row["request_hash"]) == ("row-4", 4, "completed", "hash-4")
    assert (row["model"], row["prompt"], row["video_urls"]) == ("m", "Describe.", ["https://videos.example/1.mp4"])
    assert (row["content"], row["model_answered"], row["generation_id"]) == ("A cat.", "m-1", "task-1")
    assert (row["attempts"], row["polls"], row["possible_duplicate"]) == (1, 2, False)
    assert row["submitted_at"] == datetime.fromtimestamp(AT / SECOND, UTC)
    assert row["collected_at"] == datetime.fromtimestamp(AT / SECOND + 9, UTC)
    assert row["latency_s"] == 5.0
    assert row["cost"] == (1_000 * 1.0 + 10 * 2.0) / 1e6
    assert row["attempt_log"] == [
        {
            "generation_id": "task-1",
            "submitted_at": row["submitted_at"],
            "outcome": "completed",
            "prompt_tokens": 1_000,
            "completion_tokens": 10,
            "cost": row["cost"],
            **dict.fromkeys(("reasoning_tokens", "cached_tokens", "audio_tokens", "video_tokens", "credits")),
            "cost_told": None,
            "answer_status": "ok",
            "content": None,
        }
    ]


def test_every_name_is_a_column_or_a_carried_one_and_no_answer_is_a_carried_columns(planned):
    [row] = put_together(planned, item(3, RowRecord(attempts=1), Ending(Outcome.COMPLETED, AT, completion=COMPLETION)))
    assert set(row) == NAMES | set(NAMED.values())
    assert (row["shelf"], row["manifest_answer"], row["answer"]) == ("s3", None, None)
    assert row["cost"] is None, "nobody has a price for the other model"


def test_a_refused_row_says_what_was_wrong_and_was_never_billed(planned):
    problem = Problem("model_not_supported", "No such model.", "invalid_request_error", 422)
    completed = item(4, SENT, Ending(Outcome.COMPLETED, AT, completion=COMPLETION))
    row, other = put_together(planned, completed, item(2, RowRecord(), Ending(Outcome.REFUSED, AT, problem=problem)))
    told = (row["error_code"], row["error_type"], row["error_message"], row["http_status"])
    assert told == ("model_not_supported", "invalid_request_error", "No such model.", 422)
    assert (row["attempt_log"], row["submitted_at"], row["latency_s"], row["content"]) == ([], None, None, None)
    assert (other["error_code"], other["content"]) == (None, "A cat.")


def test_attempts_that_came_before_are_kept_with_the_last_one(planned):
    earlier = (Attempt("task-1", AT, Outcome.FAILED, 7, None, 0.25), Attempt(None, AT + SECOND, Outcome.UNKNOWN))
    record = RowRecord(
        attempts=3, generation_id="task-3", submitted_at=AT + 2 * SECOND, possible_duplicate=True, log=earlier
    )
    lost = RowRecord(attempts=1, log=earlier[1:])
    row, unknown = put_together(
        planned,
        item(9, lost, Ending(Outcome.UNKNOWN, AT, problem=Problem("a", "b"))),
        item(1, record, Ending(Outcome.COMPLETED, AT + 3 * SECOND, completion=COMPLETION)),
    )
    assert [(entry["generation_id"], entry["outcome"], entry["cost"]) for entry in row["attempt_log"]] == [
        ("task-1", "failed", 0.25),
        (None, "unknown", None),
        ("task-3", "completed", row["cost"]),
    ]
    assert row["possible_duplicate"]
    assert [entry["outcome"] for entry in unknown["attempt_log"]] == ["unknown"]


def test_rows_are_joined_with_their_own_requests_whatever_was_rejected_between(planned):
    asked = [row_index for row_index in range(99, 0, -1) if row_index % 10]
    rows = put_together(planned, *(item(row, SENT, Ending(Outcome.FAILED, AT)) for row in asked))
    assert [row["row_index"] for row in rows] == sorted(asked)
    assert all(row["row_id"] == f"row-{row['row_index']}" and row["shelf"] == f"s{row['row_index']}" for row in rows)
    assert all(row["model"] == ("m" if row["row_index"] % 3 else "n") for row in rows)


@pytest.mark.parametrize("row_index", [0, 30, 100])
def test_the_end_of_a_row_that_was_never_asked_is_an_error(planned, row_index):
    with pytest.raises(StorageError, match="never asked"):
        planned.models([row_index])


def test_an_items_row_is_read_whatever_its_json_looks_like():
    assert row_index_of(b'{"i":12,"r":{},"e":{}}') == 12
    assert row_index_of(b'{ "r": {}, "i": 12 }') == 12


@pytest.mark.anyio
async def test_a_part_is_written_a_few_rows_at_a_time_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "STEP_ROWS", 3)
    folder = LocalRunFolder(tmp_path, "run-1")
    folder.path.mkdir(parents=True)
    folder.describe({"carried": NAMED})
    with RequestsWriter(folder.path / "requests.parquet", {}) as writer:
        for row_index in range(10):
            writer.add(request(row_index), "hash")
    ledger = MemoryLedger()
    card = RunCard("run-1", "api#key", "https://api", "key", "out", "secret", "e1", 10, Policy())
    await ledger.open_run(card, recover_until=0, ended={}, done=Rows())
    items = [item(row, SENT, Ending(Outcome.COMPLETED, AT, completion=COMPLETION)) for row in (7, 1, 9, 0, 4, 2, 3)]
    ledger._runs["run-1"].results.items.extend(items)
    assert await write.write_part(ledger, write.Writing(card, folder, PRICES), lambda: AT) == 7
    [path] = (folder.path / "parts").iterdir()
    assert path.name == "part-e1-000000000000-000000000007.parquet"
    table = pq.read_table(path)
    assert table["row_index"].to_pylist() == [0, 1, 2, 3, 4, 7, 9]
    assert table["shelf"].to_pylist() == ["s0", "s1", "s2", "s3", "s4", "s7", "s9"]
    assert pa.types.is_string(table.schema.field("prompt").type)
    assert (await ledger.results("run-1", 9)).items == ()


@pytest.fixture
def anyio_backend():
    return "asyncio"
