"""Every process of a run dies in its middle, one kind after the other, and the run still ends as it should."""

import signal
import time

import pytest

from pipeline.edges.embedded import alive

pytestmark = pytest.mark.timeout(400)

ROWS = 300
LEAVES_WITHIN_S = 10.0
"""Far less than answers take that are waited for, and far more than a busy machine needs to leave at once."""
RECOVERS_WITHIN_S = 30.0


@pytest.fixture
def api(simulator):
    return simulator(latency="3s", submit_delay="1s")


@pytest.mark.chaos
def test_a_killed_worker_is_started_again_and_costs_at_most_what_it_had_in_hand(api, manifest, vidbatch, audit, faults):
    run = vidbatch(manifest(ROWS), api)
    command = run.run()
    caught = faults.freeze_a_submitter(run, api)
    first = run.worker()
    killed_at = time.time()
    first.kill()
    command.ends(0)
    found = audit(run, api, unanswered_allowed=len(caught.submitting), never_again=caught.pending)
    recovery = faults.recovery_s(run, api, caught.submitting, killed_at)
    faults.report(f"worker killed with {len(caught.submitting)} rows in hand", found, recovery)
    assert not first.is_running()
    assert found.flagged <= caught.submitting
    assert recovery <= RECOVERS_WITHIN_S


@pytest.mark.chaos
def test_after_coordinator_and_worker_were_killed_the_same_command_goes_on(api, manifest, vidbatch, audit, faults):
    run = vidbatch(manifest(ROWS), api)
    first = run.run()
    caught = faults.freeze_a_submitter(run, api)
    worker = run.worker()
    first.process.kill()
    worker.kill()
    first.process.wait()
    assert "resuming run" in run.run().ends(0)
    found = audit(run, api, unanswered_allowed=len(caught.submitting), never_again=caught.pending)
    faults.report(f"all but Redis killed with {len(caught.submitting)} rows in hand", found)
    assert found.flagged <= caught.submitting


@pytest.mark.chaos
def test_after_everything_was_killed_the_same_command_goes_on(api, manifest, vidbatch, audit, faults):
    run = vidbatch(manifest(ROWS), api)
    run.run()
    caught = faults.freeze_a_submitter(run, api)
    run.kill_everything()
    run.run().ends(0)
    found = audit(run, api, unanswered_allowed=len(caught.submitting), never_again=caught.pending)
    faults.report(f"all killed with {len(caught.submitting)} rows in hand, Redis too", found)
    assert found.flagged <= caught.submitting


@pytest.mark.chaos
def test_a_worker_leaves_after_its_coordinator_was_killed_and_loses_nothing(api, manifest, vidbatch, audit, faults):
    run = vidbatch(manifest(ROWS), api)
    first = run.run()
    run.until(lambda now: now.submitting and now.pending, "rows in flight")
    worker = run.worker().pid
    first.process.kill()
    killed_at = time.monotonic()
    first.process.wait()
    faults.eventually(lambda: not alive(worker), "the worker leaves by itself")
    left_after = time.monotonic() - killed_at
    run.run().ends(0)
    found = audit(run, api)
    faults.report(f"coordinator killed, its worker left after {left_after:.1f} s", found)
    assert left_after <= 30.0
    assert not found.flagged


@pytest.mark.chaos
def test_two_ctrl_c_leave_at_once_and_the_same_command_pays_for_nothing_again(api, manifest, vidbatch, audit, faults):
    run = vidbatch(manifest(ROWS), api)
    first = run.run()
    run.until(lambda now: now.submitting and now.pending, "rows in flight")
    first.signal(signal.SIGINT)
    faults.eventually(lambda: "stopping: " in first.said, "the first Ctrl-C is heard")  # two at once count as one
    first.signal(signal.SIGINT)
    told_at = time.monotonic()
    assert "run the same command again to go on" in first.ends(130)
    left_after = time.monotonic() - told_at
    run.run().ends(0)
    found = audit(run, api)
    faults.report(f"two Ctrl-C, left after {left_after:.2f} s", found)
    assert left_after <= LEAVES_WITHIN_S
    assert not found.flagged


@pytest.mark.chaos
def test_a_run_survives_a_storm_of_kills(simulator, manifest, vidbatch, audit, faults):
    api = simulator(latency="1s", submit_delay="0.3s")
    run = vidbatch(manifest(1500), api)
    command = run.run("--workers", "2")
    storm = []
    for at_least in (100, 400, 700):
        run.until(lambda now, least=at_least: now.ended >= least and now.submitting, f"{at_least} rows ended", 120)
        caught = faults.freeze_a_submitter(run, api, pending=1)
        (caught.child if at_least < 700 else run.worker()).kill()
        storm.append(len(caught.submitting))
    command.ends(0, within_s=150)
    found = audit(run, api, unanswered_allowed=sum(storm) + 3 * 64, all_completed=False)
    faults.report(f"storm of kills with {storm} rows in hand", found)
    assert set(found.outcomes) <= {"completed", "unknown"}, "a row that was lost twice waits for a person"


@pytest.mark.chaos
def test_ten_thousand_rows_take_ten_thousand_posts(simulator, manifest, vidbatch, audit, faults):
    api = simulator(latency="lognormal:0.3s,0.6")
    run = vidbatch(manifest(10_000), api)
    began = time.monotonic()
    run.run().ends(0, within_s=200)
    found = audit(run, api)
    faults.report(f"10,000 rows in {time.monotonic() - began:.0f} s", found)
    assert api.summary()["posts_received"] == 10_000
    assert not found.flagged
