"""Whole runs into an object store, through the command, with real workers and a store behind HTTP."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from pipeline.edges.object_store import filesystem
from pipeline.edges.places import out_place

ROWS = 200
IN_HAND = 96
"""POSTs that a submit process may have under way when it dies."""

SYSTEM_TROUBLE = 5
WITHIN_S = 150.0


@pytest.fixture
def api(simulator):
    return simulator(latency="0.5s", submit_delay="0.1s")


@pytest.fixture
def place(store):
    return out_place(f"s3://{store.bucket()}/nightly/set")


def read(place):
    """The dataset as somebody reads it who knows nothing of runs: every Parquet file below `annotations/`."""
    whole = ds.dataset(f"{place.key}/annotations", filesystem=filesystem(), format="parquet", partitioning=None)
    return whole.to_table(columns=["row_id", "outcome", "content"]).to_pylist()


def each_once(rows):
    return Counter(row["row_id"] for row in rows) == Counter(f"v{index}" for index in range(ROWS))


def verified(place):
    """What `vidbatch verify` says, and its exit code."""
    command = [str(Path(sys.executable).parent / "vidbatch"), "verify", "--out", str(place)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    return told.returncode, told.stdout + told.stderr


def secrets_in(run, place, tmp_path):
    """Whether a secret of the store stands in anything that was written, on this machine or there."""
    secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    here = [path for folder in (run.state, tmp_path) for path in folder.rglob("*") if path.is_file()]
    there = [one for one in place.rglob("*") if one.is_file()]
    return [str(path) for path in (*here, *there) if secret in path.read_bytes()]


@pytest.mark.slow
def test_a_run_that_was_killed_with_its_worker_goes_on_and_pays_for_nothing_again(
    api, manifest, vidbatch, audit, faults, place, store, tmp_path
):
    run = vidbatch(manifest(ROWS), api, place)
    first = run.run()
    run.until(lambda now: now.outcomes["completed"] and now.pending > 20, "rows in flight")
    run.kill_everything()
    first.process.wait()
    asked, saved = faults.posts(run, api), run.saved_ids()
    assert asked, "nothing was sent: this shows nothing"
    assert not (run.run_folder / "done.json").exists()
    assert "resuming run" in run.run().ends(0)
    found = audit(run, api, unanswered_allowed=IN_HAND, never_again=saved.keys())
    assert each_once(read(place))
    code, said = verified(place)
    assert code == 0, said
    assert "all of it is as the receipt says" in said
    assert secrets_in(run, place, tmp_path) == []
    faults.report(f"killed after {len(asked)} POSTs, OUT in a store", found)


@pytest.mark.slow
def test_a_store_that_fails_every_third_put_holds_nothing_up(api, manifest, vidbatch, audit, faults, place, store):
    run = vidbatch(manifest(ROWS), api, place)
    store.counts()
    store.fail("PUT", 3)
    said = run.run().ends(0)
    counts = store.counts()
    found = audit(run, api)
    assert each_once(read(place))
    assert counts["failed"] >= 5
    assert "paused" not in said
    requests = counts.total() - counts["failed"]
    faults.report(f"every third PUT failed: {counts['failed']}; {requests / ROWS:.2f} requests a row", found)


@pytest.mark.slow
def test_a_store_that_is_away_for_long_pauses_the_run_and_the_same_command_goes_on(
    api, manifest, vidbatch, audit, faults, place, store
):
    run = vidbatch(manifest(ROWS), api, place)
    first = run.run()
    run.until(lambda now: now.outcomes["completed"] and now.pending > 20, "rows in flight")
    store.fail("*", 1)
    said = first.ends(SYSTEM_TROUBLE)
    assert f"{store.url} does not answer as it should" in said
    store.fail("*", 0)
    run.run().ends(0)
    found = audit(run, api)
    assert each_once(read(place))
    faults.report("the store was away for longer than anybody waits", found)


@pytest.mark.chaos
def test_another_machine_goes_on_with_the_run_by_what_the_store_holds(
    api, manifest, vidbatch, audit, faults, place, store
):
    run = vidbatch(manifest(ROWS), api, place)
    first = run.run()
    run.until(lambda now: now.outcomes["completed"] and now.pending > 20, "rows in flight")
    faults.eventually(run.saved_ids, "ids are saved")
    run.kill_everything()
    first.process.wait()
    asked, saved = faults.posts(run, api), run.saved_ids()
    shutil.rmtree(run.state)
    run.state.mkdir(mode=0o700)
    run.run().ends(0)
    unsaved = asked.keys() - saved.keys()
    found = audit(run, api, unanswered_allowed=len(unsaved), never_again=saved.keys())
    assert each_once(read(place))
    assert found.flagged >= unsaved
    faults.report(f"Redis lost with {len(saved)} ids in the store, {len(unsaved)} not", found)
