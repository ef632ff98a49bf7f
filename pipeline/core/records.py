"""What the ledger keeps of a row in flight, and of its end.

A record is replaced as a whole, under the token of the claim that read it; Redis never looks inside. The JSON keys are
short because a run keeps thousands of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, cast

import orjson

from pipeline.core.answers import Completion, Problem
from pipeline.core.lifecycle import Outcome


@dataclass(frozen=True, slots=True)
class Attempt:
    """One POST that was, or may have been, billed. Times are µs since 1970, tokens counts."""

    generation_id: str | None
    submitted_at: int
    outcome: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    audio_tokens: int | None = None
    video_tokens: int | None = None
    credits: float | None = None
    cost_told: float | None = None
    answer_status: str | None = None
    content: str | None = None
    """The text of an answer that another attempt took the place of."""

    def packed(self) -> list[Any]:
        """The fields as a JSON list, in order; nulls at its end are left out."""
        values = list(_attempt_values(self))
        while values and values[-1] is None:
            values.pop()
        return values


_attempt_values = cast("Callable[[Attempt], tuple[Any, ...]]", attrgetter(*(one.name for one in fields(Attempt))))


@dataclass(frozen=True, slots=True)
class Unfit:
    """An answer that is asked for again, whole: where nothing better comes, it is the row's. Times are µs since 1970.

    `error` says why it is not fit, and `cap` is the `max_tokens` that was asked last; 0 where none was.
    """

    completion: Completion
    generation_id: str | None
    submitted_at: int | None
    at: int
    status: str
    error: str | None = None
    cap: int = 0
    polls: int = 0


@dataclass(frozen=True, slots=True)
class RowRecord:
    """A row between two claims.

    `attempts` counts POSTs that were or may have been billed; `watched_ms` is how long its generation was watched,
    `looked_at_ms` when it was last asked for (that and `missing_since_ms` are ms since 1970 by the Redis server's
    clock); `given_up` is the claim token of a POST whose answer never came, by which a late answer is told to be of
    that very attempt.
    """

    attempts: int = 0
    polls: int = 0
    generation_id: str | None = None
    submitted_at: int | None = None
    watched_ms: int = 0
    looked_at_ms: int = 0
    missing: int = 0
    missing_since_ms: int = 0
    resubmits: int = 0
    possible_duplicate: bool = False
    given_up: str | None = None
    model: str = ""
    running_ms: int = 0
    """The kept generation's age at the last poll that said it was still running."""
    recovered: bool = False
    """The ledger was lost since the kept generation was accepted: a later POST of the row may be unknown."""
    repairs: int = 0
    """How many answers were asked for again since they were not fit."""
    cap: int = 0
    """The `max_tokens` with which the kept generation was asked, where answers may be asked for again; 0 is none."""
    stream: str = ""
    """The path of the generation's stream, where it is not the usual one."""
    unfit: Unfit | None = None
    """The best answer so far, while it is asked for again."""
    log: tuple[Attempt, ...] = field(default=())

    @property
    def untold(self) -> int:
        """Earlier POSTs that may have been billed, and whose usage nobody knows."""
        return sum(attempt.prompt_tokens is None for attempt in self.log)


_NEW = RowRecord()
_NAMES = tuple(one.name for one in fields(RowRecord))
_PLACES = {name: place for place, name in enumerate(_NAMES)}
_values = cast("Callable[[RowRecord], tuple[Any, ...]]", attrgetter(*_NAMES))


def changed(record: RowRecord, **changes: object) -> RowRecord:
    """The record with other values: `dataclasses.replace` at a third of its time, which each row pays thrice."""
    values = list(_values(record))
    for name, value in changes.items():
        values[_PLACES[name]] = value
    return RowRecord(*values)


def pack(record: RowRecord) -> bytes:
    """Compact JSON: defaults are left out, so that a fresh record is `{}`."""
    kept = {key: value for key, name, default in _DEFAULTS if (value := getattr(record, name)) != default}
    if record.log:
        kept["l"] = [attempt.packed() for attempt in record.log]
    if record.unfit is not None:
        kept[UNFIT] = _unfit_packed(record.unfit)
    return orjson.dumps(kept)


def unpack(packed: bytes | None) -> RowRecord:
    """The reverse of `pack`; nothing at all is a fresh record."""
    if not packed or packed == b"{}":
        return _NEW
    return from_packed(orjson.loads(packed))


def from_packed(kept: dict[str, Any]) -> RowRecord:
    """The record of an already decoded `pack`."""
    values = {name: kept[key] for key, name in _KEYS if key in kept}
    unfit = _unfit_from(kept[UNFIT]) if UNFIT in kept else None
    return RowRecord(**values, unfit=unfit, log=tuple(Attempt(*item) for item in kept.get("l", ())))


def _unfit_packed(unfit: Unfit) -> dict[str, Any]:
    kept = {"g": unfit.generation_id, "s": unfit.submitted_at, "t": unfit.at, "v": unfit.status, "w": unfit.error}
    return {**kept, "z": unfit.cap, "p": unfit.polls, "c": _without_none(unfit.completion, _COMPLETION)}


def _unfit_from(kept: dict[str, Any]) -> Unfit:
    ids = (kept["g"], kept["s"], kept["t"])
    return Unfit(Completion(**kept["c"]), *ids, kept["v"], kept["w"], kept["z"], kept["p"])


UNFIT = "f"
"""The key of an answer that is asked for again; `lua/end_rows.lua` looks for it, too."""


_KEYS = (
    ("a", "attempts"),
    ("p", "polls"),
    ("g", "generation_id"),
    ("s", "submitted_at"),
    ("w", "watched_ms"),
    ("k", "looked_at_ms"),
    ("m", "missing"),
    ("n", "missing_since_ms"),
    ("r", "resubmits"),
    ("q", "possible_duplicate"),
    ("u", "given_up"),
    ("c", "recovered"),
    ("d", "model"),
    ("y", "running_ms"),
    ("x", "repairs"),
    ("z", "cap"),
    ("h", "stream"),
)
_DEFAULTS = tuple((key, name, getattr(_NEW, name)) for key, name in _KEYS)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a row ended: its outcome, with the completion or the problem. `at` is µs since 1970."""

    outcome: Outcome
    at: int
    completion: Completion | None = None
    problem: Problem | None = None


_COMPLETION = tuple(Completion.__dataclass_fields__)
_PROBLEM = tuple(Problem.__dataclass_fields__)


def pack_ending(ending: Ending) -> bytes:
    """Compact JSON of an ending; empty fields are left out."""
    return orjson.dumps(ending_packed(ending))


def ending_packed(ending: Ending) -> dict[str, Any]:
    """An ending as plain values; empty fields are left out."""
    kept: dict[str, Any] = {"o": ending.outcome, "t": ending.at}
    if ending.completion is not None:
        kept["c"] = completion_packed(ending.completion)
    if ending.problem is not None:
        kept["e"] = _without_none(ending.problem, _PROBLEM)
    return kept


def completion_packed(completion: Completion) -> dict[str, Any]:
    """An answer as plain values; empty fields are left out."""
    return _without_none(completion, _COMPLETION)


def ending_from(packed: dict[str, Any]) -> Ending:
    """The reverse of `ending_packed`."""
    completion, problem = packed.get("c"), packed.get("e")
    return Ending(
        outcome=Outcome(packed["o"]),
        at=packed["t"],
        completion=None if completion is None else Completion(**completion),
        problem=None if problem is None else Problem(**problem),
    )


def _without_none(value: object, names: tuple[str, ...]) -> dict[str, Any]:
    pairs = ((name, getattr(value, name)) for name in names)
    return {name: kept for name, kept in pairs if kept is not None}


@dataclass(frozen=True, slots=True)
class Result:
    """One ended row as it waits for the writer."""

    row_index: int
    record: RowRecord
    ending: Ending


def unpack_result(packed: bytes) -> Result:
    """A result as the ledger joins it: `{"i": row_index, "r": record, "e": ending}`."""
    whole = orjson.loads(packed)
    return Result(row_index=whole["i"], record=from_packed(whole["r"]), ending=ending_from(whole["e"]))


def saved_line(row_index: int, record: RowRecord) -> bytes:
    """An accepted id as it is saved on disk: `[row index, id, accepted at µs, attempt, resubmits]`, JSON."""
    whole = [row_index, record.generation_id, record.submitted_at, record.attempts, record.resubmits]
    return orjson.dumps(whole)


def with_attempt(record: RowRecord, attempt: Attempt) -> RowRecord:
    """The record with one more entry in its attempt log."""
    return changed(record, log=(*record.log, attempt))
