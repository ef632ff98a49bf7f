"""What a run's files amount to, and where they differ from what was told of them when the run ended.

A receipt is made of the files alone, but for the ledger's count of double ends: so whoever holds the files can make
it again. Nothing here reads a file; amounts of money are in the currency of the prices.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any

from pipeline.core.coverage import Fault
from pipeline.core.lifecycle import Outcome
from pipeline.core.standing import COLLECTS

VERSION = 1
CLOSE = 1e-9
"""Sums of floats may differ by this much of themselves: another order of adding is not another cost."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Tokens and cost; nothing where none is known."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float | None = None

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            _plus(self.prompt_tokens, other.prompt_tokens),
            _plus(self.completion_tokens, other.completion_tokens),
            None if self.cost is other.cost is None else (self.cost or 0.0) + (other.cost or 0.0),
        )


def _plus(one: int | None, other: int | None) -> int | None:
    return None if one is other is None else (one or 0) + (other or 0)


@dataclass(frozen=True, slots=True)
class UsageKey:
    """What usage is summed by: the model that was asked, the day (UTC) on which the row ended, and its outcome."""

    model: str | None
    day: date | None
    outcome: str

    @property
    def order(self) -> tuple[str, str, str]:
        """Where its line stands in the table."""
        return self.model or "", self.day.isoformat() if self.day else "", self.outcome


@dataclass(frozen=True, slots=True)
class UsageSums:
    """Rows, entries of their attempt logs, and the sums over those entries."""

    rows: int = 0
    attempts: int = 0
    sums: Sums = Sums()

    def __add__(self, other: "UsageSums") -> "UsageSums":
        return UsageSums(self.rows + other.rows, self.attempts + other.attempts, self.sums + other.sums)


@dataclass(frozen=True, slots=True)
class Doubt:
    """POSTs that may have been billed without an answer of ours, beside or instead of what their row has.

    `own_cost` is what their rows cost where that is known, `unpriced` counts the others; the last two are of all
    completed rows whose cost is known.
    """

    posts: int = 0
    own_cost: float = 0.0
    unpriced: int = 0
    completed_cost: float = 0.0
    completed_priced: int = 0

    def __add__(self, other: "Doubt") -> "Doubt":
        return Doubt(
            self.posts + other.posts,
            self.own_cost + other.own_cost,
            self.unpriced + other.unpriced,
            self.completed_cost + other.completed_cost,
            self.completed_priced + other.completed_priced,
        )

    @property
    def worst_case(self) -> float | None:
        """What they may have cost: each as its row, else as the mean completed row; nothing when no cost is known."""
        if not self.unpriced:
            return self.own_cost
        if not self.completed_priced:
            return None
        return self.own_cost + self.unpriced * self.completed_cost / self.completed_priced


@dataclass(frozen=True, slots=True)
class FileFound:
    """One file of a run: its name under OUT, its rows, its bytes and their SHA-256 as hex digits."""

    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PartFound:
    """A published file, the sums over its kept answers, and over its attempt logs."""

    file: FileFound
    kept: Sums
    billed: Sums


Usage = Mapping[UsageKey, UsageSums]


@dataclass(frozen=True, slots=True)
class Found:
    """What the files of a run say, `described` being run.json. `faults` are wrong whatever a receipt says."""

    described: Mapping[str, Any]
    parts: Sequence[PartFound] = ()
    requests: FileFound | None = None
    rejects: FileFound | None = None
    usage_file: FileFound | None = None
    usage_table: Usage = field(default_factory=dict)
    usage: Usage = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    flagged: int = 0
    doubt: Doubt = Doubt()
    unplaced_ids: int = 0
    finished_at: datetime | None = None
    faults: Sequence[Fault] = ()

    @property
    def billed(self) -> Sums:
        """The sums of the usage table, as it stands there."""
        return sum((one.sums for one in self.usage_table.values()), Sums())


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as the receipt says, in a file named under OUT."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def receipt_name(run_id: str) -> str:
    """Where a run's receipt is, under OUT."""
    return f"runs/{run_id}/receipt.json"


def receipt_of(found: Found, double_ends: int) -> dict[str, Any]:
    """The receipt, as plain values; of its `rows`, the manifest's are the sum of all others."""
    described = found.described
    rejected = found.rejects.rows if found.rejects else 0
    outcomes = {outcome.value: found.outcomes.get(outcome.value, 0) for outcome in Outcome}
    ends = {"rejected": rejected, "reused": 0, **outcomes}
    return {
        "receipt_version": VERSION,
        "run_id": described.get("run_id"),
        "vidbatch": described.get("vidbatch"),
        "manifests": described.get("manifests", []),
        "created_at": described.get("created_at"),
        "finished_at": found.finished_at.isoformat() if found.finished_at else described.get("created_at"),
        "rows": {"manifest": manifest_rows(described), **ends},
        "usage": asdict(found.billed),
        # a collection sends nothing: its generations were sent, and counted, by the run that it collects
        "posts": 0 if COLLECTS in described else sum(one.attempts for one in found.usage_table.values()),
        "possible_duplicates": {
            "rows": found.flagged,
            "posts": found.doubt.posts,
            "worst_case_cost": found.doubt.worst_case,
        },
        "ids_without_a_row": found.unplaced_ids,
        "double_ends": double_ends,
        "annotations": [
            {**asdict(part.file), "kept": asdict(part.kept), "billed": asdict(part.billed)} for part in found.parts
        ],
        "requests": asdict(found.requests) if found.requests else None,
        "rejects": asdict(found.rejects) if found.rejects else None,
        "usage_table": asdict(found.usage_file) if found.usage_file else None,
    }


def manifest_rows(described: Mapping[str, Any]) -> int:
    """How many rows were to be done, by run.json."""
    return int(described.get("rows", described.get("requests", 0) + described.get("rejections", 0)))


def contradictions(found: Found) -> list[Difference]:
    """Where the files contradict each other, whatever a receipt says."""
    differences = [Difference(fault.file, fault.what) for fault in found.faults]
    described, name = found.described, f"runs/{found.described.get('run_id')}/run.json"
    for file, key in ((found.requests, "requests"), (found.rejects, "rejections")):
        if file is not None and file.rows != described.get(key, 0):
            differences.append(Difference(file.name, f"{file.rows:,} rows, and {name} says {described.get(key, 0):,}"))
    ends = sum(found.outcomes.values()) + (found.rejects.rows if found.rejects else 0)
    if ends != manifest_rows(described):
        differences.append(Difference(name, f"{manifest_rows(described):,} rows, and {ends:,} have an end"))
    if found.usage_file is not None:
        differences += _usage_differences(found.usage_file.name, found.usage_table, found.usage)
    return differences


def _usage_differences(name: str, table: Usage, sums: Usage) -> Iterator[Difference]:
    for key in sorted({*table, *sums}, key=lambda one: one.order):
        line = " ".join(filter(None, key.order))
        if key not in sums or key not in table:
            where = "not in the annotations" if key not in sums else "not there"
            yield Difference(name, f"the line {line} is {where}")
            continue
        yield from (
            Difference(name, f"{what} of {line} {told}, and the annotations have {held}")
            for what, held, told in _unequal(asdict(sums[key]), asdict(table[key]))
        )


def differences(receipt: Mapping[str, Any], found: Found) -> list[Difference]:
    """Every place in which the files are not as the receipt says; none means that all of it was found again.

    The receipt's count of double ends is the ledger's; it is taken as it stands.
    """
    again = receipt_of(found, receipt.get("double_ends", 0))
    files = [*_file_differences(_by_name(receipt), _by_name(again))]
    own = receipt_name(again["run_id"])
    named = {"annotations", "requests", "rejects", "usage_table"}
    rest = _unequal(_without(again, named), _without(receipt, named))
    return [*files, *(Difference(own, f"{what} is {told}, and the files say {held}") for what, held, told in rest)]


def marker_differences(summary: Mapping[str, Any], receipt: Mapping[str, Any], found: Found) -> list[Difference]:
    """Where the done marker says something else than the files, or, of double ends, than the receipt."""
    again = receipt_of(found, receipt.get("double_ends", 0))
    held = {
        "outcomes": {outcome.value: again["rows"][outcome.value] for outcome in Outcome},
        "possible_duplicates": again["possible_duplicates"]["rows"],
        "double_ends": again["double_ends"],
        **{name: again["usage"][name] or 0 for name in ("prompt_tokens", "completion_tokens")},
    }
    told = {name: summary.get(name) for name in held}
    name = f"runs/{again['run_id']}/done.json"
    return [
        Difference(name, f"{what} is {said}, and the files say {holds}") for what, holds, said in _unequal(held, told)
    ]


def _file_differences(told: Mapping[str, Any], held: Mapping[str, Any]) -> Iterator[Difference]:
    for name in sorted({*told, *held}):
        if name not in held:
            yield Difference(name, f"is not there or can't be read; the receipt says {told[name].get('rows')} rows")
        elif name not in told:
            yield Difference(name, f"{held[name]['rows']} rows, and the receipt does not know the file")
        else:
            yield from (
                Difference(name, f"{what} {found}, and the receipt says {said}")
                for what, found, said in _unequal(held[name], told[name])
            )


def _by_name(receipt: Mapping[str, Any]) -> dict[str, Any]:
    files = [*(receipt.get("annotations") or ()), *(receipt.get(key) for key in ("requests", "rejects", "usage_table"))]
    return {str(file.get("name")): file for file in files if isinstance(file, Mapping)}


def _without(values: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _unequal(held: Any, told: Any, at: str = "") -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401 - plain JSON values
    """Where two plain values differ: the place, what one holds and what the other tells."""
    if isinstance(held, Mapping) and isinstance(told, Mapping):
        for key in sorted({*held, *told}):
            yield from _unequal(held.get(key), told.get(key), f"{at}.{key}" if at else key)
    elif not _same(held, told):
        yield at, held, told


def _same(held: object, told: object) -> bool:
    if isinstance(held, float) and isinstance(told, int | float):
        return abs(held - told) <= CLOSE * max(abs(held), abs(told))
    return type(held) is type(told) and held == told
