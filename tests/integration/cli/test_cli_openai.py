"""Whole runs at an OpenAI-compatible server: the same commands, the same dataset, answers on the POST."""

import csv
import itertools

import orjson
import pyarrow.parquet as pq
import pytest

from pipeline.core.columns import NAMES
from tests.chat_server import USAGE, ChatServer, answered, chunks, content_of, streamed, whole

ROWS = 8


@pytest.fixture
def server():
    with ChatServer().serving() as made:
        yield made


@pytest.fixture
def rows(tmp_path):
    with (tmp_path / "videos.csv").open("w", newline="", encoding="utf-8") as file:
        table = [(f"v{i}", f"https://videos.example/{i}.mp4", f"What is in {i}?", "shelf 3") for i in range(ROWS)]
        csv.writer(file).writerows([("id", "video_url", "prompt", "place"), *table])
    return "videos.csv"


def asking(server, rows, *more):
    return ("run", rows, "--api", "openai", "--base-url", server.base_url, "--model", "qwen3-vl", "--yes", *more)


def read(out):
    table = [pq.ParquetFile(path).read() for path in sorted(out.glob("annotations/**/*.parquet"))]
    return sorted(itertools.chain(*(part.to_pylist() for part in table)), key=lambda row: row["row_index"])


def said_to(server):
    """What the server said to each video."""
    return {asked["messages"][-1]["content"][1]["video_url"]["url"]: content_of(asked) for asked in server.asked}


@pytest.mark.parametrize("mode", [pytest.param("sync", marks=pytest.mark.slow), "stream"])
def test_every_row_has_its_own_answer_though_some_are_refused_or_fail_at_first(terminal, server, rows, tmp_path, mode):
    def now_and_then(asked, nth):
        text = asked["messages"][-1]["content"][0]["text"]
        if nth == 0 and text.startswith("What is in 3"):
            return whole({"error": {"message": "slow", "code": "rate_limit_exceeded"}}, 429)
        if nth == 0 and text.startswith("What is in 5"):
            error = {"error": {"code": 502, "message": "Provider disconnected"}}
            return streamed(*chunks(asked)[:3], error, done=False) if asked.get("stream") else whole(error)
        return answered(asked, nth)

    server.answer = now_and_then
    ended = terminal(*asking(server, rows, "--mode", mode, "--out", "out"))
    assert ended.code == 0, ended.err
    annotations, said = read(tmp_path / "out"), said_to(server)
    assert [row["outcome"] for row in annotations] == ["completed"] * ROWS
    assert [row["content"] for row in annotations] == [said[row["video_urls"][0]] for row in annotations]
    assert annotations[0].keys() == NAMES | {"place"}, "the columns are those of any run"
    assert [row["row_id"] for row in annotations if len(row["attempt_log"]) > 1] == ["v5"]
    summary = orjson.loads(next((tmp_path / "out").glob("runs/*/done.json")).read_bytes())
    assert summary["prompt_tokens"] == ROWS * USAGE["prompt_tokens"]
    assert summary["completion_tokens"] == ROWS * USAGE["completion_tokens"]
    assert len(server.asked) == ROWS + 2
    assert all(asked.get("stream", False) is (mode == "stream") for asked in server.asked)


@pytest.mark.slow
def test_refused_rows_end_and_a_retry_asks_the_same_api(terminal, server, rows, tmp_path):
    def moderated(asked, nth):
        if asked["messages"][-1]["content"][0]["text"].startswith("What is in 1"):
            return whole({"error": {"code": 403, "message": "flagged"}}, 403)
        return answered(asked, nth)

    server.answer = moderated
    ended = terminal(*asking(server, rows, "--limit", "4", "--out", "out"))
    assert ended.code == 1
    [run] = (tmp_path / "out" / "runs").glob("2*")
    server.answer = answered
    again = terminal("retry", run.name, "--outcome", "refused", "--out", "out", "--yes", "--mode", "stream")
    assert again.code == 0, again.err
    assert [row["outcome"] for row in read(tmp_path / "out")].count("completed") == 4
    assert server.asked[-1]["stream"] is True, "the retry speaks the run's API, in the mode that it was given"


def test_an_empty_balance_pauses_the_run(terminal, server, rows):
    server.answer = lambda _asked, _nth: whole({"error": {"message": "Insufficient credits", "code": 402}}, 402)
    ended = terminal(*asking(server, rows, "--limit", "2", "--out", "out"))
    assert ended.code == 4
    assert "Insufficient credits" in ended.err


def test_the_other_api_is_another_question(here, server, rows, tmp_path):
    def digest(*more):
        said = here("plan", rows, "--json", *more, VIDBATCH_API_KEY=None)
        assert said.code == 0, said.err
        return orjson.loads(said.out)["api"]

    assert digest() == "foxapi"
    assert digest("--api", "openai", "--base-url", server.base_url, "--model", "m") == "openai"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--api", "openai", "--model", "m"), "--base-url: found none"),
        (("--api", "openai", "--base-url", "http://x/v1/chat/completions"), "what stands before that"),
        (("--api", "openai", "--base-url", "localhost:8000"), "--base-url: The API's base URL is not an http"),
        (
            ("--api", "openai", "--base-url", "http://x", "--mode", "async"),
            "allowed with --api openai are sync, stream",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_planned(here, rows, words, says):
    said = here("run", rows, "--out", "out", "--yes", *words)
    assert said.code == 2
    assert says in said.err


def test_a_row_without_a_model_is_a_rejection_that_says_so(here, rows, tmp_path):
    asked = ("plan", rows, "--json", "--api", "openai", "--base-url", "http://x")
    said = here(*asked, VIDBATCH_API_KEY=None)
    assert (said.code, "--model" in said.err) == (2, True)  # no row has one: the command's mistake
    named = (tmp_path / rows).read_text().splitlines()
    (tmp_path / rows).write_text(
        "\n".join([f"{named[0]},model", *[f"{line},some-model" for line in named[1:-1]], f"{named[-1]},"])
    )
    said = here(*asked, VIDBATCH_API_KEY=None)
    assert said.code == 1
    told = orjson.loads(said.out)
    assert (told["rejections"], told["base_url"]) == (1, "http://x/v1")
    assert told["first_rejections"][0]["field"] == "model"
    assert "--model" in told["first_rejections"][0]["allowed"]
