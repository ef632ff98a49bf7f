"""The same command again: it is the same run, whatever the operational options, and nothing is paid for twice."""

import csv

import orjson
import pytest

HEAD = ("run", "--out", "out", "--yes")


def write(path, columns, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def test_a_finished_run_is_summed_up_again_and_asks_nothing(terminal, here, simulator, tmp_path):
    api = simulator(latency="0.1s")
    rows = [(f"v{i}", f"https://videos.example/{i}.mp4", f"Describe {i}.", "shelf") for i in range(6)]
    videos = write(tmp_path / "videos.csv", ["id", "video_url", "prompt", "place"], rows)
    command = (*HEAD, "--base-url", api.base_url)
    first = terminal(*command, videos)
    assert first.code == 0
    nowhere = "redis://127.0.0.1:9/0"
    again = here(*command, videos, "--workers", "3", "--poll", "fixed:1s", VIDBATCH_REDIS=nowhere)
    assert (again.code, again.out) == (0, "")
    assert "nothing was sent" in again.err
    assert "6 completed" in again.err
    as_json = here(*command, videos, "--json", VIDBATCH_REDIS=nowhere, VIDBATCH_API_KEY=None)
    assert (as_json.code, as_json.err) == (0, "")
    assert orjson.loads(as_json.out)["outcomes"]["completed"] == 6

    moved = write(tmp_path / "moved.csv", ["place", "prompt", "video_url", "id"], [row[::-1] for row in rows])
    reordered = here(*command, moved, VIDBATCH_REDIS=nowhere)
    assert reordered.code == 0
    assert "of these requests is finished; nothing was sent" in reordered.err

    other = write(tmp_path / "other.csv", ["video_url", "prompt", "room"], [("https://videos.example/9.mp4", "?", "a")])
    refused = here(*command, other, VIDBATCH_REDIS=nowhere)
    assert refused.code == 2
    for told in ("place", "room", "another --out"):
        assert told in refused.err
    assert api.summary()["posts_received"] == 6


def test_a_second_command_watches_the_first_and_leaves_it_in_peace(terminal, simulator, manifest):
    api = simulator(latency="0.1s", unknown_status_rate=1.0)  # no answer is told for now
    command = ("run", manifest(8).path, "--out", "out", "--base-url", api.base_url, "--yes")
    leading = terminal.starts(*command)
    leading.until(lambda: api.summary()["posts_accepted"] >= 4, "the first rows were sent")
    watching = terminal.starts(*command)
    watching.until(lambda: "another `vidbatch run` leads this run" in watching.said, "it watches")
    watching.until(lambda: "/8 rows" in watching.said, "it shows the run")
    [folder] = (terminal.folder / "out" / "runs").glob("2*")
    states = {run["run_id"]: run["state"] for run in orjson.loads(terminal("status", "--json").out)}
    assert states[folder.name] == "running"
    watching.interrupt()
    left = watching.ends()
    assert left.code == 0
    assert "goes on" in left.err
    assert "it waits for " in left.err
    api.set(unknown_status_rate=0.0)
    assert leading.ends().code == 0
    assert api.summary()["posts_accepted"] == 8


@pytest.mark.slow
def test_the_same_command_twice_at_once_is_one_run(terminal, simulator, manifest):
    api = simulator(latency="2s")
    command = ("run", manifest(6).path, "--out", "out", "--base-url", api.base_url, "--yes")
    both = [terminal.starts(*command) for _ in range(2)]
    assert [typed.ends().code for typed in both] == [0, 0]
    assert api.summary()["posts_accepted"] == 6
    assert len(list((terminal.folder / "out" / "runs").glob("2*"))) == 1
