"""Counts what a report tells of a run: by DuckDB, over its annotations, in bounded memory however many they are."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from pipeline.core.lifecycle import Outcome
from pipeline.core.reporting import Course, Facts, Group, Measured
from pipeline.core.scales import LEAST, RATIO, in_flight, nice_step, percentile, span_of
from pipeline.core.standing import End
from pipeline.edges.duck import Duck
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.edges.run_rows import RunRows, rows_of

STEPS = 48
"""Steps of a plot over time, and bars of a histogram, at most."""

BARS = 20
SAMPLES = 3
SLOWEST = 8
MOST_POLLS = 12
ANSWERS = 6
CHARACTERS = 20_000
"""So much of a text is taken; a report is read by a person."""

_SENT = "duplicate_of IS NULL"
"""Rows that were asked themselves: what they took is counted once."""


def facts_of(run: LocalRunFolder) -> Facts:
    """Count a run. StorageError where one of its files can't be read."""
    described = run.described()
    with rows_of(run) as rows:
        groups = _groups(rows)
        began, ended = _ends(rows.duck)
        usage, whole_usage = _usage(rows.duck, run)
        return Facts(
            described=described,
            out=str(run.out),
            finished=rows.whole,
            groups=groups,
            duplicates=rows.duck.value(f"SELECT count(*) FROM rows WHERE NOT ({_SENT})"),
            began_at=began,
            ended_at=ended,
            course=None if began is None or ended is None else _course(rows.duck, began, ended),
            latency=_measured(rows.duck, "latency_s"),
            poll_gaps=_measured(rows.duck, "latency_s / nullif(polls, 0)"),
            polls=_polls(rows.duck),
            usage=usage,
            usage_is_whole=whole_usage,
            rejected=_rejected(rows.duck, run),
            slowest=_slowest(rows),
            answers=_answers(rows),
        )


def _groups(rows: RunRows) -> list[Group]:
    query = (
        "SELECT outcome, coalesce(error_code, ''), answer_status, generation_id IS NOT NULL, "
        f"coalesce(possible_duplicate, false), count(*), min(row_index, {SAMPLES}) FROM rows GROUP BY ALL ORDER BY ALL"
    )
    groups = []
    for outcome, code, status, has_id, doubtful, count, indexes in rows.duck.rows(query):
        end = End(-1, Outcome(outcome), code, "an id" if has_id else None, doubtful=doubtful)
        group = Group(end, status, count)
        groups.append(group if group.usable else Group(end, status, count, _details(rows, indexes)))
    return groups


def _ends(duck: Duck) -> tuple[datetime | None, datetime | None]:
    query = (
        f"SELECT epoch_us(min(least(submitted_at, finished_at))), epoch_us(max(finished_at)) FROM rows WHERE {_SENT}"
    )
    [(began, ended)] = duck.rows(query)
    return _time(began), _time(ended)


def _time(micro: int | None) -> datetime | None:
    return None if micro is None else datetime.fromtimestamp(micro / 1_000_000, UTC)


def _course(duck: Duck, began: datetime, ended: datetime) -> Course:
    span = span_of(began, ended, STEPS)

    def counted(time: str, which: str) -> dict[int, int]:
        step = f"(epoch_us({time}) - {span.start_us}) // {span.step_s * 1_000_000}"
        query = f"SELECT {step}, count(*) FROM rows WHERE {_SENT} AND {time} IS NOT NULL AND {which} GROUP BY 1"
        return dict(duck.rows(query))

    kept = "generation_id IS NOT NULL AND submitted_at IS NOT NULL AND finished_at IS NOT NULL"
    completed, others = (counted("finished_at", f"{test} 'completed'") for test in ("outcome =", "outcome <>"))
    under_way = in_flight(counted("submitted_at", kept), counted("finished_at", kept), span.steps)
    places = range(span.steps)
    return Course(span, [completed.get(i, 0) for i in places], [others.get(i, 0) for i in places], under_way)


def _measured(duck: Duck, value: str) -> Measured:
    """How a column of seconds is distributed."""
    where = f"FROM rows WHERE {_SENT} AND ({value}) IS NOT NULL"
    counts = dict(
        duck.rows(f"SELECT floor(ln(greatest({value}, {LEAST})) / ln({RATIO}))::BIGINT, count(*) {where} GROUP BY 1")
    )
    usual = percentile(counts, 0.99)
    if usual is None:
        return Measured()
    step = nice_step(usual, BARS - 1)
    bars = dict(
        duck.rows(f"SELECT least(floor(greatest({value}, 0) / {step}), {BARS})::BIGINT, count(*) {where} GROUP BY 1")
    )
    longest = duck.value(f"SELECT max({value}) {where}")
    return Measured(counts, [bars.get(place, 0) for place in range(max(bars) + 1)], step, longest)


def _polls(duck: Duck) -> dict[int, int]:
    where = f"WHERE {_SENT} AND polls IS NOT NULL AND generation_id IS NOT NULL"
    return dict(duck.rows(f"SELECT least(polls, {MOST_POLLS}), count(*) FROM rows {where} GROUP BY 1"))


def _usage(duck: Duck, run: LocalRunFolder) -> tuple[list[dict[str, Any]], bool]:
    """Tokens and cost by model; by the kept answers alone while there is no usage table."""
    whole = run.usage_path.exists()
    if whole:
        duck.scan("usage", [run.usage_path])
    held = {name for name, *_ in duck.rows(f"DESCRIBE {'usage' if whole else 'rows'}")} | {"rows"}
    sums = [name for name in _SUMS if name in held]
    count = "sum(rows)" if whole else "count(*)"
    told = ", ".join(count if name == "rows" else f"sum({name})" for name in sums)
    source = "usage" if whole else f"rows WHERE {_SENT}"
    query = f"SELECT model, {told} FROM {source} GROUP BY 1 ORDER BY 1"
    return [dict(zip(("model", *sums), line, strict=True)) for line in duck.rows(query)], whole


_SUMS = (
    *("rows", "attempts", "prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens", "audio_tokens"),
    *("video_tokens", "credits", "cost", "cost_told", "cost_at_price"),
)


def _rejected(duck: Duck, run: LocalRunFolder) -> list[dict[str, Any]]:
    path = run.path / "rejects.parquet"
    if not path.exists() or not run.described().get("rejections"):
        return []
    duck.scan("rejects", [path])
    said = "'found ' || left(found, 300) || '; allowed is ' || left(allowed, 300)"
    sample = f"{{'row_id': 'line ' || line, 'prompt_name': NULL, 'said': {said}}}"
    query = f"SELECT field, count(*), min_by({sample}, row_index, {SAMPLES}) FROM rejects GROUP BY 1 ORDER BY 2 DESC, 1"
    return [{"field": field, "rows": count, "samples": samples} for field, count, samples in duck.rows(query)]


def _slowest(rows: RunRows) -> list[dict[str, Any]]:
    order = f"WHERE {_SENT} AND latency_s IS NOT NULL ORDER BY latency_s DESC, row_index LIMIT {SLOWEST}"
    found = _details(rows, [index for (index,) in rows.duck.rows(f"SELECT row_index FROM rows {order}")])
    return sorted(found, key=lambda row: (-row["latency_s"], row["row_index"]))


def _answers(rows: RunRows) -> list[dict[str, Any]]:
    """Some answers that can be used, from all over the run, and one of each other kind."""
    good = "outcome = 'completed' AND coalesce(answer_status, 'ok') = 'ok'"
    some = f"SELECT row_index FROM rows WHERE {good} AND {_SENT} ORDER BY hash(row_index) LIMIT {ANSWERS}"
    others = f"SELECT min(row_index) FROM rows WHERE outcome = 'completed' AND NOT ({good}) GROUP BY answer_status"
    return _details(rows, [index for query in (some, others) for (index,) in rows.duck.rows(query)])


_DETAILS: Mapping[str, str] = {
    **{name: name for name in ("row_index", "row_id", "prompt_name", "model", "outcome", "latency_s", "polls")},
    **{name: name for name in ("answer_status", "finish_reason", "http_status", "error_code", "generation_id")},
    **{name: f"left({name}, {CHARACTERS})" for name in ("prompt", "content", "error_message", "answer_error")},
    "characters": "length(content)",
    "videos": "list_transform(video_urls[:5], lambda url: left(url, 300))",
}


def _details(rows: RunRows, indexes: Sequence[int]) -> list[dict[str, Any]]:
    """A few rows with their texts, in the order of the manifest."""
    if not indexes:
        return []
    chosen = ", ".join(str(int(index)) for index in indexes)
    answer = "to_json(answer)::VARCHAR" if rows.typed else "answer"
    columns = ", ".join([*_DETAILS.values(), answer])
    query = f"SELECT {columns} FROM rows WHERE row_index IN ({chosen}) ORDER BY row_index"
    found = [dict(zip([*_DETAILS, "answer"], line, strict=True)) for line in rows.duck.rows(query)]
    for row in found:
        row["said"] = row["error_message"] or row["answer_error"] or row["content"] or ""
        row["answer"] = _parsed(row["answer"])
    return found


def _parsed(text: str | None) -> Any:  # noqa: ANN401 - JSON
    """A typed answer as plain values; what is no JSON stays text."""
    try:
        return None if text is None else orjson.loads(text)
    except ValueError:
        return text
