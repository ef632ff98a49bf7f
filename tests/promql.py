"""The queries of the dashboard and of the alerts: what they ask for, and which series answer them."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import promql_parser
import yaml

ROOT = Path(__file__).parents[1]
DASHBOARD = ROOT / "docs" / "grafana" / "vidbatch.json"
ALERTS = ROOT / "compose" / "alerts.yml"

Matcher = tuple[str, str, str]
"""A label, how it is compared, and with what."""

_COMPARED = {
    "MatchOp.Equal": lambda value, wanted: value == wanted,
    "MatchOp.NotEqual": lambda value, wanted: value != wanted,
    "MatchOp.Re": lambda value, wanted: re.fullmatch(wanted, value) is not None,
    "MatchOp.NotRe": lambda value, wanted: re.fullmatch(wanted, value) is None,
}


def rules() -> list[dict[str, Any]]:
    """The alerts."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> Iterator[str]:
    """Every query, with the variables of Grafana filled in."""
    for panel in orjson.loads(DASHBOARD.read_bytes())["panels"]:
        for target in panel.get("targets", ()):
            expr = target["expr"].replace("$__rate_interval", "1m").replace("$__range", "1h")
            yield re.sub(r"\$(account|run)\b", ".*", expr)
    yield from (rule["expr"] for rule in rules())


def selectors(expr: str) -> list[tuple[str, tuple[Matcher, ...]]]:
    """What a query asks for: names, and how their labels are to be."""
    found: dict[tuple[str, tuple[Matcher, ...]], None] = {}

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.MatrixSelector):
            node = node.vector_selector
        if isinstance(node, promql_parser.VectorSelector):
            matchers = tuple((one.name, str(one.op), one.value) for one in node.matchers.matchers)
            found[node.name, matchers] = None

    promql_parser.walk(promql_parser.parse(expr), visit)
    return list(found)


def asked() -> set[tuple[str, tuple[Matcher, ...]]]:
    """What all of them ask for."""
    return {selector for expr in expressions() for selector in selectors(expr)}


def answers(labels: Mapping[str, str], matchers: tuple[Matcher, ...]) -> bool:
    """Whether a series with these labels is what a selector asks for; a label that is not there is empty."""
    return all(_COMPARED[how](labels.get(name, ""), wanted) for name, how, wanted in matchers)


def in_words(name: str, matchers: tuple[Matcher, ...]) -> str:
    """A selector, for a test that fails."""
    signs = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}
    return f"{name}{{{','.join(label + signs[how] + wanted for label, how, wanted in matchers)}}}"
