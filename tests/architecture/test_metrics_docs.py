"""Metrics are named in one table, and the page for people is that table."""

import re

import pytest

from pipeline.cli.metrics_table import with_table
from pipeline.core.measures import samples
from pipeline.core.metrics import METRICS, Kind

BASE = re.compile(r"^vidbatch_[a-z][a-z_]*[a-z]$")


def test_the_page_lists_what_the_table_has(root):
    page = (root / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert page == with_table(page), "run `make docs`"
    assert page.count("| `vidbatch_") == len(METRICS)


def test_names_are_as_prometheus_wants_them():
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    assert [name for name in names if not BASE.match(name)] == []
    assert [m.name for m in METRICS if m.name.endswith("_total") is not (m.kind is Kind.COUNTER)] == []
    assert [
        name for name in names if re.search(r"_(ms|minutes|milliseconds|kb|mb|percent|count|sum|bucket)$", name)
    ] == []


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_each_says_in_one_sentence_what_it_is(metric):
    assert metric.help.endswith(".")
    assert "\n" not in metric.help
    assert len(metric.labels) == len(set(metric.labels))


def test_nothing_but_its_name_and_version_is_told_while_redis_is_away():
    assert list(samples(None, "1.2", 4)) == [("vidbatch_up", (), 0.0), ("vidbatch_build_info", ("1.2", "4"), 1.0)]
