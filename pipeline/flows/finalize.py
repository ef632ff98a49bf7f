"""Publish the dataset of a run whose rows all have their end, give its receipt, and write the done marker last."""

import asyncio

from pipeline.core.errors import StorageError
from pipeline.core.receipt import digest_of, receipt_name, receipt_of
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.core.spending import budget_object
from pipeline.core.summary import finished_summary
from pipeline.core.verification import contradictions
from pipeline.ports import Ledger, RunFolder


async def finalize(run: RunSnapshot, ledger: Ledger, folder: RunFolder) -> None:
    """Publish, sum up, mark done. A crash anywhere leaves the same work for the next ticket, and the same files.

    So does an id that came while the files were read: the run is not marked as done before it is saved, too.
    StorageError when the published rows are not the run's requests and duplicates: one row too few is not done.
    """
    totals = await asyncio.to_thread(folder.publish)  # minutes for a large run, in which the shift is renewed
    described = folder.described()
    asked = run.total + int(described.get("duplicates", 0))
    if totals.rows != asked:
        raise StorageError(f"{totals.rows} rows are on disk where {asked} were asked; nothing was marked as done")
    found = await asyncio.to_thread(folder.found)
    for wrong in contradictions(found):
        raise StorageError(f"{wrong}; nothing was marked as done")
    receipt = receipt_of(found, run.double_ends, budget_object(run))
    folder.give_receipt(receipt)
    latest = await ledger.snapshot(run.run_id)
    if latest is not None and latest.late + latest.accepted_unsaved > 0:
        return
    proof = {"receipt": receipt_name(run.run_id), "receipt_sha256": digest_of(receipt)}
    folder.finish({**finished_summary(run, totals, described), **proof})
    await ledger.set_state(run.run_id, RunState.FINISHED)
