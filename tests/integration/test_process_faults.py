"""Processes die in the middle of a run: nothing is lost, nothing is there twice, and what is paid twice is bounded.

What a killed process may cost is what it had on the wire, and one group of answers that it had not recorded yet.
Rows are submitted 96 at a time, so all of that is among the rows that were submitting when it died.
"""

import signal
import time

import pytest

ROWS = 240
GROUP_ROWS = 64
RECOVERS_WITHIN_S = 30.0


@pytest.fixture
def api(simulator):
    """Slow enough that POSTs are on the wire and rows pending for as long as a test needs to see it."""
    return simulator(latency="3s", submit_delay="1s")


@pytest.mark.slow
def test_a_killed_child_costs_at_most_what_it_had_in_hand_and_its_rows_are_back_in_time(
    api, manifest, vidbatch, audit, faults
):
    run = vidbatch(manifest(ROWS), api)
    command = run.run()
    caught = faults.freeze_a_submitter(run, api)
    api.set(latency="0.2s")
    killed_at = time.time()
    caught.child.kill()
    command.ends(0)
    found = audit(run, api, unanswered_allowed=min(len(caught.submitting), 96 + GROUP_ROWS), never_again=caught.pending)
    recovery = faults.recovery_s(run, api, caught.submitting, killed_at)
    faults.report(f"child killed with {len(caught.submitting)} rows in hand", found, recovery)
    assert found.extra_posts >= 1, "nothing was on the wire: this shows nothing"
    assert found.flagged <= caught.submitting
    assert recovery <= RECOVERS_WITHIN_S


@pytest.mark.chaos
def test_a_worker_that_is_told_to_stop_loses_nothing_and_another_takes_over(api, manifest, vidbatch, audit, faults):
    run = vidbatch(manifest(ROWS), api)
    command = run.run()
    run.until(lambda now: now.submitting and now.pending, "rows in flight")
    first = run.worker()
    api.set(latency="0.2s")
    first.send_signal(signal.SIGTERM)
    command.ends(0)
    found = audit(run, api)
    faults.report("worker told to stop", found)
    assert not found.flagged
    assert not first.is_running()
