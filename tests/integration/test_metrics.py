"""The dashboard and the alerts ask for what a real run exports, and all of it moves while one goes on."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from pipeline.core.metrics import METRICS
from pipeline.core.schedules import Book, Cause, Firing, FiringState, Notice, Schedule
from pipeline.edges.redis_door import RedisDoor
from pipeline.edges.redis_schedules import RedisSchedules
from pipeline.flows.measuring import FRESH_S
from tests.promql import answers, asked, in_words

UNMOVED = {
    "vidbatch_build_info": "one exporter has one version",
    "vidbatch_workers_of_other_versions": "takes a worker of another vidbatch",
    "vidbatch_redis_info": "one server has one version",
    "vidbatch_redis_memory_limit_bytes": "the private server has no limit",
    "vidbatch_redis_evicts": "moves where a server is configured as it must not be",
    "vidbatch_redis_evicted_keys_total": "as above",
    "vidbatch_redis_aof_enabled": "as above",
    "vidbatch_redis_aof_ok": "moves where a disk fails",
    "vidbatch_redis_aof_delayed_fsyncs_total": "moves where a disk is slow",
    "vidbatch_tickets_waiting": "a living worker takes them at once",
    "vidbatch_heartbeat_holder_info": "1 for as long as it is there",
    "vidbatch_run_double_ends_total": "0 unless there is a bug",
    "vidbatch_run_late_ids": "takes a worker that is taken for dead",
    "vidbatch_posts_adopted_total": "as above",
    "vidbatch_stale_steps_total": "as above",
    "vidbatch_up": "of one whose Redis is away there is a test below",
    "vidbatch_run_requests": "planned once: it comes and goes with its run",
    "vidbatch_run_priority": "as above",
}
"""What one run on one machine does not move, and why."""

WITHIN_S = 60.0


class Exporter:
    """`vidbatch metrics` as a person starts it, and all that it told so far: values by name and labels."""

    def __init__(self, environment, *options):
        command = [_COMMAND, "metrics", "--port", "0", *options]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        watchdog = threading.Timer(WITHIN_S, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        assert line.startswith("metrics ready "), line
        self.url = line.split()[-1]
        self.values = defaultdict(set)
        self.client = httpx.Client(timeout=30.0, trust_env=False)

    def scrape(self):
        page = self.client.get(self.url)
        assert page.status_code == 200
        now = {}
        for family in plain_text(page.text):
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                assert key not in now, f"told twice: {key}"
                now[key] = sample.value
                self.values[key].add(sample.value)
        return now

    def moved(self, name, matchers):
        """Whether there is such a series, and whether one of them took more than one value."""
        found = [
            values
            for (known, labels), values in self.values.items()
            if known == name and answers(dict(labels), matchers)
        ]
        return bool(found), any(len(values) > 1 for values in found)

    @staticmethod
    def family(name):
        """The metric that a series belongs to."""
        return re.sub(r"_(bucket|sum|count)$", "", name)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(WITHIN_S)
        finally:
            self.process.kill()
            self.process.stdout.close()
            self.client.close()


_COMMAND = str(Path(sys.executable).parent / "vidbatch")


@pytest.fixture
def exporter(state):
    started = []

    @contextmanager
    def start(*options, **variables):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VIDBATCH_")}
        one = Exporter({**kept, "VIDBATCH_STATE": str(state), **variables}, *options)
        started.append(one)
        yield one
        assert one.stop() == 0

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def total(now, name, **labels):
    return sum(
        number for (known, those), number in now.items() if known == name and labels.items() <= dict(those).items()
    )


async def schedules_move(told, url):
    """A schedule is added, has a firing that waits for a person, one that failed and one that was skipped."""
    schedules = RedisSchedules(RedisDoor(url))
    now_ms = await schedules.now_ms()
    plan = Schedule("nightly", "0 2 * * *", "Europe/Berlin", ("videos.csv",), "/")
    notice = Notice("paused", tries=1, due_ms=now_ms)
    firing = Firing(
        "f1", now_ms, Cause.CRON, FiringState.RUNNING, now_ms, run_id="run-1", exit_code=3, notices=(notice,)
    )
    over = [
        *(replace(firing, firing_id="f1", state=FiringState.ENDED, exit_code=code, notices=()) for code in (0, 1)),
        Firing("f2", now_ms, Cause.CRON, FiringState.SKIPPED, now_ms + 1000, said="an earlier one is at work"),
    ]
    book = Book(plan, now_ms + 86_400_000)
    later = replace(book, next_ms=now_ms + 2 * 86_400_000)
    steps = [
        *((book, ()), (replace(later, firings=(firing,)), over[:1]), (later, over[1:2])),
        (replace(later, schedule=replace(plan, paused=True)), over[2:]),
    ]
    before = None
    for step, ended in steps:
        after = replace(step, revision=(before or 0) + 1)
        assert await schedules.put("nightly", before, after, ended)
        before = after.revision
        await asyncio.sleep(FRESH_S)
        told.scrape()
    assert await schedules.put("nightly", before, None)
    await schedules.close()


@pytest.mark.slow
def test_what_the_dashboard_and_the_alerts_ask_for_is_exported_and_moves(
    exporter, simulator, manifest, vidbatch, faults
):
    api = simulator(latency="uniform:0.2s,0.6s", cost_reported=True, error_after_rate=0.1, fail_rate=0.1, retry_after=2)
    with exporter() as told:
        run = vidbatch(manifest(60), api)

        def ends(command, code, within=lambda now: None):
            def ended():
                within(told.scrape())
                return command.process.poll() is not None

            faults.eventually(ended, "the command ends", every_s=0.4)
            command.ends(code)
            told.scrape()

        def not_for_long(now):
            if all(total(now, f"vidbatch_{what}_total", answer="throttled") for what in ("posts", "polls")):
                api.set(submit_throttle_rate=0, query_throttle_rate=0)

        told.scrape()
        asyncio.run(schedules_move(told, f"unix://{run.state / 's'}"))
        caps = ("--max-total-tokens", "100000", "--max-cost", "5")
        ends(run.run(*caps, "--rpm", "3000", "--poll-rpm", "9000", "--max-in-flight", "20", lease_s=2.0), 3)
        api.set(balance="0")
        caps = ("--max-total-tokens", "999999999", "--max-cost", "9999")
        ends(run.run(*caps, "--rpm", "3000"), 4)
        # so many fail that one of them does so for good
        api.set(balance="none", fail_rate=0.7, submit_throttle_rate=0.3, query_throttle_rate=0.3)
        ends(run.run("--rpm", "2000", "--poll-rpm", "8000", "--max-in-flight", "30"), 1, not_for_long)
    found = {in_words(*selector): told.moved(*selector) for selector in asked()}
    assert sorted(one for one, (there, _) in found.items() if not there) == []
    still = {one for one, (_, moves) in found.items() if not moves}
    assert sorted(one for one in still if one.partition("{")[0] not in UNMOVED) == []
    assert {metric.name for metric in METRICS} >= {told.family(name) for name, _ in told.values}


def test_redis_may_go_and_come_back_and_the_exporter_stays(exporter, redis_server, redis_url, faults):
    with exporter("--redis", redis_url) as told:
        assert told.scrape()["vidbatch_up", ()] == 1
        redis_server.kill()
        faults.eventually(lambda: told.scrape()["vidbatch_up", ()] == 0, "the page says so", every_s=0.2)
        assert {name for name, _ in told.scrape()} == {"vidbatch_up", "vidbatch_build_info"}
        assert told.client.get(told.url.replace("metrics", "healthz")).text == "ok\n"
        redis_server.start()
        faults.eventually(lambda: told.scrape()["vidbatch_up", ()] == 1, "the page says so", every_s=0.2)


def test_who_asks_for_open_metrics_gets_them(exporter, redis_url):
    with exporter("--redis", redis_url) as told:
        page = told.client.get(told.url, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert page.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        names = {family.name for family in open_metrics(page.text)}
        assert {"vidbatch_up", "vidbatch_redis_commands", "vidbatch_heartbeat_age_seconds"} <= names
        taken = subprocess.run(
            [_COMMAND, "metrics", "--redis", redis_url, "--port", str(httpx.URL(told.url).port)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (taken.returncode, taken.stderr.count("address already in use")) == (2, 1)
