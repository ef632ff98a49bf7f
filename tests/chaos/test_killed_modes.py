"""A worker dies while it follows streams, or holds POSTs open: what that costs is what the mode says it may."""

import sys

import pytest

from pipeline.simulator.digest import digest
from tests.integration.conftest import read_dataset

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

ROWS = 300


def test_a_worker_that_follows_streams_dies_and_nothing_is_paid_twice(simulator, manifest, vidbatch, audit, faults):
    api = simulator(latency="6s")
    run = vidbatch(manifest(ROWS), api)
    command = run.run("--mode", "stream")
    run.until(lambda now: now.pending >= 100 and not now.submitting, "streams are followed", 120)
    followed = api.summary()["open_streams"]
    run.worker().kill()
    command.ends(0, within_s=150)
    found = audit(run, api, unanswered_allowed=96)
    told = api.summary()
    faults.report(f"worker killed with {followed} streams open", found)
    assert followed > 50
    assert told["stream_connections"] > ROWS  # the next worker followed them from their start
    assert all(
        row["content"].endswith(digest([row["video_urls"][0].encode()], row["prompt"])) for row in found.rows.values()
    )


@pytest.mark.parametrize("mode", ["sync", "sync-stream"])
def test_a_worker_that_holds_posts_open_dies_and_owns_up_to_each(simulator, manifest, vidbatch, faults, mode):
    api = simulator(latency="4s")
    run = vidbatch(manifest(ROWS), api)
    command = run.run("--mode", mode)
    now = run.until(lambda now: now.submitting >= 50, "POSTs are held open", 120)
    run.worker().kill()
    command.ends(0, within_s=200)
    rows = {row["row_index"]: row for row in read_dataset(run.out)}
    by_prompt = api.posts_by_prompt()
    posts = {index: len(by_prompt[run.manifest.prompt_sha256(index)]) for index in rows}
    again = {index for index, count in posts.items() if count > 1}
    assert sorted(rows) == list(range(ROWS))
    assert {row["outcome"] for row in rows.values()} == {"completed"}
    assert again <= {index for index, row in rows.items() if row["possible_duplicate"]}
    assert sum(posts.values()) - ROWS <= 96, "more than a submit process holds"
    for row in rows.values():
        assert row["content"].endswith(digest([row["video_urls"][0].encode()], row["prompt"]))
    told = f"{len(again)} rows paid twice, all of them flagged"
    sys.stdout.write(f"{mode}: killed with {now.submitting} POSTs held, {told}\n")
