"""Read a finished run's files again, and compare them with its receipt; nothing is ever repaired here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import StorageError
from pipeline.core.receipt import receipt_name
from pipeline.core.verification import (
    Difference,
    came_after,
    contradictions,
    differences,
    marker_differences,
    old_differences,
    receiptless,
)
from pipeline.ports import RunFolder


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one run: its receipt, all that is not as it says, and what is news without being wrong."""

    run_id: str
    receipt: Mapping[str, Any]
    differences: tuple[Difference, ...]
    news: tuple[str, ...] = ()


def verify(folder: RunFolder) -> Verdict:
    """Recompute a run's receipt from its files."""
    try:
        return _verify(folder)
    except StorageError as error:
        return Verdict(folder.run_id, {}, (Difference(f"runs/{folder.run_id}", str(error)),))


def _verify(folder: RunFolder) -> Verdict:
    summary, receipt = folder.summary(), folder.receipt()
    if summary is None:
        marker = f"runs/{folder.run_id}/done.json"
        return Verdict(folder.run_id, {}, (Difference(marker, "is not there: the run is not finished, or lost it"),))
    found = folder.found()
    if receipt is None and receiptless(summary):
        told = old_differences(summary, found)
        old = "an older version of vidbatch finished it and gave no receipt: only its rows and its marker were compared"
        return Verdict(folder.run_id, {}, tuple(told), (old,))
    told = contradictions(found)
    if receipt is None:
        return Verdict(folder.run_id, {}, (Difference(receipt_name(folder.run_id), "is not there"), *told))
    told += differences(receipt, found) + marker_differences(summary, receipt, found)
    late = came_after(receipt, found)
    news = (f"{late:,} ids came after the run was done; they are in sent/, and no row has them",) if late else ()
    return Verdict(folder.run_id, receipt, tuple(told), news)
