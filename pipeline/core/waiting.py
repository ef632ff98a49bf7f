"""What a run waits for, in one sentence: a run that stands still never does so without saying why.

A pure function of how the ledger looks; it promises nothing, and names a command only where that command helps.
"""

from pipeline.core.bounds import bound_of, poll_rate_words
from pipeline.core.snapshot import BUDGET_REACHED, PERSON_PAUSED, RESULTS_BYTES, RunSnapshot, RunState
from pipeline.core.spending import a_higher_cap

BEHIND_S = 2.0
"""More than the polls of so many seconds are not due by chance: the account's poll limit holds them up."""


def waits_for(run: RunSnapshot, lack: str, patience_s: float = 0.0) -> str:
    """What stands between now and the run's end; empty for a finished run only.

    `lack` is what the living workers lack for it, empty when they suffice; `patience_s` is how long a generation is
    watched before its row ends as expired, 0 when that is not known.
    """
    if run.state is RunState.FINISHED:
        return ""
    if run.all_ended:
        return lack or "the dataset to be published"
    held = _held(run) or lack or _held_for_now(run)
    under_way = _under_way(run, patience_s)
    if not held:
        return under_way or "rows to be fed"
    return f"{held}; meanwhile: {under_way}" if under_way and run.collects else held


def _held(run: RunSnapshot) -> str:
    """Why nothing is sent until a person acts, or until the run has come to the end that a person wanted."""
    if run.account_blocked:
        cause = "a balance" if run.account_polls else "a key that the API accepts"
        return f"{cause}, then the run's command again: {run.account_blocked}"
    match run.state:
        case RunState.PAUSED if run.reason == PERSON_PAUSED:
            return f"a person, who paused it; vidbatch resume {run.run_id} goes on"
        case RunState.PAUSED if run.reason.startswith(BUDGET_REACHED):
            return f"a person: {run.reason}; its command with {a_higher_cap(run)} goes on"
        case RunState.PAUSED:
            return f"a person, since it is paused: {run.reason or 'no reason was told'}; its command again goes on"
        case RunState.STOPPING if run.quiet:
            return "its command, which was interrupted: the same command again goes on"
        case RunState.STOPPING:
            return "what was sent, since its command was interrupted and sends nothing more"
        case RunState.CANCELLING:
            return "what was sent, since it is being cancelled and sends nothing more"
        case RunState.ABANDONING:
            return "its rows to be ended, since it was cancelled and abandons what was sent"
    return ""


def person_paused(run: RunSnapshot) -> str:
    """What is told of a run that a person paused."""
    return f"{PERSON_PAUSED}; vidbatch resume {run.run_id} goes on"


def _held_for_now(run: RunSnapshot) -> str:
    """Why nothing is sent just now, though no person is needed; only where there is something to send."""
    unsent = run.ready + run.total - run.fed
    if unsent == 0:
        return ""
    if not run.led:
        return f"a command that leads it, to send {_counted(unsent, 'row')}: repeat its command"
    if run.account_wait_until_ms > run.now_ms:
        rest = duration((run.account_wait_until_ms - run.now_ms) / 1000)
        return f"the account's back-off, {rest} more{_told(run)}"
    if run.results_bytes >= RESULTS_BYTES:
        return f"the writer: {_counted(run.results, 'result')} must be on disk before more is sent"
    bound = bound_of(run)
    return "" if bound is None else bound.wait


def _under_way(run: RunSnapshot, patience_s: float) -> str:
    parts: list[str] = []
    if run.state is RunState.RUNNING:
        parts += [f"{_counted(run.total - run.fed, 'row')} to be fed"] * (run.fed < run.total)
        parts += [f"{_counted(run.ready_due, 'row')} to be sent"] * (run.ready_due > 0)
        early = run.ready - run.ready_due
        parts += [f"{_counted(early, 'row')} that may not be sent yet"] * (early > 0)
    parts += [f"the answers to {_counted(run.submitting, 'POST')}"] * (run.submitting > 0)
    behind = _behind(run)
    parts += [f"{_counted(behind, 'generation')} to be polled (polls {poll_rate_words(run.pace)})"] * (behind > 0)
    parts += [f"{_counted(run.pending - behind, 'generation')} still running"] * (run.pending > behind)
    parts += [f"{_counted(run.late, 'late id')} to be asked for"] * (run.late > 0)
    parts += [f"{_counted(run.results, 'result')} to be written"] * (run.results > 0)
    parts += [f"{_counted(run.accepted_unsaved, 'accepted id')} to be saved"] * (run.accepted_unsaved > 0)
    if parts and run.pending and parts[0].endswith("still running"):
        parts[0] = f"nothing but {parts[0]}"
        if patience_s:
            parts[-1] += f"; each is given up after {duration(patience_s)} of asking, and its id is kept"
    return ", ".join(parts) + (_told(run) if parts else "")


def _behind(run: RunSnapshot) -> int:
    """Generations that are due to be polled, where the account's polls take longer for them than a moment."""
    rate = run.pace.poll_rate
    return run.pending_due if rate is not None and run.pending_due > BEHIND_S * rate else 0


def _told(run: RunSnapshot) -> str:
    return f"; the API's last trouble: {run.trouble}" if run.trouble else ""


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """A duration for people: seconds, minutes or hours, whichever reads best."""
    whole = max(1, round(seconds))
    if whole < 120:  # noqa: PLR2004 - up to two minutes are told in seconds
        return f"{whole} s"
    hours, minutes = divmod(round(whole / 60), 60)
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min"
