"""The dashboard and the alerts ask for nothing that is not exported, and Grafana finds in the file what it needs."""

import re
from collections import Counter
from itertools import combinations

import orjson
import promql_parser
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from pipeline.core.budget import Budget
from pipeline.core.limits import Limits
from pipeline.core.measures import AccountMeasured, Measured, ScheduleMeasured, StoreMeasured, samples
from pipeline.core.metrics import METRICS
from pipeline.core.pacing import AccountSeen, Pace
from pipeline.core.schedules import Book, Cause, Firing, FiringState, Schedule
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.edges.metrics_text import encoded
from tests.promql import DASHBOARD, answers, asked, expressions, in_words, rules, selectors

OPEN = "application/openmetrics-text; version=1.0.0"
NOW_MS = 1_800_000_000_000
COUNTED = ("ready", "ready_due", "submitting", "pending", "pending_due", "results", "results_bytes", "bodies_bytes")


def everything():
    """A fleet of which all is to be seen."""
    counts = dict.fromkeys((*COUNTED, "accepted_unsaved", "lapsed", "accepted"), 1)
    run = RunSnapshot("run-1", RunState.RUNNING, NOW_MS, 10, 9, **counts, outcomes={}, account="api#key")
    run = {"pace": Pace(10.0, 100.0, 5, 7, why="found"), "budget": Budget(5.0, 1000), "run": run}
    snapshot = run.pop("run")
    fields = {name: getattr(snapshot, name) for name in RunSnapshot.__dataclass_fields__}
    account = AccountMeasured(
        AccountSeen(NOW_MS, limits=Limits(60, 600, 1000, 9)), {"latency:0.5": 2, "latency:ms": 700}
    )
    firing = Firing("f1", NOW_MS, Cause.CRON, FiringState.ENDED, NOW_MS, exit_code=1)
    plan = Schedule("nightly", "0 2 * * *", "UTC", (), "")
    return Measured(
        store=StoreMeasured(NOW_MS, NOW_MS, 0.001, {"redis_version": "8.1", "used_memory": 5, "aof_enabled": 1}),
        read_s=0.01,
        runs=(RunSnapshot(**{**fields, **run}),),
        accounts={"api#key": account},
        beat=("worker-1", NOW_MS - 500),
        schedules=(ScheduleMeasured(Book(plan, NOW_MS), firing, firing),),
    )


def page(accepts=""):
    text, _ = encoded(samples(everything(), "1.2", 4), accepts)
    return text.decode()


@pytest.fixture(scope="module")
def series():
    return [(one.name, one.labels) for family in plain_text(page()) for one in family.samples]


@pytest.mark.parametrize("selector", sorted(asked()), ids=lambda selector: in_words(*selector))
def test_there_is_a_series_for_all_that_is_asked(selector, series):
    name, matchers = selector
    assert any(name == known and answers(labels, matchers) for known, labels in series)


def test_all_that_is_exported_is_on_the_dashboard_or_wakes_somebody():
    used = {re.sub(r"_(bucket|sum|count)$", "", name) for name, _ in asked()}
    assert {metric.name for metric in METRICS} - used == set()


def test_all_metrics_are_exported_with_their_labels_and_no_others():
    seen = {}
    for family in plain_text(page()):
        for one in family.samples:
            name = re.sub(r"_(bucket|sum|count)$", "", one.name)
            seen.setdefault(name, set()).add(frozenset(one.labels) - {"le"})
    assert seen == {metric.name: {frozenset(metric.labels)} for metric in METRICS}


def test_both_formats_tell_the_same():
    plain = {(one.name, *sorted(one.labels.items())): one.value for f in plain_text(page()) for one in f.samples}
    opened = {(one.name, *sorted(one.labels.items())): one.value for f in open_metrics(page(OPEN)) for one in f.samples}
    assert opened == plain


def test_a_query_for_something_else_is_found(series):
    [(name, matchers)] = selectors('rate(vidbatch_posts_total{answer="eaten"}[1m])')
    assert not any(name == known and answers(labels, matchers) for known, labels in series)


def test_every_query_can_be_read():
    for expr in expressions():
        promql_parser.parse(expr)
        assert "$" not in expr


@pytest.fixture(scope="module")
def dashboard():
    return orjson.loads(DASHBOARD.read_bytes())


def test_panels_have_numbers_and_places_of_their_own(dashboard):
    panels = dashboard["panels"]
    assert Counter(panel["id"] for panel in panels).most_common(1)[0][1] == 1
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"], (one, other)


def test_its_rows_are_those_that_people_look_for(dashboard):
    rows = [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"]
    assert rows == [
        *("Overview", "Rows", "Pace and limits", "Latency", "Errors", "Money", "Workers and Redis", "Schedules"),
    ]


def test_it_names_no_data_source_but_the_one_that_is_chosen(dashboard):
    assert [one["name"] for one in dashboard["templating"]["list"]] == ["datasource", "account", "run"]
    sources = [panel["datasource"]["uid"] for panel in dashboard["panels"] if panel["type"] != "row"]
    sources += [target["datasource"]["uid"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert set(sources) == {"${datasource}"}
    assert "id" not in dashboard


@pytest.mark.parametrize("variable", ["account", "run"])
def test_its_variables_are_labels_that_there_are(dashboard, variable, series):
    [one] = [one for one in dashboard["templating"]["list"] if one["name"] == variable]
    name = re.match(r"label_values\((\w+)", one["definition"])[1]
    assert any(known == name and variable in labels for known, labels in series)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_how_bad_it_is_and_what_to_do(rule):
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"].endswith(".")
    assert len(rule["annotations"]["runbook"]) > 40
    labels = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    known = {metric.name: set(metric.labels) for metric in METRICS}
    assert any(labels <= known[name] for name, _ in selectors(rule["expr"]))
