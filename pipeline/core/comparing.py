"""Two runs over the same rows, compared pair by pair: what changed, and how far typed answers agree, field by field."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.lifecycle import Outcome
from pipeline.core.reporting import leaves

SAMPLE = 5
"""Changed rows that are shown."""


@dataclass(frozen=True, slots=True)
class Side:
    """A row as one run has it; `answer` is the parsed answer where it has a type, else nothing.

    Tokens and cost are those of everything that was billed for it, as far as that is known.
    """

    outcome: str
    status: str | None = None
    content: str | None = None
    answer: Any = None
    videos: Sequence[str] = ()
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A row that at least one of two runs has."""

    row_id: str
    prompt_name: str | None
    a: Side | None
    b: Side | None


@dataclass(slots=True)
class Agreement:
    """How two runs agree on one field: over the rows in which both have an answer with it."""

    compared: int = 0
    equal: int = 0
    numbers: int = 0
    distance: float = 0.0
    lists: int = 0
    same_length: int = 0

    def add(self, a: object, b: object) -> bool:
        """Take up one row; whether they are equal."""
        same = equal(a, b)
        self.compared += 1
        self.equal += same
        if is_number(a) and is_number(b):
            self.numbers += 1
            self.distance += abs(a - b)  # type: ignore[operator]
        if isinstance(a, list) and isinstance(b, list):
            self.lists += 1
            self.same_length += len(a) == len(b)
        return same

    def described(self) -> dict[str, Any]:
        """As plain values; what does not apply is null."""
        return {
            "compared": self.compared,
            "equal": self.equal,
            "share": self.equal / self.compared,
            "mean_absolute_difference": self.distance / self.numbers if self.numbers else None,
            "same_length": self.same_length / self.lists if self.lists else None,
        }


@dataclass(slots=True)
class Means:
    """Sums over one side's rows that are in both runs, each over the rows that tell it."""

    rows: int = 0
    sums: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)

    def add(self, side: Side) -> None:
        """Take up a row."""
        self.rows += 1
        for name in ("prompt_tokens", "completion_tokens", "cost"):
            if (value := getattr(side, name)) is not None:
                self.sums[name] += value
                self.told[name] += 1

    def described(self) -> dict[str, float | None]:
        """The mean a row, of each."""
        names = ("prompt_tokens", "completion_tokens", "cost")
        return {name: self.sums[name] / self.told[name] if self.told[name] else None for name in names}


@dataclass(slots=True)
class Comparison:
    """What is found of all pairs so far; it keeps counts and a few samples, however many pairs there are."""

    both: int = 0
    only_a: int = 0
    only_b: int = 0
    same: int = 0
    changed: int = 0
    other_text: int = 0
    changed_text: int = 0
    other_videos: int = 0
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    statuses: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))
    fields: dict[str, Agreement] = field(default_factory=dict)
    means: tuple[Means, Means] = field(default_factory=lambda: (Means(), Means()))
    samples: list[tuple[Pair, Sequence[str]]] = field(default_factory=list)

    def add(self, pair: Pair) -> Sequence[str] | None:
        """Take up a row; what changed of it, or nothing where it did not change or is in one run alone."""
        if pair.a is None or pair.b is None:
            self.only_a += pair.b is None
            self.only_b += pair.a is None
            return None
        self.both += 1
        self.outcomes[pair.a.outcome, pair.b.outcome] += 1
        self.other_videos += list(pair.a.videos) != list(pair.b.videos)
        for side, statuses, means in zip((pair.a, pair.b), self.statuses, self.means, strict=True):
            means.add(side)
            if side.outcome == Outcome.COMPLETED:
                statuses[side.status or "not judged"] += 1
        what = self._changes(pair.a, pair.b)
        self.same += not what
        self.changed += bool(what)
        self.changed_text += bool(what) and pair.a.content != pair.b.content
        if what and len(self.samples) < SAMPLE:
            self.samples.append((pair, what))
        return what or None

    def _changes(self, a: Side, b: Side) -> list[str]:
        """What is different: outcome, answer_status, the fields of typed answers, else the text."""
        what = [name for name, old, new in (("outcome", a.outcome, b.outcome),) if old != new]
        what += ["answer_status"] if a.status != b.status else []
        other_text = a.content != b.content
        self.other_text += other_text
        if a.answer is not None and b.answer is not None:
            return [*what, *self._other_fields(a.answer, b.answer)]
        return [*what, "content"] if other_text else what

    def _other_fields(self, a: object, b: object) -> list[str]:
        ours, theirs = dict(leaves(a)), dict(leaves(b))
        other = []
        for path in dict.fromkeys([*ours, *theirs]):
            old, new = ours.get(path), theirs.get(path)
            if old is None and new is None and not (path in ours and path in theirs):
                continue  # a group of fields that one side lacks: its fields tell it
            if not self.fields.setdefault(path, Agreement()).add(old, new):
                other.append(path or "answer")
        return other

    def described(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "rows": {"both": self.both, "only_a": self.only_a, "only_b": self.only_b},
            "changed": self.changed,
            "same": self.same,
            "other_text": self.other_text,
            "changed_text": self.changed_text,
            "other_videos": self.other_videos,
            "outcomes": [{"a": a, "b": b, "rows": rows} for (a, b), rows in sorted(self.outcomes.items())],
            "answer_status": {name: dict(counts) for name, counts in zip("ab", self.statuses, strict=True)},
            "fields": {path or "answer": one.described() for path, one in sorted(self.fields.items())},
            "per_row": {name: means.described() for name, means in zip("ab", self.means, strict=True)},
        }


def is_number(value: object) -> bool:
    """Whether it can be subtracted; a truth is no number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(a: object, b: object) -> bool:
    """Whether two values of JSON are the same: 1 and 1.0 are, 1 and true are not."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(equal(old, new) for old, new in zip(a, b, strict=True))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)
    return a == b and isinstance(a, bool) == isinstance(b, bool)
