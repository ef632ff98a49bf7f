"""A real OpenAI-compatible server from the package index: a LiteLLM proxy whose models answer without any model.

`make providers` installs it into a folder of its own, and runs this.
"""

import itertools
import os
import socket
import subprocess
import threading
import time

import httpx
import openai
import orjson
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.core.columns import NAMES

pytestmark = pytest.mark.providers

ROWS = 60
SAYS = "A dog runs over the beach."
READY_WITHIN_S = 120.0


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


@pytest.fixture(scope="module")
def proxy(request, fleet, tmp_path_factory):
    """The base URL of a proxy that takes the fleet's key and has one model."""
    program = request.config.rootpath / ".providers/bin/litellm"
    assert program.exists(), "run `make providers`, which installs it"
    folder, port = tmp_path_factory.mktemp("proxy"), free_port()
    model = {"model": "openai/mock-video", "api_key": "none", "mock_response": SAYS}
    settings = {
        "model_list": [{"model_name": "mock-video", "litellm_params": model}],
        "general_settings": {"master_key": fleet.key},
        "litellm_settings": {"telemetry": False},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    told = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "HOME": str(folder)}
    command = [program, "--config", folder / "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **told}, stdout=log, stderr=log, cwd=folder)
    try:
        ready(f"http://127.0.0.1:{port}/health/liveliness", process, folder / "log")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)


def ready(url, process, log):
    tick, deadline = threading.Event(), time.monotonic() + READY_WITHIN_S
    with httpx.Client(trust_env=False, timeout=2) as client:
        while time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            try:
                if client.get(url).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            tick.wait(0.2)
    raise AssertionError(log.read_text())


def read(out):
    tables = [pq.ParquetFile(path).read().to_pylist() for path in sorted(out.glob("annotations/**/*.parquet"))]
    return list(itertools.chain(*tables))


@pytest.mark.parametrize("mode", ["sync", "stream"])
def test_every_row_is_completed_and_every_token_counted(proxy, terminal, manifest, tmp_path, mode):
    asked = ("--api", "openai", "--base-url", proxy, "--model", "mock-video", "--system-prompt", "Be brief.")
    more = ("--temperature", "0.5", "--max-tokens", "2000", "--reasoning", "--mode", mode)
    ended = terminal("run", manifest(ROWS).path, *asked, *more, "--out", "out", "--yes")
    assert ended.code == 0, ended.err
    annotations = read(tmp_path / "out")
    assert sorted(row["row_index"] for row in annotations) == list(range(ROWS))
    assert {(row["outcome"], row["content"], row["model_answered"]) for row in annotations} == {
        ("completed", SAYS, "mock-video")
    }
    assert annotations[0].keys() == NAMES
    summary = orjson.loads(next((tmp_path / "out").glob("runs/*/done.json")).read_bytes())
    for name in ("prompt_tokens", "completion_tokens"):
        assert summary[name] == sum(row[name] for row in annotations)
    assert summary["completion_tokens"] > 0
    assert terminal("verify", "--out", "out").code == 0


def test_its_answer_is_what_the_official_client_reads(proxy, fleet, terminal, manifest, tmp_path):
    asked = ("--api", "openai", "--base-url", proxy, "--model", "mock-video", "--out", "out", "--yes")
    assert terminal("run", manifest(1).path, *asked).code == 0
    [row] = read(tmp_path / "out")
    parts = [{"type": "text", "text": row["prompt"]}, {"type": "video_url", "video_url": {"url": row["video_urls"][0]}}]
    with openai.OpenAI(base_url=proxy, api_key=fleet.key, max_retries=0) as client:
        theirs = client.chat.completions.create(model="mock-video", messages=[{"role": "user", "content": parts}])
        assert row["content"] == theirs.choices[0].message.content
        assert (row["prompt_tokens"], row["total_tokens"]) == (theirs.usage.prompt_tokens, theirs.usage.total_tokens)


def test_what_it_does_not_have_is_refused_and_the_run_pauses(proxy, terminal, manifest, tmp_path):
    asked = ("--api", "openai", "--base-url", proxy, "--model", "none-such", "--out", "out", "--yes")
    ended = terminal("run", manifest(8).path, *asked)
    assert ended.code == 4
    assert "Invalid model name" in ended.err


def test_the_doctor_knows_it(proxy, terminal):
    said = terminal("doctor", "--api", "openai", "--base-url", proxy, "--model", "mock-video", VIDBATCH_REDIS=None)
    assert said.code == 0, said.out
    assert "models: 1 at the API, mock-video among them" in said.out
