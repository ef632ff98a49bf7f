"""The dashboard and the alerts ask for what a real run exports, and all of it moves while one goes on."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import httpx
import orjson
import promql_parser
import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from pipeline.core.metrics import METRICS, Kind
from pipeline.core.snapshot import PERSON_PAUSED, RunState
from pipeline.edges.redis_ledger import RedisLedger

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
ROOT = Path(__file__).parents[2]


def expressions():
    """Every query of the dashboard and the alerts, with the variables of Grafana filled in."""
    dashboard = orjson.loads((ROOT / "docs/grafana/vidbatch.json").read_bytes())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            expr = target["expr"].replace("$__rate_interval", "1m").replace("$__range", "1h")
            yield panel["title"], re.sub(r"\$(account|run)\b", ".*", expr)
    for group in yaml.safe_load((ROOT / "compose/alerts.yml").read_text(encoding="utf-8"))["groups"]:
        yield from ((rule["alert"], rule["expr"]) for rule in group["rules"])


def selectors(expr):
    """What a query asks for: names, and the matchers of their labels."""
    found = []

    def visit(node):
        if isinstance(node, promql_parser.MatrixSelector):
            node = node.vector_selector
        if isinstance(node, promql_parser.VectorSelector):
            found.append((node.name, [(one.name, str(one.op), one.value) for one in node.matchers.matchers]))

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


def matches(labels, matchers):
    how = {
        "MatchOp.Equal": lambda value, wanted: value == wanted,
        "MatchOp.NotEqual": lambda value, wanted: value != wanted,
        "MatchOp.Re": lambda value, wanted: re.fullmatch(wanted, value) is not None,
        "MatchOp.NotRe": lambda value, wanted: re.fullmatch(wanted, value) is None,
    }
    return all(how[op](labels.get(name, ""), value) for name, op, value in matchers)


class Exporter:
    """`vidbatch metrics` as a person starts it, and all that it told so far: values by name and labels."""

    def __init__(self, environment, *options):
        command = [str(Path(sys.executable).parent / "vidbatch"), "metrics", "--port", "0", *options]
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
            if known == name and matches(dict(labels), matchers)
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


def value(now, name, **labels):
    return now.get((name, tuple(sorted(labels.items()))))


def test_what_the_dashboard_and_the_alerts_ask_for_is_exported_and_moves(
    exporter, simulator, manifest, vidbatch, faults
):
    api = simulator(
        latency="uniform:0.2s,0.6s", cost_reported=True, error_after_rate=0.1, fail_rate=0.1, retry_after=0.2
    )
    with exporter() as told:
        run = vidbatch(manifest(60), api)

        def ends(command, code, within=lambda now: None):
            def ended():
                within(told.scrape())
                return command.process.poll() is not None

            faults.eventually(ended, "the command ends", every_s=0.25)
            command.ends(code)
            told.scrape()

        def not_for_long(now):
            if all(total(now, f"vidbatch_{what}_total", answer="throttled") for what in ("posts", "polls")):
                api.set(submit_throttle_rate=0, query_throttle_rate=0)

        told.scrape()
        caps = ("--max-total-tokens", "100000", "--max-cost", "5")
        ends(run.run(*caps, "--rpm", "3000", "--poll-rpm", "9000", "--max-in-flight", "20", lease_s=2.0), 3)
        api.set(balance="0")
        caps = ("--max-total-tokens", "999999999", "--max-cost", "9999")
        ends(run.run(*caps, "--rpm", "3000"), 4)
        api.set(balance="none", submit_throttle_rate=0.3, query_throttle_rate=0.3)
        ends(run.run("--rpm", "2000", "--poll-rpm", "8000", "--max-in-flight", "30"), 1, not_for_long)
    asked = {(name, tuple(matchers)) for _, expr in expressions() for name, matchers in selectors(expr)}
    found = {f"{name}{list(matchers) or ''}": told.moved(name, matchers) for name, matchers in asked}
    assert sorted(one for one, (there, _) in found.items() if not there) == []
    still = {one for one, (_, moves) in found.items() if not moves}
    assert sorted(one for one in still if one.partition("[")[0] not in UNMOVED) == []
    assert {metric.name for metric in METRICS} >= {told.family(name) for name, _ in told.values}
