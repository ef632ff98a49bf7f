"""Whatever the schema and whatever the model says: the row lands, its text is kept, and its columns can be read."""

import json
import tempfile
from pathlib import Path

import duckdb
import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.answering import AnswerStatus
from pipeline.core.answers import Completion
from pipeline.core.ends import columns_of
from pipeline.core.judging import Judging
from pipeline.core.lifecycle import Outcome
from pipeline.core.records import Ending, RowRecord, pack, pack_ending
from pipeline.core.requests import Defaults, RawRow
from pipeline.edges.requests_file import RejectsWriter, RequestsWriter
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.edges.schemas import checked_schema, judging_of
from pipeline.flows.plan import plan
from pipeline.simulator.instances import instance

ROWS = 4
NAMES = st.sampled_from(
    ["a", "b", "A", "", "a.b", "with space", "ü", "list", "element", '"', "'", "\n", "digest", "🎬"]
)
NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)
PLAIN = st.one_of(
    st.sampled_from(["string", "integer", "number", "boolean", "null"]).map(lambda kind: {"type": kind}),
    st.lists(st.sampled_from(["string", "integer", "number", "null"]), min_size=1, max_size=3, unique=True).map(
        lambda kinds: {"type": kinds}
    ),
    st.lists(st.sampled_from(["x", "y", None, 1, 1.5, True]), min_size=1, max_size=3).map(lambda v: {"enum": v}),
    VALUES.map(lambda value: {"const": value}),
    st.just({"type": "integer", "minimum": 0}),
    st.just({"type": "string", "pattern": "^(a+)+$"}),
    st.sampled_from(
        [{}, True, False, {"$ref": "#"}, {"$ref": "#/$defs/one"}, {"$ref": "#/$defs/two"}, {"type": "object"}]
    ),
)


def around(inner):
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(lambda items: {"type": "array", "prefixItems": items}, several),
        st.builds(
            lambda properties, required, closed: {
                "type": "object",
                "properties": properties,
                "required": [name for name in properties if name in required],
                "additionalProperties": not closed,
            },
            st.dictionaries(NAMES, inner, max_size=4),
            st.sets(NAMES, max_size=2),
            st.booleans(),
        ),
        st.builds(lambda properties: {"properties": properties}, st.dictionaries(NAMES, inner, max_size=2)),
        *(several.map(lambda options, word=word: {word: options}) for word in ("anyOf", "oneOf", "allOf")),
        st.builds(lambda values: {"additionalProperties": values}, inner),
    )


PARTS = st.recursive(PLAIN, around, max_leaves=8)
SCHEMAS = st.builds(
    lambda root, one, two: from_file({**(root if isinstance(root, dict) else {}), "$defs": {"one": one, "two": two}}),
    PARTS,
    PARTS,
    PARTS,
)


def from_file(schema):
    """As it is read: whole numbers beyond 64 bits are rounded."""
    return orjson.loads(json.dumps(schema))


@st.composite
def texts(draw, schema):
    """An answer: often one that nearly fits."""
    try:
        fits = instance(schema, draw(st.sampled_from(["0", "1", "2"])))
    except (IndexError, KeyError, ValueError, RecursionError, StopIteration, TypeError):
        fits = {}
    value = draw(st.one_of(st.just(fits), VALUES))
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    match draw(st.sampled_from(["bare", "fenced", "prose", "cut", "mixed", "noise"])):
        case "fenced":
            return f"```json\n{text}\n```"
        case "prose":
            return f"Here [1] it is {{so}}: {text} That's all."
        case "cut":
            return text[: draw(st.integers(0, len(text)))]
        case "mixed":
            at = draw(st.integers(0, len(text)))
            return text[:at] + draw(st.text('{}[]",:\\u0`dn\n ', max_size=4)) + text[at:]
        case "noise":
            return draw(st.one_of(st.text(max_size=30), st.text('{}[]",:\\`1a\n', max_size=60)))
    return text


@st.composite
def asked(draw):
    schema = draw(SCHEMAS)
    said = [draw(texts(schema)) if draw(st.integers(0, 9)) else None for _ in range(ROWS)]
    reasons = [draw(st.sampled_from(["stop"] * 6 + ["length", "content_filter", None])) for _ in range(ROWS)]
    return schema, said, reasons


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as out:
        made = LocalRunFolder(Path(out), "run-1")
        made.path.mkdir(parents=True)
        rows = [RawRow("m.csv", n + 2, {"video_url": f"https://v.example/{n}.mp4", "prompt": "?"}) for n in range(ROWS)]
        with (
            RequestsWriter(made.path / "requests.parquet", {}) as requests,
            RejectsWriter(made.path / "rejects.parquet") as rejects,
        ):
            plan(rows, Defaults(), requests_sink=requests, rejects_sink=rejects)
        yield made


def landed(folder, schema, said, reasons):
    """The rows as they stand in a part, of a new reader of the run's folder."""
    checked = checked_schema(schema)
    folder.describe({"carried": {}, "answer_schema": checked.schema, "answer_shape": checked.shape})
    run = LocalRunFolder(folder.out, folder.run_id)
    items = [
        b'{"i":%d,"r":%b,"e":%b}' % (n, pack(RowRecord(attempts=1)), pack_ending(Ending(Outcome.COMPLETED, 1, one)))
        for n, one in enumerate(
            Completion(content=text, finish_reason=why) for text, why in zip(said, reasons, strict=True)
        )
    ]
    indexes = range(ROWS)
    columns = columns_of(items, indexes, run.requests().models(indexes), {}, 2, run.judging())
    run.write_part("e", 0, ROWS, [columns])
    path = run.path / "parts" / "part-e-000000000000-000000000004.parquet"
    return path, pq.read_table(path).to_pylist()


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(asked=asked())
def test_any_answer_to_any_schema_lands_with_its_text(folder, asked):
    schema, said, reasons = asked
    path, rows = landed(folder, schema, said, reasons)
    assert [row["content"] for row in rows] == said
    for row in rows:
        assert row["answer_status"] in [*AnswerStatus]
        assert row["answer"] is None or row["answer_status"] == "ok"
        assert (
            (row["answer_status"] == "invalid") <= row["answer_error"].startswith("$") if row["answer_error"] else True
        )
    with duckdb.connect() as connection:
        assert connection.sql(f"select answer from '{path}'").fetchall()


@settings(max_examples=300, deadline=None)
@given(schema=SCHEMAS, text=st.text(), refusal=st.one_of(st.none(), st.text()), reason=st.one_of(st.none(), st.text()))
def test_any_text_has_a_verdict_and_always_the_same(schema, text, refusal, reason):
    judging = judging_of({"answer_schema": schema})
    completion = Completion(content=text, refusal=refusal, finish_reason=reason)
    assert judging(completion) == judging(completion)
    assert Judging()(completion).status in {"ok", "empty", "refused", "truncated"}


@settings(max_examples=200, deadline=None)
@given(schema=SCHEMAS, value=VALUES)
def test_a_valid_value_is_ok_or_says_which_place_no_column_holds(schema, value):
    judging = judging_of({"answer_schema": schema})
    verdict = judging(Completion(content=orjson.dumps(value).decode() if small(value) else json.dumps(value)))
    if verdict.status == "invalid":
        assert verdict.error.startswith("$")


def small(value):
    try:
        orjson.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
