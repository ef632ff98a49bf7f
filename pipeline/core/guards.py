"""When a run should stop and ask a person, by what its ledger looks like."""

from pipeline.core.policy import Policy
from pipeline.core.snapshot import RunSnapshot, RunState


def pause_due(run: RunSnapshot, policy: Policy) -> str | None:
    """The reason for pausing the run now, or nothing.

    An API that answered nothing useful for long pauses the run, so that every run ends or says what it waits for.
    """
    if run.state is not RunState.RUNNING:
        return None
    for since_ms, patience_s in (
        (run.doubt_since_ms, policy.doubtful_for_s),
        (run.trouble_since_ms, policy.useless_for_s),
    ):
        waited_s = (run.now_ms - since_ms) / 1000
        if since_ms and waited_s >= patience_s:
            return f"nothing was accepted for {waited_s:.0f} s; the last answer was: {run.trouble}"
    return None
