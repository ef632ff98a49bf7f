"""Publish the dataset of a run whose rows all have their end, and write the done marker last."""

import asyncio

from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.core.summary import summary_of
from pipeline.ports import Ledger, RunFolder


async def finalize(run: RunSnapshot, ledger: Ledger, folder: RunFolder) -> None:
    """Publish, sum up, mark done. A crash anywhere leaves the same work for the next ticket."""
    await asyncio.to_thread(folder.publish)  # minutes for a large run, in which the shift's lease is renewed
    folder.finish(summary_of(run))
    await ledger.set_state(run.run_id, RunState.FINISHED)
