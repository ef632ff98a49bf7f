"""A worker is told to stop, as by a deployment: it is gone within 30 s, loses nothing, and owns up to what it cut."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import redis

KEY = "sk-test-0123456789"
GONE_WITHIN_S = 30.0
ROWS = 240


def gone(worker: psutil.Process, since: float) -> float:
    """Seconds until the worker was gone."""
    worker.wait(GONE_WITHIN_S + 10)
    return time.monotonic() - since


@pytest.mark.chaos
def test_a_silent_api_does_not_hold_up_a_stop_and_what_was_cut_is_known_to_be_unknown(
    simulator, manifest, vidbatch, audit, faults
):
    api = simulator(latency="0.2s", submit_delay="0.2s")
    run = vidbatch(manifest(ROWS), api)
    command = run.run()
    run.until(lambda now: now.outcomes["completed"] >= 4, "the first rows are through")
    api.set(submit_delay="60s")
    asked, worker = until_nobody_answers(run, faults), run.worker()
    told_at = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    api.set(submit_delay="0s")
    assert gone(worker, told_at) <= GONE_WITHIN_S
    command.ends(0)
    found = audit(run, api, unanswered_allowed=len(asked))
    faults.report(f"{len(asked)} POSTs cut by a stop", found)
    assert found.flagged == asked
    assert {found.rows[row]["attempt_log"][0]["outcome"] for row in asked} == {"unknown"}


def until_nobody_answers(run, faults):
    """Wait until a shift's hands are full of POSTs that have had no answer for a second; their rows."""
    looks = [set()]

    def unanswered():
        looks.append(run.rows("submitting"))
        return looks[-1] if len(looks[-1]) >= 64 and looks[-1] == looks[-2] else None

    return faults.eventually(unanswered, "POSTs that nobody answers", every_s=1.0)


HANGS = """
import threading
from workers import stopping
stopping.LEAVE_S = 0.2
stopping.leave_in_time()
stopping.stop()
threading.Event().wait()
"""


def test_a_worker_that_hangs_leaves_all_the_same():
    worker = subprocess.run([sys.executable, "-c", HANGS], timeout=GONE_WITHIN_S, check=False, stderr=subprocess.PIPE)
    assert worker.returncode == 1
    assert b"did not end in time" in worker.stderr


# A fleet: a server of its own, workers that a test starts and stops, and a command that hands its run to them.

FOREIGN = """
from pipeline.edges import redis_keys
redis_keys.LEDGER_VERSION, redis_keys.LOCKS = 99, redis_keys.LOCKS + "another:"
from workers.__main__ import main
main()
"""


class Fleet:
    """Workers of one server; what they say goes to files."""

    def __init__(self, url, state, folder, eventually):
        self.url, self._state, self._folder, self._eventually = url, state, folder, eventually
        self._started = []

    def worker(self, *, program=("-m", "workers")):
        """Start one and wait until it is registered; its process."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VIDBATCH_")}
        told = {**kept, "VIDBATCH_STATE": str(self._state), "VIDBATCH_API_KEY": KEY, "VIDBATCH_REDIS": self.url}
        with self.log(len(self._started)).open("wb") as log:
            process = subprocess.Popen([sys.executable, *program], env=told, stdout=log, stderr=log)
        self._started.append(process)
        wanted = f"vidbatch:worker:vidbatch-{process.pid}@*"
        self._eventually(lambda: self._keys(wanted), "the worker registers")
        return process

    def log(self, number):
        return self._folder / f"worker-{number}.log"

    def said(self, number):
        return self.log(number).read_text()

    def leaves(self, worker):
        """Tell a worker to stop, as a deployment does; the seconds until it was gone."""
        told_at = time.monotonic()
        worker.terminate()
        worker.wait(GONE_WITHIN_S + 10)
        return time.monotonic() - told_at

    def rows(self, run, state):
        """How many rows are in a state; none while Redis is away."""
        try:
            with redis.Redis.from_url(self.url) as client:
                return client.zcard(run.key(state))
        except redis.RedisError:
            return 0

    def spilled(self):
        return list((self._state / "spill").glob("*.jsonl"))

    def _keys(self, pattern):
        with redis.Redis.from_url(self.url) as client:
            return client.keys(pattern)

    def close(self):
        for process in self._started:
            process.kill()
            process.wait()


@pytest.fixture
def fleet(redis_url, state, tmp_path, faults):
    made = Fleet(redis_url, state, tmp_path, faults.eventually)
    yield made
    made.close()


@pytest.mark.chaos
def test_ids_that_redis_can_not_be_told_before_a_stop_are_recorded_by_the_next_worker(
    simulator, manifest, fleet, redis_server, vidbatch, audit, faults
):
    api = simulator(latency="0.2s", submit_delay="0.2s")
    run = vidbatch(manifest(ROWS), api)
    first = fleet.worker()
    command = run.run("--redis", fleet.url)
    faults.eventually(lambda: api.summary()["completed"] >= 4, "the first rows are through")
    api.set(submit_delay="2s")
    sent = api.summary()["posts_accepted"]
    faults.eventually(lambda: api.summary()["posts_accepted"] >= sent + 16, "POSTs on the wire")
    redis_server.kill()
    api.set(submit_delay="0s")
    assert fleet.leaves(first) <= GONE_WITHIN_S
    assert fleet.spilled(), fleet.said(0)
    redis_server.restart()
    fleet.worker()
    command.ends(0)
    found = audit(run, api)
    faults.report("Redis away at a stop", found)
    assert (found.flagged, fleet.spilled()) == (set(), [])


@pytest.mark.chaos
def test_a_worker_of_another_version_leaves_the_run_alone_and_says_so_once(
    simulator, manifest, fleet, vidbatch, audit, faults
):
    api = simulator(latency="0.2s")
    run = vidbatch(manifest(40), api)
    foreign = fleet.worker(program=("-c", FOREIGN))
    command = run.run("--redis", fleet.url)
    faults.eventually(lambda: "another version of vidbatch" in command.said, "the command names what it lacks")
    fleet.worker()
    command.ends(0)
    assert not audit(run, api).flagged
    assert foreign.poll() is None
    said = fleet.said(0)
    assert said.count("the run is left to others") <= 4, said  # once in each of its processes
    assert "Traceback" not in said


@pytest.mark.chaos
def test_a_run_survives_that_every_worker_is_replaced_one_by_one(simulator, manifest, fleet, vidbatch, audit, faults):
    api = simulator(latency="1s", submit_delay="4s")  # slow enough for a run that outlives its workers
    run = vidbatch(manifest(2400), api)
    workers = [fleet.worker() for _ in range(2)]
    command = run.run("--redis", fleet.url)
    faults.eventually(lambda: fleet.rows(run, "submitting") and fleet.rows(run, "pending"), "rows in flight")
    for worker in workers:
        fleet.worker()
        faults.eventually(lambda: fleet.rows(run, "submitting") >= 16, "rows on the wire")
        assert fleet.leaves(worker) <= GONE_WITHIN_S
    assert command.process.poll() is None, "the run was over before its workers were replaced"
    api.set(submit_delay="0.2s")
    command.ends(0)
    found = audit(run, api)
    faults.report("every worker replaced", found)
    assert not found.flagged
