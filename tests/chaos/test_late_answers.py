"""A worker sleeps for longer than its leases and wakes up with answers: they were paid for, and are not thrown away."""

import pytest

pytestmark = pytest.mark.timeout(400)

ROWS = 300


@pytest.fixture
def api(simulator):
    return simulator(latency="3s", submit_delay="1s")


@pytest.mark.chaos
def test_an_id_that_comes_late_is_adopted_while_its_row_was_not_sent_again(api, manifest, vidbatch, audit, faults):
    run = vidbatch(manifest(ROWS), api)
    command = run.run()
    caught = faults.freeze_a_submitter(run, api)
    run.until(lambda _: caught.submitting <= run.rows("ready"), "the frozen child's rows are given up, and wait")
    caught.child.resume()
    command.ends(0)
    found = audit(run, api)
    faults.report(f"{len(caught.submitting)} ids came late and were adopted", found)
    assert not found.flagged
    assert {len(found.rows[row]["attempt_log"]) for row in caught.submitting} == {1}


@pytest.mark.chaos
def test_an_id_that_comes_after_its_row_was_sent_again_is_kept_and_doubles_nothing(
    api, manifest, vidbatch, audit, faults
):
    run = vidbatch(manifest(ROWS), api)
    command = run.run()
    caught = faults.freeze_a_submitter(run, api)
    api.set(latency="8s")  # so that the run is still there when the late ids come
    run.until(lambda _: caught.submitting <= run.rows("pending"), "the frozen child's rows are sent again")
    caught.child.resume()
    run.until(lambda _: run.late_ids() > 0, "late ids are noted")
    command.ends(0)
    found = audit(run, api, unanswered_allowed=len(caught.submitting), never_again=caught.pending)
    posts, kept = faults.posts(run, api), run.saved_ids()
    faults.report(f"{found.extra_posts} ids came after their rows were sent again", found)
    assert found.flagged >= found.extra.keys()
    assert {row: kept[row] for row in found.extra} == {row: posts[row] for row in found.extra}
