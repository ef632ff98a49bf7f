"""CPU a row of the writer, with and without a schema: decoding results, judging, joining, writing a part.

python benchmarks/typed_answers.py [ROWS]
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from pipeline.core.answers import Completion
from pipeline.core.ends import columns_of
from pipeline.core.lifecycle import Outcome
from pipeline.core.records import Ending, RowRecord, pack, pack_ending
from pipeline.core.requests import Defaults, RawRow
from pipeline.edges.requests_file import RejectsWriter, RequestsWriter
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.edges.schemas import checked_schema
from pipeline.flows.plan import plan
from pipeline.flows.write import steps

AT = 1_800_000_000_000_000
SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["indoor", "outdoor", "studio"]},
        "summary": {"type": "string"},
        "place": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "certain": {"type": "boolean"}},
            "required": ["name", "certain"],
        },
        "events": {"type": "array", "items": {"$ref": "#/$defs/event"}},
        "people": {"type": ["integer", "null"]},
    },
    "required": ["kind", "summary", "place", "events"],
    "additionalProperties": False,
    "$defs": {
        "event": {
            "type": "object",
            "properties": {
                "label": {"enum": ["cut", "pan", "zoom"]},
                "start": {"type": "number", "minimum": 0},
                "end": {"type": "number"},
            },
            "required": ["label", "start", "end"],
        }
    },
}


def answer(row):
    """About 600 characters: a summary and five events."""
    events = [{"label": "pan", "start": second + row % 7 / 10, "end": second + 2.5} for second in range(5)]
    place = {"name": f"harbour {row % 100}", "certain": row % 2 == 0}
    summary = "A boat leaves the harbour while two people talk on the pier. " * 4
    return json.dumps({"kind": "outdoor", "summary": summary, "place": place, "events": events, "people": row % 5})


def ended(row):
    usage = {"prompt_tokens": 5_000, "completion_tokens": 150, "total_tokens": 5_150}
    completion = Completion(content=answer(row), finish_reason="stop", response="{}" * 400, **usage)
    record = RowRecord(attempts=1, polls=3, generation_id=f"task-{row:024}", submitted_at=AT)
    return b'{"i":%d,"r":%b,"e":%b}' % (row, pack(record), pack_ending(Ending(Outcome.COMPLETED, AT + 9, completion)))


def planned(out, rows):
    folder = LocalRunFolder(out, "run-1")
    folder.path.mkdir(parents=True)
    manifest = (RawRow("m.csv", n + 2, {"video_url": f"https://v.example/{n}.mp4", "prompt": "?"}) for n in range(rows))
    with (
        RequestsWriter(folder.path / "requests.parquet", {}) as requests,
        RejectsWriter(folder.path / "rejects.parquet") as rejects,
    ):
        plan(manifest, Defaults(), requests_sink=requests, rejects_sink=rejects)
    return folder


def microseconds_a_row(out, items, described):
    folder = LocalRunFolder(out, "run-1")
    folder.describe({"carried": {}, **described})
    requests, judging = folder.requests(), folder.judging()

    def columns():
        start = 0
        for some in steps(items):
            indexes = range(start, start + len(some))
            yield columns_of(some, indexes, requests.models(indexes), {}, AT, judging)
            start += len(some)

    began = time.process_time()
    folder.write_part("e", 0, len(items), columns())
    return (time.process_time() - began) / len(items) * 1e6


def main():
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    checked = checked_schema(SCHEMA)
    typed = {"answer_schema": checked.schema, "answer_shape": checked.shape}
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        planned(out, rows)
        items = [ended(row) for row in range(rows)]
        plain, schema = (min(microseconds_a_row(out, items, one) for _ in range(5)) for one in ({}, typed))
    print(f"{rows:,} rows of {len(answer(1))} characters, CPU a row of the writer, best of 5:")
    print(f"without a schema {plain:.1f} µs; with one {schema:.1f} µs; {schema / plain:.2f} times")


if __name__ == "__main__":
    main()
