"""Runs whose manifest is in an object store: planned, sent, given again, and retried without it."""

import csv

import orjson
import pytest

from pipeline.edges import object_store
from pipeline.edges.rejects_file import read_rejects

ROWS = [("v0", "https://x.example/0.mp4", "What?"), ("v1", "", "Why?"), ("v2", "https://x.example/2.mp4", "Who?")]


@pytest.fixture
def key(store, tmp_path):
    """A manifest of three rows, one of which can't become a request."""
    path = tmp_path / "written.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "video_url", "prompt"), *ROWS])
    key = f"{store.bucket()}/nights/today.csv"
    object_store.put(key, path.read_bytes())
    return key


def test_a_plan_names_the_url(key, here):
    planned = here("plan", f"s3://{key}", "--json")
    assert planned.code == 1, planned.err
    assert orjson.loads(planned.out)["first_rejections"][0]["file"] == f"s3://{key}"


@pytest.mark.slow
def test_a_run_goes_on_by_the_same_url_and_is_retried_without_it(key, terminal, simulator):
    api = simulator(latency="3s")
    command = ("run", f"s3://{key}", "--out", "out", "--base-url", api.base_url, "--yes")
    assert terminal(*command, "--detach").code == 0
    [run] = (terminal.folder / "out" / "runs").glob("2*")
    assert not (run / "done.json").exists(), "it was over at once: this shows nothing"
    assert orjson.loads((run / "run.json").read_bytes())["manifests"] == [f"s3://{key}"]
    [rejected] = read_rejects(run / "rejects.parquet", 10)
    assert (rejected["file"], rejected["line"]) == (f"s3://{key}", 3)
    resumed = terminal(*command)
    assert resumed.code == 1, resumed.err
    assert f"resuming run {run.name}" in resumed.err
    told = orjson.loads(terminal(*command, "--detach", "--json").out)
    assert (told["run_id"], told["state"], told["out"]) == (run.name, "finished", str(terminal.folder / "out"))
    assert api.summary()["posts_accepted"] == 2
    object_store.remove(key)
    assert terminal("retry", run.name, "--out", "out", "--yes").code == 0
    gone = terminal(*command)
    assert gone.code == 2
    assert f"s3://{key} does not exist" in gone.err
