"""A plan and an end, in words."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

from pipeline.cli.options import budget_of
from pipeline.cli.plan_models import thinking_lines
from pipeline.cli.screen import cost_text
from pipeline.core.answering import AnswerStatus
from pipeline.core.budget import Budget
from pipeline.core.costs import Price, money
from pipeline.core.deadline import Forecast, clock_words, forecast, forecast_object, forecast_words
from pipeline.core.estimates import estimate_lines
from pipeline.core.lifecycle import Outcome

SHOWN_REJECTIONS = 5
_UNSENT = (("duplicates", "duplicate of them", "duplicates of them"), ("reused", "answered before", "answered before"))


def plan_lines(
    described: Mapping[str, Any], rejections: Sequence[Mapping[str, Any]], rejects_path: str
) -> Iterable[str]:
    """What a person should know before a cent is spent."""
    rows, requests, rejected = described["rows"], described["requests"], described["rejections"]
    more = "".join(f"{_counted(described[name], *words)}, " for name, *words in _UNSENT if described.get(name))
    asked = len(described.get("prompt_names") or ())
    own = _counted(rows // max(1, asked), "row", "rows")
    each = f" ({own} of the manifest, each with {_counted(asked, 'prompt', 'prompts')})" if asked else ""
    sent = _counted(requests, "request", "requests")
    yield f"{_counted(rows, 'row', 'rows')}{each}: {sent}, {more}{rejected:,} rejected"
    if told := reused_words(described):
        yield told
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
        yield f"models: {models}; {_counted(described['videos'], 'video', 'videos')}; API {described['base_url']}"
        yield from thinking_lines(described)
        yield from _schema_lines(described)
        yield from _price_lines(described)


def _counted(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"


def _schema_lines(described: Mapping[str, Any]) -> Iterable[str]:
    if "answer_schema" in described:
        shape = described["answer_shape"]
        held = (
            f"the fields {', '.join(shape['struct'])}"
            if isinstance(shape, Mapping) and "struct" in shape
            else "its type"
        )
        yield f"each answer is held against the schema; the column answer has {held}, answer_status says what fits"


def reused_words(described: Mapping[str, Any]) -> str | None:
    """What is to be known of rows that were answered before; nothing where all of them completed."""
    outcomes = described.get("reused_outcomes") or {}
    others = {outcome: count for outcome, count in outcomes.items() if outcome != Outcome.COMPLETED}
    if not others:
        return None
    listed = ", ".join(f"{count:,} {outcome}" for outcome, count in others.items())
    return (
        f"of those answered before, {listed}: reused.parquet names their runs, for `vidbatch collect` or `vidbatch "
        "retry`; --refresh asks all rows anew"
    )


def _price_lines(described: Mapping[str, Any]) -> Iterable[str]:
    unpriced = [model for model in described["models"] if model not in described["prices"]]
    for model, price in described["prices"].items():
        yield _price_line(model, Price(**price), date.fromisoformat(described["created_at"][:10]))
    if unpriced:
        yield f"no price is configured for {', '.join(unpriced)}: its cost is shown only where the API tells it"
    if told := described.get("estimate"):
        yield from estimate_lines(told)


def _price_line(model: str, price: Price, today: date) -> str:
    line = f"price of {model}: ${price.input:g} in, ${price.output:g} out per million tokens"
    if price.long_prompt_tokens is not None:
        dear = price.input if price.input_long is None else price.input_long
        dear_out = price.output if price.output_long is None else price.output_long
        line += f", ${dear:g} and ${dear_out:g} above {price.long_prompt_tokens:,} tokens of prompt"
    source = ", ".join(part for part in (price.source, price.as_of and f"as of {price.as_of}") if part)
    line += f" ({source})" if source else ""
    return f"{line}; that is old: look it up again, and write it into vidbatch.toml" if price.is_old(today) else line


def cap_lines(budget: Budget, described: Mapping[str, Any]) -> Iterator[str]:
    """What the caps of a command mean for its plan."""
    told = described.get("estimate") or {"cost": None, "tokens": None}
    for option, cap, amounts, known, words in (
        ("--max-cost", budget.cost, told["cost"], told.get("priced"), money),
        ("--max-total-tokens", budget.tokens, told["tokens"], told.get("counted"), _tokens),
    ):
        if cap is not None:
            yield f"cap: {words(cap)} ({option}){_against(cap, amounts, known, told.get('rows'))}"


def _against(cap: float, amounts: Sequence[float] | None, known: int | None, rows: int | None) -> str:
    """How a cap stands to the estimate, where that counts all rows."""
    if amounts is None or not rows or known != rows:
        return ""
    low, likely, high = amounts
    if low <= cap < high and likely <= cap:
        return "; the estimate's upper end is above it"
    if cap < likely:
        return f"; by the estimate it is reached after about {cap / likely * rows:,.0f} of {rows:,} rows"
    return "; the estimate is below it"


def _tokens(count: float) -> str:
    return f"{count:,.0f} tokens"


def deadline_line(
    described: Mapping[str, Any], rpm: float | None, tpm: float | None, now: datetime, by: datetime
) -> str:
    """Whether what was given, or found before, suffices; where that is not known, only the run can tell.

    `tpm` bounds it as `rpm` does, by what the estimate says of a row; where that says nothing the rate alone promises
    nothing.
    """
    told = _forecast(described, rpm, tpm, now, by)
    if told is not None:
        return forecast_words(told, now)
    at = f"by {clock_words(by, now)}"
    if tpm is not None:
        return (
            f"{at}: the tokens a minute may bound it, and what a row takes is not known yet: the run tells whether "
            "they suffice"
        )
    return f"{at}: without --rpm the run tells whether the rate suffices, once it has found one"


def _forecast(
    described: Mapping[str, Any], rpm: float | None, tpm: float | None, now: datetime, by: datetime
) -> Forecast | None:
    row = _row_tokens(described.get("estimate"))
    rates = [rpm] if rpm is not None else []
    rates += [tpm / row] if tpm is not None and row else []
    told = forecast(described["requests"], min(rates), now, by, 0.0) if rates else None
    return None if tpm is not None and not row and not (told and told.late_rows) else told


def _row_tokens(estimate: Mapping[str, Any] | None) -> float | None:
    """What a row takes by the estimate, in the mean; nothing where that does not count all rows."""
    if not estimate or not estimate["tokens"] or not 0 < estimate["rows"] == estimate["counted"]:
        return None
    _, likely, _ = estimate["tokens"]
    return float(likely) / float(estimate["rows"])


def promise_lines(
    given: Mapping[str, Any],
    described: Mapping[str, Any],
    now: datetime,
    found: Callable[[], float | None] = lambda: None,
) -> Iterator[str]:
    """What the caps and the deadline that a command was given mean for its plan.

    `found` tells the rate a minute that the account was found to allow before; it is asked only for a deadline.
    """
    yield from cap_lines(budget_of(given), described)
    if given["by"] is not None:
        rpm, tpm = _given_rates(given)
        rates = [rate for rate in (rpm, found()) if rate is not None]
        yield deadline_line(described, min(rates, default=None), tpm, now, given["by"])


def promises(given: Mapping[str, Any], described: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The same for programs: `forecast` is null where no deadline was given, or nothing tells the rate."""
    by = given["by"]
    told = None if by is None else _forecast(described, *_given_rates(given), now, by)
    return {"caps": asdict(budget_of(given)), "by": by and by.isoformat(), "forecast": forecast_object(told)}


def _given_rates(given: Mapping[str, Any]) -> tuple[float | None, float | None]:
    rpm, tpm = (None if isinstance(typed := given.get(name), str) else typed for name in ("rpm", "tpm"))
    return rpm, tpm


def summary_lines(
    described: Mapping[str, Any], summary: Mapping[str, Any], out: str, sampled: str | None = None
) -> Iterable[str]:
    """How a run came out."""
    outcomes = summary["outcomes"]
    rejected = described["rejections"]
    parts = [f"{count:,} {outcome}" for outcome, count in outcomes.items() if count or outcome == Outcome.COMPLETED]
    if described.get("reused"):
        parts.append(f"{described['reused']:,} answered before (reused.parquet)")
    if rejected:
        parts.append(f"{rejected:,} rejected")
    yield f"rows: {described['rows']:,} = {' + '.join(parts)}"
    if told := reused_words(described):
        yield told
    used = f"{summary['prompt_tokens']:,} in, {summary['completion_tokens']:,} out"
    untold = outcomes.get(Outcome.COMPLETED) and not summary["prompt_tokens"] + summary["completion_tokens"]
    yield f"tokens: {'not told by the API' if untold else used}; cost: {cost_text(summary['cost'])}"
    if summary["possible_duplicates"]:
        yield (
            f"possibly billed twice: {summary['possible_duplicates']:,} rows, of which an earlier attempt was lost "
            "(columns possible_duplicate and attempt_log)"
        )
    yield from _answer_lines(summary.get("answer_statuses", {}), typed="answer_schema" in described)
    if sampled:
        yield sampled
    yield f"dataset: {out}/annotations/**/*.parquet"


def _answer_lines(statuses: Mapping[str, int], *, typed: bool) -> Iterable[str]:
    """Which answers can't be used as they are; where they have a schema, also that all can."""
    counts = {status: count for status, count in statuses.items() if count}
    told = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    if typed and counts.keys() == {AnswerStatus.OK}:
        yield f"answers: {told}, each as its schema has it"
    elif counts.keys() - {AnswerStatus.OK}:
        yield f"answers: {told} (columns answer_status and answer_error; content has every answer's text)"


def counts_lines(counts: Mapping[tuple[Outcome, str], int]) -> Iterable[str]:
    """Rows that did not complete, by outcome and error code, the most frequent first."""
    if not counts:
        yield "every row of it completed"
    for (outcome, code), rows in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        yield f"  {rows:,} {outcome}{' ' + code if code else ''}"
