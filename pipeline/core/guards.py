"""When a run should stop and ask a person, by what its ledger looks like."""

from pipeline.core.policy import Policy
from pipeline.core.snapshot import RunSnapshot, RunState


def pause_due(run: RunSnapshot, policy: Policy, watched_s: float = float("inf")) -> str | None:
    """The reason for pausing the run now, or nothing.

    An API that answered nothing useful for long pauses the run, so that every run ends or says what it waits for.
    """
    unsent = run.ready + run.submitting + run.total - run.fed
    if run.state is not RunState.RUNNING or not unsent:
        return None
    for since_ms, patience_s in (
        (run.doubt_since_ms, policy.doubtful_for_s),
        (run.trouble_since_ms, policy.useless_for_s),
    ):
        waited_s = min((run.now_ms - since_ms) / 1000, watched_s)
        if since_ms and waited_s >= patience_s:
            last = f"; the last answer was: {run.trouble}" if run.trouble else ""
            return f"nothing was accepted for {waited_s:.0f} s{last}"
    return None
