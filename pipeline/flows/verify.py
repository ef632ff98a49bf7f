"""Read a finished run's files again, and compare them with its receipt; nothing is ever repaired here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import StorageError
from pipeline.core.receipt import Difference, contradictions, differences, marker_differences, receipt_name
from pipeline.ports import RunFolder


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one run: its receipt, and all that is not as it says."""

    run_id: str
    receipt: Mapping[str, Any]
    differences: tuple[Difference, ...]


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
        return Verdict(folder.run_id, {}, (Difference(marker, "is not there: the run is not finished"),))
    found = folder.found()
    told = contradictions(found)
    if receipt is None:
        return Verdict(folder.run_id, {}, (Difference(receipt_name(folder.run_id), "is not there"), *told))
    told += differences(receipt, found) + marker_differences(summary, receipt, found)
    return Verdict(folder.run_id, receipt, tuple(told))
