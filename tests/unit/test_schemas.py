"""What is said of schemas that can't be used; nothing is fetched for one, and what judges by them is loaded late."""

import http.server
import subprocess
import sys
import threading
from enum import StrEnum
from typing import Literal

import orjson
import pytest
from pydantic import BaseModel, Field

from pipeline.core.answers import Completion
from pipeline.core.errors import SettingsError
from pipeline.edges.schemas import DRAFT, LONGEST_SCHEMA, checked_schema, judging_of, read_schema


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "found what is no JSON"),
        (b'{"type": "object"', "found what is no JSON: unexpected end of data: line 1 column 18"),
        (b'{"title": "caf\xe9"}', "found bytes that are not UTF-8, the first at byte 14"),
        (b"[1]", "found [1]; allowed is a JSON Schema, which is an object"),
        (b"true", "found true; allowed is"),
        (
            b'{"properties": {"a": {"type": "text"}}}',
            "$.properties.a.type: the value is not valid under any of the schemas listed in the",
        ),
        (
            b'{"properties": {"odd name": {"minimum": "x"}}}',
            '$.properties["odd name"].minimum: the value is not of type "number"; found "x"',
        ),
        (b'{"pattern": "("}', '$.pattern: the value is not a "regex"; found "("'),
        (b'{"$ref": "#/$defs/there"}', "Pointer '/$defs/there' does not exist"),
        (b'{"$ref": "https://schemas.example/a.json"}', "'https://schemas.example/a.json' is not"),
        (b'{"$ref": "file:///etc/hostname"}', "'file:///etc/hostname' is not"),
        (b'{"$schema": "http://json-schema.org/draft-07/schema#"}', "$.$schema: found"),
    ],
)
def test_a_schema_that_cant_be_used_is_refused_with_its_file_its_place_and_what_is_wrong(tmp_path, content, told):
    path = tmp_path / "labels.json"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as refused:
        read_schema(path)
    assert str(refused.value).startswith(f"--schema: {path}")
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "RuntimeError" not in str(refused.value)


def test_a_file_that_is_not_there_or_no_file_or_too_long_is_refused(tmp_path):
    for path, told in ((tmp_path / "none.json", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(SettingsError, match=told):
            read_schema(path)
    (tmp_path / "long.json").write_bytes(b" " * (LONGEST_SCHEMA + 1))
    with pytest.raises(SettingsError, match="more than 1,000,000 bytes"):
        read_schema(tmp_path / "long.json")


def test_what_is_no_json_is_refused():
    for schema in ({"const": object()}, {"const": 2**70}, {"title": "\ud800"}, None, 5, {1: 2}):
        with pytest.raises(SettingsError, match=r"^schema: found "):
            checked_schema(schema)


def test_nothing_is_fetched_for_a_reference(tmp_path):
    asked = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        for schema in ({"$ref": f"{address}/a"}, {"$id": f"{address}/b", "properties": {"a": {"$ref": "c"}}}):
            with pytest.raises(SettingsError, match="is not present"):
                checked_schema(schema)
        server.shutdown()
    assert asked == []


def test_a_digest_is_of_the_schema_however_it_is_written(tmp_path):
    path = tmp_path / "labels.json"
    path.write_bytes(b'\xef\xbb\xbf{ "type": "object",\n "$schema": "%b", "properties": {"a": {}} }' % DRAFT.encode())
    written = read_schema(path)
    other = checked_schema({"properties": {"a": {}}, "$schema": DRAFT, "type": "object"})
    assert (written.digest, len(written.digest)) == (other.digest, 64)
    assert written.instruction.endswith(orjson.dumps(written.schema).decode())
    assert written.digest != checked_schema({"type": "object"}).digest


def test_who_has_no_schema_loads_no_validator():
    loads = "import pipeline.cli.main, pipeline.cli.annotating, workers.serving, sys; print(*sys.modules)"
    told = f"import os; os.environ['VIDBATCH_REDIS'] = 'redis://localhost'; {loads}"
    loaded = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout.split()
    assert "pipeline.edges.run_folder" in loaded
    assert "jsonschema_rs" not in loaded


def test_a_pydantic_model_is_a_schema():
    class Kind(StrEnum):
        INDOOR = "indoor"
        OUTDOOR = "outdoor"

    class Event(BaseModel):
        label: Literal["cut", "pan"]
        start: float
        end: float | None = None

    class Tree(BaseModel):
        name: str
        children: list["Tree"] = []

    class Labels(BaseModel):
        kind: Kind
        event: Event | None = None
        events: list[Event]
        people: int | None = Field(default=None, ge=0)
        scores: dict[str, float] = {}
        span: tuple[float, float] | None = None
        either: int | str = 0
        tree: Tree | None = None

    event = {"struct": {"label": "word", "start": "float", "end": "float"}}
    checked = checked_schema(Labels)
    assert checked.shape == {
        "struct": {
            "kind": "word",
            "event": event,
            "events": {"list": event},
            "people": "int",
            "scores": "json",
            "span": "json",
            "either": "json",
            "tree": {"struct": {"name": "text", "children": {"list": "json"}}},
        }
    }
    made = Labels(kind="indoor", events=[Event(label="cut", start=1)], scores={"a": 0.5}, span=(1, 2), either="x")
    verdict = judging_of({"answer_schema": checked.schema})(Completion(content=made.model_dump_json()))
    assert verdict.status == "ok", verdict.error
    assert verdict.value["events"] == [{"label": "cut", "start": 1.0, "end": None}]
    assert (verdict.value["scores"], verdict.value["span"], verdict.value["either"]) == (
        '{"a":0.5}',
        "[1.0,2.0]",
        '"x"',
    )
