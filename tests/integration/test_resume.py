"""A run that was stopped, by Ctrl-C or by force, goes on by the same command, and pays for nothing again."""

import shutil
import signal
import time

import pytest

ROWS = 240
LEAVES_WITHIN_S = 10.0
"""Far less than answers take that are waited for, and far more than a busy machine needs to leave at once."""


@pytest.fixture
def api(simulator):
    return simulator(latency="1.5s", submit_delay="0.2s")


def test_ctrl_c_collects_what_was_asked_and_the_same_command_sends_the_rest(api, manifest, vidbatch, audit, faults):
    run = vidbatch(manifest(ROWS), api)
    first = run.run()
    run.until(lambda now: now.submitting and now.pending, "rows in flight")
    first.signal(signal.SIGINT)
    said = first.ends(130)
    asked = api.summary()["posts_accepted"]
    assert "stopping: nothing more is sent" in said
    assert "run the same command again to go on" in said
    assert 0 < asked < ROWS, "the run was not in its middle: this shows nothing"
    assert api.summary()["open"] == 0
    api.set(latency="0.2s")
    assert "resuming run" in run.run().ends(0)
    found = audit(run, api)
    faults.report(f"Ctrl-C after {asked} POSTs", found)
    assert not found.flagged


@pytest.mark.chaos
def test_two_ctrl_c_leave_at_once_and_even_without_redis_what_was_asked_is_collected_and_not_asked_again(
    api, manifest, vidbatch, audit, faults
):
    run = vidbatch(manifest(ROWS), api)
    first = run.run()
    run.until(lambda now: now.outcomes["completed"] and now.submitting and now.pending, "rows in flight")
    first.signal(signal.SIGINT)
    faults.eventually(lambda: "stopping: " in first.said, "the first Ctrl-C is heard")  # two at once count as one
    first.signal(signal.SIGINT)
    told_at = time.monotonic()
    said = first.ends(130)
    left_after = time.monotonic() - told_at
    assert "run the same command again to go on" in said
    assert left_after <= LEAVES_WITHIN_S
    faults.until_alone(run)
    asked, saved = faults.posts(run, api), run.saved_ids()
    shutil.rmtree(run.state)
    api.set(latency="0.2s")
    run.run().ends(0)
    unsaved = asked.keys() - saved.keys()
    found = audit(run, api, unanswered_allowed=len(unsaved), never_again=saved.keys())
    faults.report(f"two Ctrl-C: left after {left_after:.2f} s, then Redis lost; {len(unsaved)} ids not on disk", found)
    assert 0 < len(asked) < ROWS
    assert found.flagged >= unsaved, "a row without an id on disk may have been paid for, and must say so"
    assert found.flagged.isdisjoint(saved), "a row with an id on disk is polled, and nothing is doubtful"
