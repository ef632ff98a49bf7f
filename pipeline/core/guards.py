"""When a run should stop and ask a person, by what its ledger looks like."""

from pipeline.core.policy import Policy
from pipeline.core.snapshot import RunSnapshot, RunState


def pause_due(run: RunSnapshot, policy: Policy) -> str | None:
    """The reason for pausing the run now, or nothing.

    An API that answered nothing useful for long pauses the run, so that every run ends or says what it waits for.
    """
    if run.state is not RunState.RUNNING or not run.trouble_since_ms:
        return None
    waited_s = (run.now_ms - run.trouble_since_ms) / 1000
    if waited_s < policy.unreachable_for_s:
        return None
    return f"nothing was accepted for {waited_s:.0f} s; the last answer was: {run.trouble}"
