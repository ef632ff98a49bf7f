"""The simulator against its own description, and that against what docs/foxapi.md says."""

import asyncio
import re
import threading
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.internal.conjecture.utils import many
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pipeline.simulator.openapi import FIELDS, REQUIRED, description
from pipeline.simulator.server import serve
from pipeline.simulator.settings import OPTIONS, SimulatorSettings, changed
from pipeline.simulator.validation import FIELDS as JUDGED

DOC = (Path(__file__).resolve().parents[2] / "docs/foxapi.md").read_text(encoding="utf-8")
KEY = {"Authorization": "Bearer sk-test"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    ignored_auth,
]
QUESTION = {"model": "gemini-2.5-pro", "prompt": "Describe.", "video_urls": ["https://a.example/v.mp4"]}


@pytest.fixture(scope="module")
def base_url():
    """A simulator in a thread of its own, as the fuzzer does not know asyncio."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    switches = {"fast": True, "latency": "0s", "seed": 1, "max_video_bytes": 1 << 20}
    found = {}

    async def play():
        found["stop"] = asyncio.Event()
        server = await serve(changed(SimulatorSettings(), switches))
        found["url"] = server.base_url
        ready.set()
        await found["stop"].wait()
        await server.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(play()))
    thread.start()
    assert ready.wait(10)
    yield found["url"]
    loop.call_soon_threadsafe(found["stop"].set)
    thread.join(10)
    loop.close()


@pytest.fixture(scope="module")
def ids(base_url):
    with httpx.Client(base_url=base_url, headers=KEY) as client:
        asked = [{}, {"stream": True}, {"stream": True, "reasoning": True}]
        return [client.post("/v1/llm/generations", json={**QUESTION, **more}).json()["id"] for more in asked]


def _more(self):
    """What hypothesis-jsonschema asks of a collection, which in the Hypothesis of today is entered and iterated."""
    if not self._iterated:
        self.turns = iter(self.__enter__())
    return next(self.turns, self) is None


if not hasattr(many, "more"):
    many.more = _more

OPERATIONS = ("submit", "query", "stream", "upload", "models", "credits")
USUAL = settings(
    derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
)
INPUTS = [(name, mode) for name in OPERATIONS for mode in GenerationMode]
# Nothing is to be sent with these, so nothing can be wrong with it.
INPUTS = [one for one in INPUTS if one not in ((name, GenerationMode.NEGATIVE) for name in ("models", "credits"))]


@pytest.fixture(scope="module")
def operations(base_url):
    config = schemathesis.Config.from_dict({"headers": KEY})
    found = schemathesis.openapi.from_url(f"{base_url}/openapi.json", config=config)
    return {one.ok().definition.raw["operationId"]: one.ok() for one in found.get_all_operations()}


def fuzz(name, operation, ids, mode, examples):
    """Ask for so many things that the description allows, or forbids, and hold the answers against it."""

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(USUAL, max_examples=examples)
    def ask(case):
        parameters = case.path_parameters or {}
        if "id" in parameters and len(str(parameters["id"])) % 2:
            parameters["id"] = ids[len(str(parameters["id"])) % len(ids)]
        # Elsewhere a wrong thing is a parameter that nobody knows, and that is passed over.
        case.call_and_validate(checks=[*CHECKS, negative_data_rejection] if name == "submit" else CHECKS)

    ask()


def test_every_operation_of_the_contract_is_described(operations):
    assert set(operations) == set(OPERATIONS)


@pytest.mark.parametrize(("name", "mode"), INPUTS)
def test_the_simulator_does_what_its_description_says(operations, ids, name, mode):
    fuzz(name, operations[name], ids, mode, 15)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mode"), INPUTS)
def test_the_simulator_does_what_its_description_says_however_long_one_looks(operations, ids, name, mode):
    fuzz(name, operations[name], ids, mode, 1000)


def table(heading):
    """The rows of the first table below a heading of docs/foxapi.md, as lists of cells."""
    lines = iter(DOC.partition(f"## {heading}\n")[2].partition("\n## ")[0].split("\n"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return rows[2:]


def number(text):
    return int(re.search(r"(\d[\d,]*)", text)[1].replace(",", ""))


def test_the_description_has_the_fields_and_limits_that_the_documentation_names():
    told = {}
    for names, kind, rule in table("Submitting"):
        for name in re.findall(r"`(\w+)`", names):
            told[name] = (kind, rule)
    assert set(told) == set(FIELDS) == set(JUDGED)
    assert {name for name, (kind, _) in told.items() if "required" in kind} == set(REQUIRED)
    for name in ("prompt", "system_prompt"):
        assert FIELDS[name]["maxLength"] == number(told[name][1])
    assert [FIELDS["video_urls"][bound] for bound in ("minItems", "maxItems")] == [1, 10]
    assert re.match(r"1 to 10\b", told["video_urls"][1])
    assert FIELDS["max_tokens"]["minimum"] == number(told["max_tokens"][1])
    assert [FIELDS["temperature"][bound] for bound in ("minimum", "maximum")] == [0, 2]
    assert told["temperature"][1].startswith("0 to 2")
    words = {"string": "string", "boolean": "boolean", "integer": "integer", "number": "number", "list": "array"}
    for name, (kind, _) in told.items():
        found = FIELDS[name]["type"]
        assert words[re.split(r"\W", kind)[0]] in found
        assert ("null" in kind) == ("null" in found)


def test_every_error_that_a_submission_may_get_is_in_the_documentations_table():
    told = {int(status) for status in re.findall(r"\b[45]\d\d\b", " ".join(row[0] for row in table("Errors")))}
    described = {int(status) for status in description()["paths"]["/v1/llm/generations"]["post"]["responses"]}
    assert {status for status in described if 400 <= status < 500} - {405} <= told
    assert "5xx" in " ".join(row[0] for row in table("Errors"))


def test_every_switch_of_the_unknown_exists():
    found = DOC.partition("<!-- unknown:begin -->")[2].partition("<!-- unknown:end -->")[0]
    rows = [line.split("|")[2] for line in found.splitlines() if line.startswith("|")][2:]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert len(named) >= len(rows) > 10
    assert named <= {option.name for option in OPTIONS}
