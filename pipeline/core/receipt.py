"""What a run's files amount to when it ends; `core.verification` compares that with what they say later.

A receipt is made of the files alone, but for what only the ledger counts, double ends and the budget: so whoever holds
the files can make it again. Nothing here reads a file; amounts of money are in the currency of the prices.
"""

import hashlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date, datetime
from typing import Any

import orjson

from pipeline.core.coverage import Fault
from pipeline.core.lifecycle import Outcome
from pipeline.core.standing import COLLECTS

VERSION = 2


@dataclass(frozen=True, slots=True)
class Sums:
    """Tokens and money; nothing where none is known.

    `cost` is what the API told, else tokens at the configured price, as annotations have it; `cost_told` is the API's
    own word alone, `cost_at_price` all tokens at the configured price.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    audio_tokens: int | None = None
    video_tokens: int | None = None
    credits: float | None = None
    cost: float | None = None
    cost_told: float | None = None
    cost_at_price: float | None = None

    def __add__(self, other: "Sums") -> "Sums":
        both: dict[str, Any] = {name: _plus(getattr(self, name), getattr(other, name)) for name in (*TOKENS, *MONEY)}
        return Sums(**both)


TOKENS = tuple(one.name for one in fields(Sums) if one.name.endswith("_tokens"))
MONEY = tuple(one.name for one in fields(Sums) if one.name not in TOKENS)
KEPT = (*TOKENS, "credits", "cost")
"""What rows tell of their own answers, and so can be summed of these alone."""


def _plus(one: float | None, other: float | None) -> float | None:
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
    """What the files of a run say, `described` being run.json. `faults` are wrong whatever a receipt says.

    `unplaced` counts ids that were paid for and that no row has, by the files of `sent` that name them.
    """

    described: Mapping[str, Any]
    parts: Sequence[PartFound] = ()
    requests: FileFound | None = None
    duplicates: FileFound | None = None
    reused: FileFound | None = None
    rejects: FileFound | None = None
    usage_file: FileFound | None = None
    usage_table: Usage = field(default_factory=dict)
    usage: Usage = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    answer_statuses: Mapping[str, int] = field(default_factory=dict)
    flagged: int = 0
    doubt: Doubt = Doubt()
    sent: Sequence[FileFound] = ()
    unplaced: Mapping[frozenset[str], int] = field(default_factory=dict)
    finished_at: datetime | None = None
    faults: Sequence[Fault] = ()

    @property
    def beside_requests(self) -> Mapping[str, FileFound | None]:
        """The files of the plan with the rows that are not sent."""
        return {"duplicates": self.duplicates, "reused": self.reused, "rejects": self.rejects}

    @property
    def billed(self) -> Sums:
        """The sums of the usage table, as it stands there."""
        return sum((one.sums for one in self.usage_table.values()), Sums())

    @property
    def unplaced_ids(self) -> int:
        """Ids that no row has, each once."""
        return sum(self.unplaced.values())

    def seen(self, names: Container[str]) -> "Found":
        """The same, without files of ids that have other names."""
        sent = [file for file in self.sent if file.name in names]
        unplaced = {files: count for files, count in self.unplaced.items() if any(name in names for name in files)}
        return replace(self, sent=sent, unplaced=unplaced)


def receipt_name(run_id: str) -> str:
    """Where a run's receipt is, under OUT."""
    return f"runs/{run_id}/receipt.json"


def receipt_of(found: Found, double_ends: int, budget: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The receipt, as plain values; of its `rows`, the manifest's are the sum of all others.

    A duplicate counts by its outcome, as its own row does; what was reused counts as reused alone.

    `budget` is what became of the run's caps (`core.spending.budget_object`); nothing where it had none.
    """
    described = found.described
    rejected, reused = (file.rows if file else 0 for file in (found.rejects, found.reused))
    outcomes = {outcome.value: found.outcomes.get(outcome.value, 0) for outcome in Outcome}
    ends = {"rejected": rejected, "reused": reused, **outcomes}
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
        "budget": budget,
        "annotations": [
            {**asdict(part.file), "kept": _kept(part.kept), "billed": asdict(part.billed)} for part in found.parts
        ],
        "requests": asdict(found.requests) if found.requests else None,
        **{name: asdict(file) if file else None for name, file in found.beside_requests.items()},
        "usage_table": asdict(found.usage_file) if found.usage_file else None,
        "sent": [asdict(file) for file in found.sent],
    }


def _kept(sums: Sums) -> dict[str, Any]:
    return {name: getattr(sums, name) for name in KEPT}


def digest_of(receipt: Mapping[str, Any]) -> str:
    """SHA-256 of a receipt's values as hex digits, by which the done marker holds on to it."""
    return hashlib.sha256(orjson.dumps(receipt, option=orjson.OPT_SORT_KEYS)).hexdigest()


def manifest_rows(described: Mapping[str, Any]) -> int:
    """How many rows were to be done, by run.json."""
    kinds = ("requests", "duplicates", "reused", "rejections")
    return int(described.get("rows", sum(described.get(kind, 0) for kind in kinds)))
