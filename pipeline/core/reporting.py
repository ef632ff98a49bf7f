"""What a report tells of a run, in words and in the order of reading: made of facts that were counted elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pipeline.core.advice import Advice, advice_for
from pipeline.core.answering import AnswerStatus
from pipeline.core.costs import money
from pipeline.core.lifecycle import Outcome
from pipeline.core.receipt import manifest_rows
from pipeline.core.scales import Span, percentile
from pipeline.core.standing import End, remains_of
from pipeline.core.waiting import duration

USABLE = (None, "", AnswerStatus.OK.value)
"""Statuses of answers that can be used; of older runs none was told."""

WAITING = "not ended yet"


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that ended alike; of a few of them how they are called and what was said."""

    end: End
    status: str | None
    rows: int
    samples: Sequence[Mapping[str, Any]] = ()

    @property
    def usable(self) -> bool:
        """Whether they have an answer that can be used."""
        return self.end.outcome is Outcome.COMPLETED and self.status in USABLE


@dataclass(frozen=True, slots=True)
class Course:
    """How a run went over time: rows that ended in each step, and generations under way at its end."""

    span: Span
    completed: Sequence[int]
    others: Sequence[int]
    in_flight: Sequence[int]


@dataclass(frozen=True, slots=True)
class Measured:
    """A distribution: counts by `scales.bin_of`, and counts of bars of `bar_s` each, of which the last has the rest."""

    counts: Mapping[int, int] = field(default_factory=dict)
    bars: Sequence[int] = ()
    bar_s: float = 0.0
    longest: float = 0.0

    def at(self, share: float) -> float | None:
        """What this share of the values does not exceed."""
        return percentile(self.counts, share)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the files of a run say, counted; `described` is run.json, `out` the OUT as a person would type it."""

    described: Mapping[str, Any]
    out: str
    finished: bool
    groups: Sequence[Group] = ()
    duplicates: int = 0
    began_at: datetime | None = None
    ended_at: datetime | None = None
    course: Course | None = None
    latency: Measured = Measured()
    poll_gaps: Measured = Measured()
    polls: Mapping[int, int] = field(default_factory=dict)
    usage: Sequence[Mapping[str, Any]] = ()
    usage_is_whole: bool = True
    rejected: Sequence[Mapping[str, Any]] = ()
    slowest: Sequence[Mapping[str, Any]] = ()
    answers: Sequence[Mapping[str, Any]] = ()

    @property
    def run_id(self) -> str:
        """Whose report it is."""
        return str(self.described["run_id"])

    @property
    def rows(self) -> int:
        """Rows of the manifest."""
        return manifest_rows(self.described)

    @property
    def cost(self) -> float | None:
        """What it cost, as far as that is known."""
        told = [line["cost"] for line in self.usage if line["cost"] is not None]
        return sum(told) if told else None


@dataclass(frozen=True, slots=True)
class Segment:
    """A share of the manifest's rows; `kind` names its colour."""

    name: str
    rows: int
    kind: str


def segments(facts: Facts) -> list[Segment]:
    """Every row of the manifest in one segment: what can be used first, then what can't, then what was never asked."""
    found = [Segment("usable", _sum(one for one in facts.groups if one.usable), "completed")]
    by_status = {status: [one for one in facts.groups if one.status == status] for status in AnswerStatus}
    found += [
        Segment(f"answer {status.value}", _sum(one for one in by_status[status] if not one.usable), status.value)
        for status in AnswerStatus
    ]
    reused = facts.described.get("reused_outcomes") or {}
    found += [Segment(f"{end}, answered before", int(rows), _reused_kind(end)) for end, rows in reused.items()]
    found += [
        Segment(outcome.value, _sum(one for one in facts.groups if one.end.outcome is outcome), outcome.value)
        for outcome in Outcome
        if outcome is not Outcome.COMPLETED
    ]
    found.append(Segment("rejected", int(facts.described.get("rejections", 0)), "rejected"))
    found.append(Segment(WAITING, facts.rows - sum(one.rows for one in found), "waiting"))
    return [one for one in found if one.rows > 0]


def _reused_kind(end: str) -> str:
    return "reused" if end == Outcome.COMPLETED else end


def _sum(groups: Iterator[Group]) -> int:
    return sum(group.rows for group in groups)


def headline(facts: Facts) -> str:
    """The run in one sentence."""
    good = sum(one.rows for one in segments(facts) if one.kind in {"completed", "reused"})
    whole = f"All {facts.rows:,} rows have their answer" if good == facts.rows else ""
    told = whole or f"{good:,} of {facts.rows:,} rows have an answer that can be used"
    after = []
    if facts.began_at is not None and facts.ended_at is not None:
        after.append(f"after {duration((facts.ended_at - facts.began_at).total_seconds())}")
    if facts.cost is not None:
        after.append(f"for {money(facts.cost)}")
    if not facts.finished:
        told = f"Not finished: {told[0].lower()}{told[1:]} so far"
    return f"{', '.join([told, ' and '.join(after)] if after else [told])}."


def rest_words(facts: Facts) -> str:
    """The rows that have no answer that can be used, by why; empty where there are none."""
    rest = [one for one in segments(facts) if one.kind not in {"completed", "reused"}]
    total = sum(one.rows for one in rest)
    parts = ", ".join(f"{one.rows:,} {_plural(one.name, one.rows)}" for one in sorted(rest, key=lambda one: -one.rows))
    return f"{total:,} {'does' if total == 1 else 'do'} not: {parts}." if rest else ""


def remains_in(facts: Facts) -> Any:  # noqa: ANN401 - core.standing.Remains, for its words
    """What is left of this run's rows, whatever became of them in later runs."""
    return remains_of((replace(one.end, answer_status=one.status or ""), one.rows) for one in facts.groups)


def _plural(words: str, count: int) -> str:
    """`answer refused` of several rows is `answers refused`."""
    return words if count == 1 else words.replace("answer ", "answers ", 1)


@dataclass(frozen=True, slots=True)
class Cause:
    """Rows that failed in the same way, and what to do for them."""

    what: str
    code: str
    rows: int
    samples: Sequence[Mapping[str, Any]]
    advice: Advice

    @property
    def headline(self) -> str:
        """How many rows, and what became of them."""
        return f"{self.rows:,} {_plural(self.what, self.rows)}"


def causes(facts: Facts) -> list[Cause]:
    """Why rows have no answer that can be used, the most frequent first."""
    found: dict[tuple[str, str, Advice], list[Group]] = {}
    for group in facts.groups:
        if not group.usable:
            what = f"answer {group.status}" if group.end.outcome is Outcome.COMPLETED else group.end.outcome.value
            told = advice_for(group.end, group.status, facts.run_id, facts.out)
            found.setdefault((what, group.end.code, told), []).append(group)
    listed = [
        Cause(what, code, _sum(iter(groups)), _first(groups), told) for (what, code, told), groups in found.items()
    ]
    correct = Advice("Correct these rows of the manifest and run it again: what was answered is not asked again.")
    listed += [Cause("rejected", one["field"], one["rows"], one["samples"], correct) for one in facts.rejected]
    return sorted(listed, key=lambda cause: -cause.rows)


def _first(groups: Sequence[Group]) -> list[Mapping[str, Any]]:
    """The first few of the rows that are named."""
    return sorted((one for group in groups for one in group.samples), key=lambda row: int(row["row_index"]))[:3]


def seconds(value: float | None) -> str:
    """A time for people, with the digits that matter where it is short."""
    if value is None:
        return "-"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.3g} s" if value < 100 else duration(value)  # noqa: PLR2004 - three digits


def leaves(value: object, at: str = "") -> Iterator[tuple[str, object]]:
    """The fields of a parsed answer by their paths; lists are taken as wholes."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from leaves(inner, f"{at}.{name}" if at else str(name))
    else:
        yield at, value
