"""A plan and an end, in words."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.cli.screen import cost_text
from pipeline.core.lifecycle import Outcome

SHOWN_REJECTIONS = 5


def plan_lines(
    described: Mapping[str, Any], rejections: Sequence[Mapping[str, Any]], rejects_path: str
) -> Iterable[str]:
    """What a person should know before a cent is spent."""
    rows, requests, rejected = described["rows"], described["requests"], described["rejections"]
    yield f"{rows:,} rows: {requests:,} requests, {rejected:,} rejected"
    for rejection in rejections[:SHOWN_REJECTIONS]:
        yield (
            f"  {rejection['file']}, line {rejection['line']}, {rejection['field']}: "
            f"found {rejection['found']!r}; allowed is {rejection['allowed']}"
        )
    if rejected > SHOWN_REJECTIONS:
        yield f"  … and {rejected - SHOWN_REJECTIONS:,} more"
    if rejected:
        yield f"  all of them: {rejects_path}"
    models = ", ".join(f"{model} ({count:,})" for model, count in described["models"].items())
    if models:
        yield f"models: {models}; {described['videos']:,} videos; API {described['base_url']}"
        yield from _price_lines(described)


def _price_lines(described: Mapping[str, Any]) -> Iterable[str]:
    unpriced = [model for model in described["models"] if model not in described["prices"]]
    for model, price in described["prices"].items():
        yield f"price of {model}: ${price['input']:g} in, ${price['output']:g} out per million tokens"
    if unpriced:
        yield f"no price is configured for {', '.join(unpriced)}: its cost is shown only where the API tells it"
    yield "cost: unknown until the first answers: no video's duration is known, and a second costs about 290 tokens"


def summary_lines(
    described: Mapping[str, Any], summary: Mapping[str, Any], out: str, sampled: str | None = None
) -> Iterable[str]:
    """How a run came out."""
    outcomes = summary["outcomes"]
    rejected = described["rejections"]
    parts = [f"{count:,} {outcome}" for outcome, count in outcomes.items() if count or outcome == Outcome.COMPLETED]
    if rejected:
        parts.append(f"{rejected:,} rejected")
    yield f"rows: {described['rows']:,} = {' + '.join(parts)}"
    yield (
        f"tokens: {summary['prompt_tokens']:,} in, {summary['completion_tokens']:,} out; "
        f"cost: {cost_text(summary['cost'])}"
    )
    if summary["possible_duplicates"]:
        yield (
            f"possibly billed twice: {summary['possible_duplicates']:,} rows, of which an earlier attempt was lost "
            "(columns possible_duplicate and attempt_log)"
        )
    if sampled:
        yield sampled
    yield f"dataset: {out}/annotations/**/*.parquet"


def counts_lines(counts: Mapping[tuple[Outcome, str], int]) -> Iterable[str]:
    """Rows that did not complete, by outcome and error code, the most frequent first."""
    if not counts:
        yield "every row of it completed"
    for (outcome, code), rows in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        yield f"  {rows:,} {outcome}{' ' + code if code else ''}"
