"""End a run that a person cancelled: rows that were not sent become cancelled, what was paid for is collected as usual.

Every row gets its end, those that the ledger has not seen yet included: they are fed, and end at once. A run that is
abandoned doesn't wait for what was sent, either: such rows end too, and keep their ids.
"""

from pipeline.core.policy import Policy
from pipeline.core.snapshot import RESULTS_BYTES, RunSnapshot, RunState
from pipeline.core.steps import abandoned, cancelled
from pipeline.flows.feed import feed
from pipeline.ports import Ledger, RunFolder

STEP_ROWS = 1_000
"""Rows that end in one step: a script of some milliseconds, so that it holds up nobody."""


async def cancel(run: RunSnapshot, ledger: Ledger, folder: RunFolder, policy: Policy) -> int:
    """Feed the window once more and end what is ready; the number of rows that ended.

    Results that the writer has not caught up with stop it, as they stop sending.
    """
    if run.results_bytes >= RESULTS_BYTES:
        return 0
    await feed(run, ledger, folder, policy)
    ended = 0
    while now := await ledger.cancel_ready(run.run_id, STEP_ROWS, cancelled(run.now_ms)):
        ended += now
    while run.state is RunState.ABANDONING and (
        now := await ledger.abandon_pending(run.run_id, STEP_ROWS, abandoned(run.now_ms))
    ):
        ended += now
    return ended
