"""One machine, nothing configured: the private server and worker come and go with the command, and keep the key."""

import stat

import psutil
import pyarrow.parquet as pq
import pytest

RIGHT = "sk-right-0123456789"
WRONG = "sk-wrong-0123456789"


def command_lines(state):
    """Arguments of every process that has to do with this state folder."""
    found = []
    for process in psutil.process_iter():
        try:
            lines = " ".join(process.cmdline())
            if process.environ().get("VIDBATCH_STATE") == state or state in lines:
                found.append(lines)
        except psutil.Error:
            continue
    return found


def holds(folder, word):
    """Files below a folder that hold a word."""
    return [path for path in folder.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


def test_a_wrong_key_pauses_a_right_one_goes_on_and_neither_is_written_anywhere(alone, simulator, manifest, tmp_path):
    api = simulator(latency="1s", keys=RIGHT)
    state = alone.environment["VIDBATCH_STATE"]
    command = ("run", manifest(10).path, "--out", "out", "--base-url", api.base_url, "--yes", "--poll", "fixed:200ms")
    paused = alone(*command, VIDBATCH_API_KEY=WRONG)
    assert paused.code == 4
    assert "set VIDBATCH_API_KEY" in paused.err

    key_file = tmp_path.parent / f"{tmp_path.name}-key"
    key_file.write_text(f"{RIGHT}\n")
    typed = alone.starts(*command, VIDBATCH_API_KEY=None, VIDBATCH_API_KEY_FILE=str(key_file))
    typed.until(lambda: api.summary()["posts_accepted"] > 0, "rows are sent")
    lines = command_lines(state)
    assert any("-m workers" in line for line in lines)
    ended = typed.ends()
    assert ended.code == 0, ended.err
    assert api.summary()["posts_accepted"] == 10
    [part] = (tmp_path / "out").glob("annotations/**/*.parquet")
    assert pq.ParquetFile(part).read(["outcome"])["outcome"].to_pylist() == ["completed"] * 10

    folder = type(tmp_path)(state)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list((folder / "data").rglob("*.aof")), "the server's own file was looked at"
    for key in (RIGHT, WRONG):
        assert not [line for line in [*lines, *command_lines(state)] if key in line]
        assert not holds(folder, key)
        assert not holds(tmp_path, key)
        assert key not in paused.err + paused.out + ended.err + ended.out
    assert not [line for line in command_lines(state) if "-m workers" in line], "a worker outlives its command"


def test_a_run_that_waits_for_no_answer_is_cancelled_without_a_key(alone, simulator, manifest, tmp_path):
    api = simulator(keys=RIGHT)
    command = ("run", manifest(5).path, "--out", "out", "--base-url", api.base_url, "--yes", "--poll", "fixed:200ms")
    assert alone(*command, VIDBATCH_API_KEY=WRONG).code == 4
    [run] = (tmp_path / "out" / "runs").glob("2*")
    cancelled = alone("cancel", run.name, "--out", "out", VIDBATCH_API_KEY=None)
    assert cancelled.code == 0, cancelled.err
    assert "5 cancelled" in cancelled.err
    assert f"`vidbatch retry {run.name}" in cancelled.err


@pytest.mark.chaos
def test_answers_that_were_paid_for_are_not_given_up_for_lack_of_a_key(alone, simulator, manifest, tmp_path):
    api = simulator(latency="0.1s", unknown_status_rate=1.0)  # no answer is told for now
    command = ("run", manifest(5).path, "--out", "out", "--base-url", api.base_url, "--yes", "--poll", "fixed:200ms")
    typed = alone.starts(*command)
    typed.until(lambda: api.summary()["posts_accepted"] == 4, "the first rows are sent")
    [run] = (tmp_path / "out" / "runs").glob("2*")
    typed.interrupt()
    typed.until(lambda: "(4 in flight; Ctrl-C again" in typed.said, "their ids are recorded")
    typed.interrupt()
    assert typed.ends().code == 130
    cancel = ("cancel", run.name, "--out", "out")
    refused = alone(*cancel, VIDBATCH_API_KEY=None)
    assert refused.code == 4, refused.err
    assert "4 rows of run" in refused.err
    assert "--abandon" in refused.err
    api.set(unknown_status_rate=0.0)
    assert alone(*cancel).code == 0
    assert api.summary()["posts_received"] == 4


def test_a_run_that_is_not_confirmed_leaves_nothing_running(alone, simulator, manifest):
    api = simulator()
    refused = alone("run", manifest(3).path, "--out", "out", "--base-url", api.base_url, VIDBATCH_API_KEY=RIGHT)
    assert (refused.code, "add --yes" in refused.err) == (2, True)
    assert command_lines(alone.environment["VIDBATCH_STATE"]) == []
    assert api.summary()["posts_accepted"] == 0
