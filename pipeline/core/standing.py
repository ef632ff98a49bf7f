"""Where each row stands after a run and all that was derived from it, and which rows another run should ask for.

A retry and a collection are runs of their own, so a row may have several ends; the newest one holds. What may have been
paid for is never asked again unless a person names it: an answer that may wait under a known id is collected instead,
and a row that was cancelled while its POST was in doubt counts as unknown. Beside another end a doubt changes nothing:
`possible_duplicate` tells of it.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pipeline.core.answering import AnswerStatus
from pipeline.core.lifecycle import Outcome
from pipeline.core.rows import Rows

RETRY_OF = "retry_of"
COLLECTS = "collects"
TURN = "turn"
"""Keys of `run.json`: the run that this one was derived from, and its place in the order of that run's derived ones."""

DEFAULT_OUTCOMES = (Outcome.FAILED, Outcome.CANCELLED)
ASKABLE = (AnswerStatus.INVALID, AnswerStatus.TRUNCATED, AnswerStatus.REFUSED, AnswerStatus.EMPTY)
"""Answers that may be asked for again: all but those that are fit."""

REPAIRABLE = (AnswerStatus.INVALID, AnswerStatus.TRUNCATED, AnswerStatus.EMPTY)
"""Answers that another question may mend; a model that refused once refuses again."""

RETRIABLE = (Outcome.FAILED, Outcome.REFUSED, Outcome.EXPIRED, Outcome.UNKNOWN, Outcome.CANCELLED)


@dataclass(frozen=True, slots=True)
class End:
    """How a row ended in one run.

    `accepted_at` is in µs since 1970; `doubtful` tells that a POST may have been billed without an answer of ours.
    """

    row_index: int
    outcome: Outcome
    code: str = ""
    generation_id: str | None = None
    accepted_at: int = 0
    doubtful: bool = False
    answer_status: str = ""

    @property
    def collectable(self) -> bool:
        """Whether an answer that was paid for may wait under the row's id."""
        return self.outcome in {Outcome.EXPIRED, Outcome.UNKNOWN, Outcome.CANCELLED} and self.generation_id is not None

    @property
    def untouched(self) -> bool:
        """Whether the run ended before anything of this row was sent that may have been billed."""
        return self.outcome is Outcome.CANCELLED and self.generation_id is None and not self.doubtful

    @property
    def not_found(self) -> bool:
        """Whether a collection found nothing, and has no id: that says nothing of the id that it was given."""
        return self.outcome is Outcome.UNKNOWN and self.generation_id is None

    @property
    def counts_as(self) -> Outcome:
        """The outcome under which a person asks for it again: its own, or unknown for a cancelled row in doubt."""
        doubtful = self.outcome is Outcome.CANCELLED and self.doubtful
        return Outcome.UNKNOWN if doubtful and not self.collectable else self.outcome


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows to ask again: by outcome, and by error code where some are named; completed ones by their answer."""

    outcomes: frozenset[Outcome]
    codes: frozenset[str] = frozenset()
    answers: frozenset[str] = frozenset()

    def takes(self, end: End) -> bool:
        """Whether this row is asked again; abandoned rows are collected first."""
        if end.outcome is Outcome.COMPLETED:
            return end.answer_status in self.answers
        if end.outcome is Outcome.CANCELLED and end.collectable:
            return False
        return end.counts_as in self.outcomes and (not self.codes or end.code in self.codes)

    def described(self) -> dict[str, list[str]]:
        """As `run.json` keeps it."""
        told: dict[str, list[str]] = {"outcomes": sorted(self.outcomes), "codes": sorted(self.codes)}
        return {**told, "answers": sorted(self.answers)} if self.answers else told


def newest(
    runs: Sequence[Iterable[End]], within: Rows | None = None, collections: Container[int] = ()
) -> Iterator[End]:
    """Each row's newest end; `runs` come newest first, `within` leaves out the rows of other runs.

    A row that a derived run did not get to stands where it stood before; so does one that a collection, which the
    places in `collections` tell among the runs, did not find.
    """
    seen = Rows()
    for place, run in enumerate(runs):
        is_last, collects = place == len(runs) - 1, place in collections
        for end in run:
            wanted = within is None or end.row_index in within
            hides = is_last or not (end.untouched or (collects and end.not_found))
            if wanted and hides and seen.add(end.row_index):
                yield end


@dataclass(frozen=True, slots=True)
class Remains:
    """What is left of a run: rows that did not complete, by what can be done for them, and answers that don't fit."""

    collectable: int
    again: int
    unknown: int
    refused: int
    counts: Mapping[tuple[Outcome, str], int]
    """Rows that did not complete, by outcome and error code."""
    unfit: Mapping[str, int] = field(default_factory=dict)
    """Completed rows whose answer can be asked for again, by what it is worth, in the order of `REPAIRABLE`."""


def remains(ends: Iterable[End], duplicates: Mapping[int, int] = MappingProxyType({})) -> Remains:
    """Count the rows that are left; `duplicates` tells of a row how many others end as it does."""
    return remains_of((end, 1 + duplicates.get(end.row_index, 0)) for end in ends)


def remains_of(ends: Iterable[tuple[End, int]]) -> Remains:
    """The same, of rows that are counted already: so many ended like this one."""
    counts: Counter[tuple[Outcome, str]] = Counter()
    ways: Counter[str] = Counter()
    unfit = dict.fromkeys(REPAIRABLE, 0)
    for end, rows in ends:
        if end.outcome is not Outcome.COMPLETED:
            counts[end.outcome, end.code] += rows
            ways["collect" if end.collectable else end.counts_as] += rows
        elif end.answer_status in unfit:
            unfit[AnswerStatus(end.answer_status)] += rows
    again = sum(ways[outcome] for outcome in DEFAULT_OUTCOMES)
    found = {status.value: rows for status, rows in unfit.items() if rows}
    return Remains(ways["collect"], again, ways[Outcome.UNKNOWN], ways[Outcome.REFUSED], counts, found)


def is_left(end: End) -> bool:
    """Whether something can be done for a row: it did not complete, or its answer does not fit."""
    return end.outcome is not Outcome.COMPLETED or end.answer_status in REPAIRABLE


def parent_of(described: Mapping[str, Any]) -> str | None:
    """The run that this one was derived from, by its `run.json`; nothing for a run of a manifest."""
    parent = described.get(RETRY_OF) or described.get(COLLECTS)
    return None if parent is None else str(parent)


def root_of(run_id: str, parents: Mapping[str, str | None]) -> str:
    """The run of a manifest from which this one comes in the end."""
    while (parent := parents.get(run_id)) is not None:
        run_id = parent
    return run_id


def family_of(run_id: str, described: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """All runs that come from the same manifest's run as this one, newest first; `described` by run id."""
    parents = {name: parent_of(one) for name, one in described.items()}
    root = root_of(run_id, parents)
    members = [name for name in described if root_of(name, parents) == root]
    return sorted(members, key=lambda name: (int(described[name].get(TURN, 0)), name), reverse=True)
