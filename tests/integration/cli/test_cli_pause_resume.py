"""A person's pause: nothing more is sent, what was sent is collected, and the run waits for that person."""

import orjson
import pytest


@pytest.fixture
def slow(simulator):
    """The first four rows go alone, and no answer is told before the switch is set back: what is sent is known."""
    return simulator(latency="0.1s", unknown_status_rate=1.0)


def test_a_paused_run_collects_what_was_sent_and_goes_on_when_it_is_resumed(terminal, look, slow, manifest):
    command = ("run", manifest(12).path, "--out", "out", "--base-url", slow.base_url, "--yes")
    leading = terminal.starts(*command)
    leading.until(lambda: slow.summary()["posts_accepted"] >= 4, "the first rows were sent")
    [folder] = (terminal.folder / "out" / "runs").glob("2*")
    run = folder.name
    paused = terminal("pause", run)
    assert paused.code == 0
    assert f"`vidbatch resume {run}` goes on" in paused.out
    assert "paused already: paused by a person" in terminal("pause", run).out
    leading.until(lambda: f"paused by a person; vidbatch resume {run} goes on" in leading.said, "it says so")
    slow.set(unknown_status_rate=0.0)
    leading.until(lambda: look(run).outcomes["completed"] == 4, "what was sent is collected")
    [told] = orjson.loads(terminal("status", run, "--json").out)
    assert (told["state"], told["pending"], told["ready"]) == ("paused", 0, 8)
    assert told["waits_for"].startswith(f"a person, who paused it; vidbatch resume {run} goes on")
    assert f"waits for a person, who paused it; vidbatch resume {run} goes on" in terminal("status", run).out
    assert slow.summary()["posts_received"] == 4
    assert terminal("resume", run).out == f"run {run} goes on\n"
    ended = leading.ends()
    assert ended.code == 0, ended.err
    assert slow.summary()["posts_received"] == 12
    for verb in ("pause", "resume"):
        gone = terminal(verb, run)
        assert gone.code == 2
        assert f"the ledger knows no run {run}; it knows " in gone.err


def test_an_interrupt_leaves_a_paused_run_and_its_own_command_lifts_the_pause(terminal, slow, manifest):
    command = ("run", manifest(9).path, "--out", "out", "--base-url", slow.base_url, "--yes")
    leading = terminal.starts(*command)
    leading.until(lambda: slow.summary()["posts_accepted"] >= 4, "the first rows were sent")
    [folder] = (terminal.folder / "out" / "runs").glob("2*")
    run = folder.name
    assert terminal("pause", run).code == 0
    leading.until(lambda: "paused by a person" in leading.said, "it says so")
    leading.interrupt()
    leading.until(lambda: "stopping: " in leading.said, "the interrupt is heard")
    slow.set(unknown_status_rate=0.0)
    assert leading.ends().code == 130
    alone = terminal("resume", run)
    assert alone.code == 2
    assert "no command leads run" in alone.err
    assert "vidbatch run " in alone.err
    assert "waits for its command, which was interrupted" in terminal("status", run).out
    assert terminal(*command).code == 0
    assert slow.summary()["posts_received"] == 9


@pytest.mark.slow
def test_a_detached_run_is_paused_and_resumed_without_any_command(terminal, slow, manifest):
    detached = terminal("run", manifest(6).path, "--out", "out", "--base-url", slow.base_url, "--yes", "--detach")
    assert detached.code == 0
    [folder] = (terminal.folder / "out" / "runs").glob("2*")
    run = folder.name
    assert terminal("pause", run).code == 0
    assert "is not paused" not in terminal("resume", run).out
    assert "is not paused" in terminal("resume", run).out
    slow.set(unknown_status_rate=0.0)
    watching = terminal("run", manifest(6).path, "--out", "out", "--base-url", slow.base_url, "--yes")
    assert watching.code == 0
    assert slow.summary()["posts_received"] == 6
