"""What a comparison of two runs found, in words."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from pipeline.cli.screen import cost_text
from pipeline.core.answering import AnswerStatus

SHORT = 160
_PLAIN = frozenset((AnswerStatus.OK.value, "not judged"))
"""What is told of answers that have no schema, and means nothing beyond that they came."""


def diff_lines(told: Mapping[str, Any]) -> Iterator[str]:
    """The comparison for a person: what was compared, what changed, what it cost."""
    yield from (_run_line(name, told[name]) for name in "ab")
    rows = told["rows"]
    by = " and ".join(told["matched_by"])
    yield (
        f"rows: {rows['both']:,} in both, {rows['only_a']:,} only in A, {rows['only_b']:,} only in B (matched by {by})"
    )
    if told["other_videos"]:
        yield (
            f"{told['other_videos']:,} of the rows in both have other videos in A than in B: where a manifest has no "
            "id, a row is called by its place, and these may be different rows"
        )
    if not rows["both"]:
        return
    yield f"changed: {told['changed']:,}; the same: {told['same']:,}{_text_words(told)}"
    yield from _outcome_lines(told)
    yield from _status_lines(told)
    yield from _field_lines(told["fields"])
    yield from _mean_lines(told["per_row"])
    yield from _sample_lines(told["samples"])
    if told["changes"]:
        yield f"changed rows: {told['changes']}"


def _text_words(told: Mapping[str, Any]) -> str:
    """How many rows have another text, of those that changed and of those whose typed answer is the same."""
    also, alone = told["changed_text"], told["other_text"] - told["changed_text"]
    words = f"; {also:,} of the changed also differ in their text (content)" if also else ""
    return words + (f"; {alone:,} of the same differ in their text alone" if alone else "")


def _run_line(name: str, run: Mapping[str, Any]) -> str:
    models = ", ".join(run["models"])
    prompts = f"; prompts {', '.join(run['prompt_names'])}" if run["prompt_names"] else ""
    usage, unfinished = run["usage"], "" if run["finished"] else "; not finished: as far as it is on disk"
    billed = ""
    if usage:
        tokens = f"{usage['prompt_tokens'] or 0:,} tokens in, {usage['completion_tokens'] or 0:,} out"
        billed = f"; billed: {tokens}, {cost_text(usage['cost'])}"
    return f"{name.upper()}: {run['run_id']}  {models}{prompts}{billed}{unfinished}"


def _outcome_lines(told: Mapping[str, Any]) -> Iterator[str]:
    moved = [one for one in told["outcomes"] if one["a"] != one["b"]]
    kept = sum(one["rows"] for one in told["outcomes"] if one["a"] == one["b"])
    yield f"outcomes: {kept:,} alike{', and these changed:' if moved else ''}"
    yield from (f"  {one['rows']:,} {one['a']} in A, {one['b']} in B" for one in moved)


def _status_lines(told: Mapping[str, Any]) -> Iterator[str]:
    a, b = told["answer_status"]["a"], told["answer_status"]["b"]
    if not a.keys() | b.keys() or not (told["a"]["typed"] or told["b"]["typed"] or (a.keys() | b.keys()) - _PLAIN):
        return
    yield "answers:"
    for status in dict.fromkeys([*a, *b]):
        yield f"  {status}: {_share(a, status)} in A, {_share(b, status)} in B"


def _share(counts: Mapping[str, int], status: str) -> str:
    whole = sum(counts.values())
    return f"{counts.get(status, 0):,} ({counts.get(status, 0) / whole:.1%})" if whole else "0"


def _field_lines(fields: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if not fields:
        return
    yield "fields of answers that both have:"
    width = max(len(name) for name in fields)
    for name, one in fields.items():
        distance, length = one["mean_absolute_difference"], one["same_length"]
        more = f"; mean absolute difference {distance:.4g}" if distance is not None else ""
        more += f"; same length {length:.1%}" if length is not None else ""
        yield f"  {name:<{width}}  {one['share']:>6.1%} equal of {one['compared']:,}{more}"


def _mean_lines(means: Mapping[str, Mapping[str, float | None]]) -> Iterator[str]:
    yield "a row that is in both was billed, in the mean, all attempts included:"
    for name in "ab":
        one = means[name]
        tokens = ", ".join(
            f"{'?' if one[key] is None else format(one[key], ',.0f')} tokens {way}"
            for key, way in (("prompt_tokens", "in"), ("completion_tokens", "out"))
        )
        yield f"  {name.upper()}: {tokens}; {cost_text(one['cost'])}"


def _sample_lines(samples: list[Mapping[str, Any]]) -> Iterator[str]:
    if samples:
        yield "some that changed:"
    for one in samples:
        prompt = f" ({one['prompt_name']})" if one["prompt_name"] else ""
        yield f"  {one['row_id']}{prompt}: {', '.join(one['changed'])}"
        yield from (f"    {name.upper()}: {_short(one[name])}" for name in "ab")


def _short(side: Mapping[str, Any]) -> str:
    answer = side["answer"]
    text = side["content"] if answer is None else orjson.dumps(answer).decode()
    line = " ".join((text or side["outcome"]).split())
    status = side["answer_status"]
    line = f"[answer {status}] {line}" if status and status != AnswerStatus.OK else line
    line = "".join(one if one.isprintable() else "�" for one in line)  # an answer must not steer a terminal
    return line if len(line) <= SHORT else f"{line[:SHORT]}…"
