"""What can be done for rows that did not complete: asked again at a price, or collected for none; nothing twice."""

import re
from collections import Counter, defaultdict

import orjson
import pyarrow.parquet as pq
import pytest


def rows_of(out):
    """Outcomes by row id, of every run, as the dataset has them."""
    found = defaultdict(list)
    for file in sorted(out.glob("annotations/**/*.parquet")):
        table = pq.ParquetFile(file).read(["row_id", "outcome", "generation_id"])
        for row in table.to_pylist():
            found[row["row_id"]].append(row["outcome"])
    return found


def last_outcomes(out, rows):
    found = rows_of(out)
    assert len(found) == rows
    return Counter(outcomes[-1] for outcomes in found.values())


def the_run(terminal):
    [run] = (terminal.folder / "out" / "runs").glob("2*")
    return run.name


def test_failed_rows_are_asked_again_once_and_completed_ones_never(terminal, here, simulator, manifest):
    api = simulator(latency="0.1s", fail_rate=1.0, fail_codes="content_policy_violation")
    command = ("run", manifest(3).path, "--out", "out", "--base-url", api.base_url, "--yes")
    failed = terminal(*command)
    assert failed.code == 1, failed.err
    run = the_run(terminal)
    assert f"`vidbatch retry {run} --out {terminal.folder / 'out'}` (3 failed or cancelled)" in failed.err
    asked = api.summary()["posts_received"]
    api.set(fail_rate=0.0)

    retry = ("retry", run, "--out", "out")
    other_code = here(*retry, "--code", "timeout")
    assert (other_code.code, other_code.out) == (0, "")
    assert "no row of it is asked again; nothing was sent" in other_code.err
    assert "3 failed content_policy_violation" in other_code.err
    unconfirmed = here(*retry)
    assert unconfirmed.code == 2
    assert "3 requests" in unconfirmed.err
    again = terminal(*retry, "--code", "content_policy_violation", "--yes", "--json")
    assert again.code == 0, again.err
    told = orjson.loads(again.out)
    assert (told["retry_of"], told["requests"], told["outcomes"]["completed"]) == (run, 3, 3)
    assert api.summary()["posts_received"] == asked + 3
    assert last_outcomes(terminal.folder / "out", 3) == {"completed": 3}

    nothing = here(*retry, "--json", VIDBATCH_API_KEY=None)
    assert nothing.code == 0
    assert orjson.loads(nothing.out) == {
        "run_id": None,
        "of": run,
        "requests": 0,
        "not_completed": [],
        "unfit_answers": {},
    }
    finished = here(*command)
    assert finished.code == 0
    assert "all of them completed by now, in later runs" in finished.err
    verified = here("verify", "--out", "out")
    assert verified.code == 0, verified.err + verified.out


def test_abandoned_rows_keep_their_ids_and_are_collected_without_a_post(terminal, here, look, simulator, manifest):
    api = simulator(latency="0.1s", unknown_status_rate=1.0)  # no answer is told for now
    command = ("run", manifest(10).path, "--out", "out", "--base-url", api.base_url, "--yes")
    leading = terminal.starts(*command)
    leading.until(lambda: api.summary()["posts_accepted"] >= 4, "the first rows were sent")
    run = the_run(terminal)
    leading.until(lambda: look(run).pending == 4, "their ids are recorded")
    early = here("retry", run, "--out", "out", "--yes")
    assert early.code == 2
    assert f"run {run} is not finished" in early.err

    abandoned = terminal("cancel", run, "--out", "out", "--abandon", VIDBATCH_API_KEY=None)
    assert abandoned.code == 0, abandoned.err
    ended = leading.ends()
    assert ended.code == 1
    assert f"4 rows have a generation that was paid for: `vidbatch collect {run}" in ended.err
    assert last_outcomes(terminal.folder / "out", 10) == {"cancelled": 10}

    collect = ("collect", run, "--out", "out")
    impatient = terminal(*collect, "--wait", "500ms")
    assert impatient.code == 1, impatient.err
    assert "collects 4 generations" in impatient.err
    assert last_outcomes(terminal.folder / "out", 10) == {"cancelled": 6, "expired": 4}
    api.set(unknown_status_rate=0.0)
    patient = terminal(*collect, "--json")
    assert patient.code == 0, patient.err
    told = orjson.loads(patient.out)
    assert (told["collects"], told["requests"], told["outcomes"]["completed"]) == (run, 4, 4)
    nothing = here(*collect)
    assert nothing.code == 0
    assert "no answer waits under a known id" in nothing.err
    assert api.summary()["posts_received"] == 4, "collecting sends nothing"

    retried = terminal("retry", run, "--out", "out", "--yes")
    assert retried.code == 0, retried.err
    assert api.summary()["posts_received"] == 10
    assert last_outcomes(terminal.folder / "out", 10) == {"completed": 10}
    assert all(outcomes.count("completed") == 1 for outcomes in rows_of(terminal.folder / "out").values())
    verified = here("verify", "--out", "out")
    assert verified.code == 0, verified.err + verified.out


def test_a_row_that_may_have_been_billed_is_held_until_a_person_asks_for_it(terminal, here, simulator, manifest):
    api = simulator(latency="0.1s", error_after_rate=1.0)
    command = ("run", manifest(3).path, "--out", "out", "--base-url", api.base_url, "--yes")
    held = terminal(*command, VIDBATCH_ON_UNKNOWN="hold")
    assert held.code == 1, held.err
    assert api.summary()["posts_received"] == 3
    run = the_run(terminal)
    assert "(3 that may have been billed: --unknown)" in held.err
    api.set(error_after_rate=0.0)
    usual = here("retry", run, "--out", "out", "--yes", VIDBATCH_API_KEY=None)
    assert usual.code == 0
    assert "nothing was sent" in usual.err
    asked = terminal("retry", run, "--out", "out", "--unknown", "--yes")
    assert asked.code == 0, asked.err
    assert api.summary()["posts_received"] == 6
    assert last_outcomes(terminal.folder / "out", 3) == {"completed": 3}


@pytest.mark.slow
def test_a_retry_that_was_interrupted_goes_on_by_its_own_command(terminal, here, simulator, manifest):
    api = simulator(latency="0.1s", fail_rate=1.0, fail_codes="content_policy_violation")
    command = ("run", manifest(8).path, "--out", "out", "--base-url", api.base_url, "--yes")
    paused = terminal(*command)
    assert paused.code == 4, "like failures pause a run"
    run = the_run(terminal)
    assert terminal("cancel", run, "--out", "out").code == 0
    failed = last_outcomes(terminal.folder / "out", 8)["failed"]
    before = api.summary()["posts_received"]
    api.set(fail_rate=0.0, unknown_status_rate=1.0)
    retry = ("retry", run, "--out", "out", "--yes")
    typed = terminal.starts(*retry)
    typed.until(lambda: api.summary()["posts_received"] > before, "it sends")
    typed.interrupt()
    typed.until(lambda: "stopping: " in typed.said, "the interrupt is heard")
    api.set(unknown_status_rate=0.0)
    assert typed.ends().code == 130
    sent = api.summary()["posts_received"] - before
    other = here("retry", run, "--out", "out", "--outcome", "failed", "--yes")
    assert other.code == 2
    assert f"vidbatch retry {run} --out {terminal.folder / 'out'}`" in other.err
    again = terminal(*retry)
    assert again.code == 0, again.err
    assert re.search(rf"resuming run \S+, which asks rows of {run} again", again.err)
    assert 0 < sent <= 8
    assert 0 < failed <= 8
    assert api.summary()["posts_received"] == before + 8
    assert last_outcomes(terminal.folder / "out", 8) == {"completed": 8}
