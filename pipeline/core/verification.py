"""Where a finished run's files differ from what was told of them when it ended, or contradict each other.

What came after the end is news and no difference: nobody touched the files. Nothing here reads a file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.core.lifecycle import Outcome
from pipeline.core.receipt import Found, Usage, digest_of, manifest_rows, receipt_name, receipt_of
from pipeline.core.summary import REPORT_TROUBLE, status_counts

_PLANNED = ("requests", "duplicates", "reused", "rejects")
"""What a receipt calls the files of the plan."""

CLOSE = 1e-9
"""Sums of floats may differ by this much of themselves: another order of adding is not another cost."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as the receipt says, in a file named under OUT."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def contradictions(found: Found) -> list[Difference]:
    """Where the files contradict each other, whatever a receipt says."""
    return [*row_contradictions(found), *_usage_differences(found)]


def row_contradictions(found: Found) -> list[Difference]:
    """Where rows are missing, doubled or of nobody."""
    differences = [Difference(fault.file, fault.what) for fault in found.faults]
    described, name = found.described, f"runs/{found.described.get('run_id')}/run.json"
    planned = {"requests": found.requests, "rejections": found.rejects}
    for key, file in {**planned, "duplicates": found.duplicates, "reused": found.reused}.items():
        if file is not None and file.rows != described.get(key, 0):
            differences.append(Difference(file.name, f"{file.rows:,} rows, and {name} says {described.get(key, 0):,}"))
    ends = sum(found.outcomes.values()) + sum(file.rows for file in (found.rejects, found.reused) if file)
    if ends != manifest_rows(described):
        differences.append(Difference(name, f"{manifest_rows(described):,} rows, and {ends:,} have an end"))
    return differences


def _usage_differences(found: Found) -> Iterator[Difference]:
    if found.usage_file is not None:
        yield from _unequal_usage(found.usage_file.name, found.usage_table, found.usage)


def _unequal_usage(name: str, table: Usage, sums: Usage) -> Iterator[Difference]:
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

    The receipt's count of double ends and its budget are the ledger's; they are taken as they stand. Files of ids that
    the receipt does not know came later: they are left to `came_after`.
    """
    again = receipt_of(found.seen(_names(receipt, "sent")), receipt.get("double_ends", 0), receipt.get("budget"))
    files = [*_file_differences(_by_name(receipt), _by_name(again))]
    own = receipt_name(again["run_id"])
    named = {"annotations", *_PLANNED, "usage_table", "sent"}
    rest = _unequal(_without(again, named), _without(receipt, named))
    return [*files, *(Difference(own, f"{what} is {told}, and the files say {held}") for what, held, told in rest)]


def came_after(receipt: Mapping[str, Any], found: Found) -> int:
    """How many ids that no row has were saved after the receipt was given, in files that it does not know."""
    return found.unplaced_ids - found.seen(_names(receipt, "sent")).unplaced_ids


def marker_differences(summary: Mapping[str, Any], receipt: Mapping[str, Any], found: Found) -> list[Difference]:
    """Where the done marker says something else than the files, or, of double ends, than the receipt."""
    again = receipt_of(found, receipt.get("double_ends", 0))
    held = {
        **_asked(found),
        "answer_statuses": status_counts(found.answer_statuses),
        "possible_duplicates": again["possible_duplicates"]["rows"],
        "double_ends": again["double_ends"],
        **{name: again["usage"][name] or 0 for name in ("prompt_tokens", "completion_tokens")},
        "cost": again["usage"]["cost"],
        "receipt": receipt_name(again["run_id"]),
        "receipt_sha256": digest_of(receipt),
        **{name: told for name, told in summary.items() if name == REPORT_TROUBLE},  # the files tell nothing of it
    }
    return [*_unlike_marker(found, held, summary)]


def receiptless(summary: Mapping[str, Any]) -> bool:
    """Whether a done marker is of a version that gave no receipts."""
    return not {"receipt", "receipt_sha256"} & {*summary}


def old_differences(summary: Mapping[str, Any], found: Found) -> list[Difference]:
    """All that can be compared of a run without a receipt: its rows, and what its marker says of them.

    Its sums were made in another way.
    """
    held = _asked(found)
    told = {name: summary[name] for name in held if name in summary}
    return [*row_contradictions(found), *_unlike_marker(found, held, told)]


def _asked(found: Found) -> dict[str, Any]:
    outcomes = {outcome.value: found.outcomes.get(outcome.value, 0) for outcome in Outcome}
    described = found.described
    return {
        "run_id": described.get("run_id"),
        **{name: described.get(name, 0) for name in ("requests", "duplicates", "reused")},
        "outcomes": outcomes,
    }


def _unlike_marker(found: Found, held: Mapping[str, Any], told: Mapping[str, Any]) -> Iterator[Difference]:
    name = f"runs/{found.described.get('run_id')}/done.json"
    for what, holds, said in _unequal(held, {"duplicates": 0, "reused": 0, **told}):
        yield Difference(name, f"{what} is {said}, and the files say {holds}")


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
    single = [receipt.get(key) for key in (*_PLANNED, "usage_table")]
    files = [*_files(receipt, "annotations"), *(file for file in single if isinstance(file, Mapping))]
    return {str(file.get("name")): file for file in [*files, *_files(receipt, "sent")]}


def _files(receipt: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    listed = receipt.get(key)
    return [file for file in listed if isinstance(file, Mapping)] if isinstance(listed, list) else []


def _names(receipt: Mapping[str, Any], key: str) -> set[str]:
    return {str(file.get("name")) for file in _files(receipt, key)}


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
