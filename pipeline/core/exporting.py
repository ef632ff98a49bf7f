"""What an export holds: one row for each row of a manifest, and which of its ends that row shows.

The rules are data and small functions here; `edges/export_view.py` carries them out over files of any size. A row that
was sent in several runs shows a completed end before any other, then the newest one that says something
(`core.standing`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pipeline.core.errors import UsageError
from pipeline.core.standing import COLLECTS, TURN, parent_of, root_of

REJECTED = "rejected"
"""Outcome and error code of a row that never became a request."""

RUN = "run"
"""The column that tells which run answered; it comes first."""


class Format(StrEnum):
    """What an export can be written as."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    DUCKDB = "duckdb"
    HUGGINGFACE = "huggingface"
    FIFTYONE = "fiftyone"
    LABELSTUDIO = "labelstudio"
    WEBVTT = "webvtt"


FOLDERS = frozenset({Format.HUGGINGFACE, Format.FIFTYONE, Format.LABELSTUDIO, Format.WEBVTT})
"""Formats that are a folder of files."""

TABLES = frozenset({Format.CSV, Format.JSONL, Format.PARQUET, Format.DUCKDB, Format.HUGGINGFACE})
"""Formats that hold whichever columns are asked for; the others are made of some."""

NO_VIDEO = "no video"
NO_FILE = "a video that is no file and has no URL"
NO_ANSWER = "no answer"
NO_MOMENTS = "no timestamps in the answer"
"""Why a format has no place for a row."""

_ENDINGS = {
    ".csv": Format.CSV,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".parquet": Format.PARQUET,
    ".duckdb": Format.DUCKDB,
}


def format_of(name: str, given: str | None) -> Format:
    """The format that a file's name tells, or that is given. UsageError when neither tells one, or each another."""
    told = next((told for ending, told in _ENDINGS.items() if name.casefold().endswith(ending)), None)
    if given is not None and told not in {None, Format(given)}:
        raise UsageError(f"--to {name}: the name tells {told} and --format {given}; allowed is one of them")
    if given is not None:
        return Format(given)
    if told is not None:
        return told
    raise UsageError(
        f"--to {name}: the name tells no format; allowed are names that end in {', '.join(_ENDINGS)}, "
        f"or --format with one of {', '.join(Format)}"
    )


def check_columns(chosen: Format, asked: Sequence[str] | None) -> None:
    """UsageError where columns are chosen for a format that is made of some already."""
    if asked is not None and chosen not in TABLES:
        raise UsageError(f"--columns: found it with {chosen}; allowed are the formats {', '.join(sorted(TABLES))}")


def chosen_columns(held: Sequence[str], asked: Sequence[str] | None) -> list[str]:
    """The columns to write, in the order in which they were asked for. UsageError for one that there is not."""
    if asked is None:
        return list(held)
    if unknown := [name for name in asked if name not in held]:
        raise UsageError(f"--columns: found {', '.join(unknown)}; allowed are {', '.join(held)}")
    return list(dict.fromkeys(asked))


@dataclass(frozen=True, slots=True)
class Member:
    """A run among all of its OUT. `root` is the manifest's run that it comes from; a higher `recency` is newer."""

    run_id: str
    root: str
    recency: int
    collects: bool

    @property
    def derived(self) -> bool:
        """Whether it was made from another run."""
        return self.run_id != self.root


def members_of(described: Mapping[str, Mapping[str, Any]]) -> list[Member]:
    """All runs by their `run.json`, oldest first.

    Ids sort by time; within a family the order of turns holds, whatever a clock said.
    """
    parents = {name: parent_of(one) for name, one in described.items()}
    parents = {name: parent if parent in described else None for name, parent in parents.items()}
    families: dict[str, list[str]] = {}
    for name in described:
        families.setdefault(root_of(name, parents), []).append(name)
    ordered: list[tuple[str, int, str, str]] = []
    for root, names in families.items():
        latest = ""
        for name in sorted(names, key=lambda one: (int(described[one].get(TURN, 0)), one)):
            latest = max(latest, name)
            ordered.append((latest, int(described[name].get(TURN, 0)), name, root))
    return [
        Member(name, root, place, COLLECTS in described[name])
        for place, (_, _, name, root) in enumerate(sorted(ordered))
    ]


def members_needed(members: Sequence[Member], run_id: str | None, answered: Collection[str]) -> list[Member]:
    """The runs whose annotations an export of this run can show: its family, and families that answered its rows.

    All of them for an export of everything.
    """
    if run_id is None:
        return list(members)
    roots = {one.root for one in members if one.run_id == run_id or one.run_id in answered}
    return [one for one in members if one.root in roots]


@dataclass(frozen=True, slots=True)
class About:
    """What an export is of, for formats that tell it: runs, the answers' JSON Schema, and their shape in columns."""

    runs: Sequence[str]
    latest: bool
    schema: Mapping[str, Any] | None = None
    shape: Any = None
    vidbatch: str = ""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export came to. `missing` rows of the manifest have no end yet; `unfinished` are runs under way."""

    outcomes: Mapping[str, int]
    missing: int
    unfinished: Sequence[str]
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Rows that the format has no place for, by the reason."""
    answer_statuses: Mapping[str, int] = field(default_factory=dict)
    """Answers by what they are worth."""

    @property
    def rows(self) -> int:
        """Rows of the export, those that the format has no place for among them."""
        return sum(self.outcomes.values())


def file_stem(place: int, row_id: str, prompt_name: str | None) -> str:
    """A name for a row's file, whatever its id holds: the row's place in the export keeps names apart."""
    told = row_id if prompt_name is None else f"{row_id}-{prompt_name}"
    plain = "".join(character if character.isascii() and character.isalnum() else "-" for character in told)
    short = "-".join(part for part in plain.split("-") if part)[:60].rstrip("-")
    return f"{place:08}-{short}" if short else f"{place:08}"
