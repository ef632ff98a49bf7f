"""Publish the dataset of a run whose rows all have their end, and write the done marker last."""

from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.core.summary import summary_of
from pipeline.ports import Ledger, RunFolder


async def finalize(run: RunSnapshot, ledger: Ledger, folder: RunFolder) -> None:
    """Publish, sum up, mark done. A crash anywhere leaves the same work for the next ticket."""
    folder.publish()
    folder.finish(summary_of(run))
    await ledger.set_state(run.run_id, RunState.FINISHED)
