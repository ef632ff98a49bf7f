"""The report of a run: one HTML file that needs nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.core import reporting
from pipeline.core.advice import remains_lines
from pipeline.core.reporting import Facts, Measured, seconds
from pipeline.core.standing import COLLECTS, RETRY_OF
from pipeline.edges.files import write_bytes
from pipeline.edges.places import Place
from pipeline.edges.report_facts import MOST_POLLS, facts_of
from pipeline.edges.run_folder import LocalRunFolder

MOST_CAUSES = 12
FLAT_FIELDS = 14
"""An answer of at most so many plain fields is shown as a table, any other as JSON."""


def write_report(run: LocalRunFolder, to: Place | None = None) -> Place:
    """Make a run's report. StorageError where its files can't be read, or the report can't be written."""
    path = to or run.report_path
    write_bytes(path, report_html(facts_of(run)).encode())
    return path


def report_html(facts: Facts) -> str:
    """The page."""
    from pipeline.edges.pages import page  # noqa: PLC0415 - loaded where a page is made

    return page("report.html.jinja", {**_words(facts), **_plots(facts)})


def _words(facts: Facts) -> dict[str, Any]:
    described = facts.described
    causes = reporting.causes(facts)
    return {
        "run_id": facts.run_id,
        "facts": facts,
        "described": described,
        "headline": reporting.headline(facts),
        "rest": reporting.rest_words(facts),
        "parent": described.get(RETRY_OF) or described.get(COLLECTS),
        "segments": reporting.segments(facts),
        "causes": causes[:MOST_CAUSES],
        "more_causes": len(causes) - MOST_CAUSES,
        "remains": remains_lines(reporting.remains_in(facts), facts.run_id, facts.out),
        "total": _total(facts.usage),
        "told": [name for name in _OPTIONAL if any(line.get(name) is not None for line in facts.usage)],
        "names": _OPTIONAL,
        "answers": [{**row, "fields": _fields(row["answer"])} for row in facts.answers],
        "polls_in_all": sum(polls * rows for polls, rows in facts.polls.items()),
        "most_polls": MOST_POLLS,
    }


_OPTIONAL: Mapping[str, str] = {
    "reasoning_tokens": "of it reasoning",
    "cached_tokens": "cached",
    "audio_tokens": "audio",
    "video_tokens": "video",
    "credits": "credits",
    "cost_told": "as the API told it",
    "cost_at_price": "at the configured price",
}
"""Columns of the usage table that not every run has, as they are headed."""


def _total(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = [name for line in lines for name in line if name != "model"]
    return {
        name: sum(told) if (told := [line[name] for line in lines if line.get(name) is not None]) else None
        for name in dict.fromkeys(names)
    }


def _fields(answer: object) -> list[tuple[str, object]] | None:
    """A typed answer as a table, where that is short and flat."""
    if not isinstance(answer, Mapping):
        return None
    fields = list(reporting.leaves(answer))
    flat = all(not isinstance(value, list | Mapping) or _is_short(value) for _, value in fields)
    return fields if flat and len(fields) <= FLAT_FIELDS else None


def _is_short(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= FLAT_FIELDS
        and all(isinstance(one, str | int | float) for one in value)
    )


def _plots(facts: Facts) -> dict[str, Any]:
    from pipeline.edges import plots  # noqa: PLC0415 - loaded where a page is made
    from pipeline.edges.pages import drawn  # noqa: PLC0415

    parts = [(one.name, one.rows, one.kind) for one in reporting.segments(facts)]
    told: dict[str, Any] = {
        "outcomes": drawn(plots.shares("outcomes", "Rows by how they ended", parts)) if parts else ""
    }
    told |= dict.fromkeys(("throughput", "flight", "latency", "polls"), "")
    if facts.course is not None:
        labels, course = list(facts.course.span.labels()), facts.course
        ended = {"completed": course.completed, **({"failed": course.others} if any(course.others) else {})}
        told["throughput"] = drawn(plots.bars("throughput", "Rows that ended over time", labels, ended))
        told["flight"] = drawn(
            plots.areas("flight", "Generations in flight over time", labels, {"flight": course.in_flight})
        )
    if facts.latency.bars:
        labels = list(_bar_labels(facts.latency))
        told["latency"] = drawn(plots.bars("latency", "Rows by latency", labels, {"latency": facts.latency.bars}))
    if facts.polls:
        least, most = min(facts.polls), max(facts.polls)
        labels = [f"{count}{'+' if count == MOST_POLLS else ''}" for count in range(least, most + 1)]
        counts = [facts.polls.get(count, 0) for count in range(least, most + 1)]
        told["polls"] = drawn(plots.bars("polls", "Rows by number of polls", labels, {"polls": counts}))
    return told


def _bar_labels(measured: Measured) -> Iterator[str]:
    """Where each bar begins."""
    return (seconds(place * measured.bar_s) if place else "0 s" for place in range(len(measured.bars)))
