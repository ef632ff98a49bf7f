"""What stops a run until a person acts: each says what to do, costs nothing meanwhile, and the same command goes on."""

import socket
import sys
from collections import Counter

import pyarrow.parquet as pq


def outcomes(out):
    files = sorted(out.glob("annotations/**/*.parquet"))
    return Counter(
        outcome for file in files for outcome in pq.ParquetFile(file).read(["outcome"])["outcome"].to_pylist()
    )


def test_a_refused_key_pauses_the_run_and_no_row_fails(terminal, simulator, manifest):
    api = simulator(latency="0.1s", keys="sk-another-key")
    command = ("run", manifest(12).path, "--out", "out", "--base-url", api.base_url, "--yes")
    for status in (401, 403):
        api.set(auth_error_status=status)
        paused = terminal(*command)
        assert paused.code == 4
        assert "the API refuses the account" in paused.err
        assert f"(HTTP {status})" in paused.err
        assert "12 are still to be done: set VIDBATCH_API_KEY" in paused.err
    assert api.summary()["posts_accepted"] == 0
    api.set(keys=terminal.environment["VIDBATCH_API_KEY"])
    assert terminal(*command).code == 0
    assert api.summary()["posts_accepted"] == 12
    assert outcomes(terminal.folder / "out") == {"completed": 12}


def test_an_api_that_cannot_be_reached_is_waited_for_and_then_pauses_the_run(terminal, simulator, manifest):
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    command = ("run", manifest(6).path, "--out", "out", "--base-url", f"http://127.0.0.1:{port}", "--yes")
    waiting = terminal.starts(*command, program=(sys.executable, "-c", IMPATIENT))
    waiting.until(lambda: "waiting: connect_failed" in waiting.said, "the trouble is shown")
    paused = waiting.ends()
    assert paused.code == 4
    assert "nothing was accepted for" in paused.err
    assert "no row failed for it" in paused.err
    api = simulator(latency="0.1s", port=port)
    assert terminal(*command).code == 0
    assert api.summary()["posts_accepted"] == 6


IMPATIENT = """
import functools
from pipeline.cli import sending
from pipeline.cli.main import run
from pipeline.core.policy import Policy
sending.Policy = functools.partial(Policy, useless_for_s=2.5, longest_wait_s=1.0)
run()
"""
"""Nobody types how long an API may be away, so the command's own two hours are replaced."""


def test_an_empty_balance_pauses_the_run_after_what_was_paid_for_is_collected(terminal, simulator, manifest):
    api = simulator(latency="0.3s")
    api.set(balance=0.02)
    command = ("run", manifest(40).path, "--out", "out", "--base-url", api.base_url, "--yes")
    paused = terminal(*command)
    assert paused.code == 4, paused.err
    assert "top up the account's balance" in paused.err
    bought = api.summary()
    assert 0 < bought["posts_accepted"] < 40
    assert bought["open"] == 0
    [run] = (terminal.folder / "out" / "runs").glob("2*")
    written = sum(pq.read_metadata(part).num_rows for part in run.glob("parts/*.parquet"))
    assert written == bought["posts_accepted"]
    api.set(balance=None)
    assert terminal(*command).code == 0
    assert api.summary()["posts_accepted"] == 40
    assert outcomes(terminal.folder / "out") == {"completed": 40}


def test_a_wrong_path_costs_a_handful_of_rows_and_the_way_out_is_told(terminal, simulator, manifest):
    api = simulator(latency="0.1s")
    wrong = ("run", manifest(200).path, "--out", "out", "--base-url", f"{api.base_url}/wrong", "--yes")
    paused = terminal(*wrong)
    assert paused.code == 4
    assert api.summary()["posts_received"] <= 8
    for told in ("rows in a row ended as refused not_found", "(HTTP 404)", f"{api.base_url}/wrong", "--out"):
        assert told in paused.err
    [run] = (terminal.folder / "out" / "runs").glob("2*")
    right = ("run", manifest(200).path, "--out", "out", "--base-url", api.base_url, "--yes")
    busy = terminal(*right)
    assert busy.code == 2
    way_out = f"vidbatch cancel {run.name} --out {terminal.folder / 'out'}"
    assert way_out in busy.err
    assert way_out in paused.err
    cancelled = terminal(*way_out.split()[1:])
    assert cancelled.code == 0, cancelled.err
    ended = outcomes(terminal.folder / "out")
    assert ended["refused"] <= 8
    assert ended == {"refused": ended["refused"], "cancelled": 200 - ended["refused"]}
    assert terminal(*right).code == 0
    assert api.summary()["posts_accepted"] == 200


def test_a_wrong_model_costs_a_handful_of_rows(terminal, simulator, manifest):
    api = simulator(latency="0.1s")
    paused = terminal(
        *("run", manifest(50).path, "--out", "out", "--base-url", api.base_url, "--yes", "--model", "gemini-9-future")
    )
    assert paused.code == 4
    assert "refused model_not_supported (HTTP 422)" in paused.err
    assert "asked was gemini-9-future" in paused.err
    assert api.summary()["posts_received"] <= 8


def test_a_cancelled_run_sends_nothing_more_and_keeps_what_was_paid_for(terminal, look, simulator, manifest):
    api = simulator(latency="0.1s", unknown_status_rate=1.0)  # no answer is told for now
    leading = terminal.starts("run", manifest(30).path, "--out", "out", "--base-url", api.base_url, "--yes")
    leading.until(lambda: api.summary()["posts_accepted"] >= 4, "the first rows were sent")
    [run] = (terminal.folder / "out" / "runs").glob("2*")
    cancel = terminal.starts("cancel", run.name, "--out", "out")
    cancel.until(lambda: look(run.name).state == "cancelling", "the ledger is told")
    api.set(unknown_status_rate=0.0)
    assert cancel.ends().code == 0
    ended = leading.ends()
    assert ended.code == 1
    paid = api.summary()["posts_accepted"]
    assert paid < 30
    assert outcomes(terminal.folder / "out") == {"completed": paid, "cancelled": 30 - paid}
    assert "30 = " in ended.err


def test_nothing_but_a_run_can_be_cancelled(terminal, simulator, manifest):
    unknown = terminal("cancel", "20260101-000000-abcdef", "--out", "out")
    assert unknown.code == 2
    assert "holds no run 20260101-000000-abcdef" in unknown.err
    command = ("run", manifest(3).path, "--out", "out", "--base-url", "http://127.0.0.1:9")
    assert terminal(*command).code == 2
    [run] = (terminal.folder / "out" / "runs").glob("2*")
    removed = terminal("cancel", run.name, "--out", "out")
    assert (removed.code, run.exists()) == (0, False)
    assert "nothing of run" in removed.err
