"""Publish the dataset of a run whose rows all have their end, give its receipt, and write the done marker last."""

import asyncio
from collections.abc import Callable

from pipeline.core.errors import StorageError
from pipeline.core.receipt import digest_of, receipt_name, receipt_of
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.core.spending import budget_object
from pipeline.core.summary import REPORT_TROUBLE, finished_summary
from pipeline.core.verification import contradictions
from pipeline.ports import Ledger, RunFolder


async def finalize(
    run: RunSnapshot, ledger: Ledger, folder: RunFolder, make_report: Callable[[], None] | None = None
) -> None:
    """Publish, sum up, mark done. A crash anywhere leaves the same work for the next ticket, and the same files.

    So does an id that came while the files were read: the run is not marked as done before it is saved, too.
    `make_report` writes the report beside; where it raises StorageError, the done marker says why there is none.
    StorageError when the published rows are not the run's requests and duplicates: one row too few is not done.
    """
    totals = await asyncio.to_thread(folder.publish)  # minutes for a large run, in which the shift is renewed
    described = folder.described()
    asked = run.total + int(described.get("duplicates", 0))
    if totals.rows != asked:
        raise StorageError(f"{totals.rows} rows are on disk where {asked} were asked; nothing was marked as done")
    found, trouble = await asyncio.gather(
        asyncio.to_thread(folder.found), asyncio.to_thread(_trouble_of, make_report or _nothing)
    )
    for wrong in contradictions(found):
        raise StorageError(f"{wrong}; nothing was marked as done")
    receipt = receipt_of(found, run.double_ends, budget_object(run))
    folder.give_receipt(receipt)
    latest = await ledger.snapshot(run.run_id)
    if latest is not None and latest.late + latest.accepted_unsaved > 0:
        return
    proof = {"receipt": receipt_name(run.run_id), "receipt_sha256": digest_of(receipt)}
    reported = {REPORT_TROUBLE: trouble} if trouble else {}
    folder.finish({**finished_summary(run, totals, described), **proof, **reported})
    await ledger.set_state(run.run_id, RunState.FINISHED)


def _nothing() -> None:
    """No report."""


def _trouble_of(make_report: Callable[[], None]) -> str:
    """Why there is no report; empty where it was made. A report is no reason to keep a run from being done."""
    try:
        make_report()
    except StorageError as error:
        return str(error)
    return ""
