"""Why a run does not go on by itself: what its command ends with, and a schedule's firing says meanwhile."""

from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum

from pipeline.core.snapshot import BUDGET_REACHED, PERSON_PAUSED, RunSnapshot, RunState

STORAGE = "storage: "
"""How the reason of a pause begins that the disk is the cause of."""

OUT_OF_REACH_MS = 30_000
"""A paused run waits this long for generations that the API can't be asked about, then leaves them for later."""


class Held(StrEnum):
    """What a run is held by."""

    PAUSED = "paused"
    BUDGET = "budget"
    STORAGE = "storage"
    INTERRUPTED = "interrupted"


KEYLESS_S = 120.0
"""A run may be without a worker that holds its key for so long, while all of them are started anew."""

EXIT_CODES = {Held.PAUSED: 4, Held.BUDGET: 3, Held.STORAGE: 5, Held.INTERRUPTED: 130}


@dataclass(frozen=True, slots=True)
class Hold:
    """One run that is held; `reason` is for people."""

    by: Held
    reason: str

    @property
    def exit_code(self) -> int:
        """What `vidbatch run` ends with."""
        return EXIT_CODES[self.by]


KEYLESS = Hold(
    Held.PAUSED,
    "no worker that sends and polls holds the run's API key: start one with it or, where another key took its place, "
    "give the run's command again with that one",
)


def hold_of(run: RunSnapshot) -> Hold | None:
    """What keeps a run from its end until somebody acts; nothing while it goes on, or waits for who paused it."""
    if run.state is RunState.FINISHED or run.all_ended:
        return None
    if run.state is RunState.PAUSED and run.reason.startswith(STORAGE):
        return Hold(Held.STORAGE, run.reason.removeprefix(STORAGE))
    if run.state is RunState.PAUSED and not by_person(run) and (run.quiet or _only_out_of_reach(run)):
        return Hold(Held.BUDGET if run.reason.startswith(BUDGET_REACHED) else Held.PAUSED, run.reason)
    if run.account_blocked and run.submitting + run.results + run.accepted_unsaved == 0:
        ending = run.state in {RunState.CANCELLING, RunState.ABANDONING}
        if ending and (run.pending == 0 or run.account_polls or run.state is RunState.ABANDONING):
            return None
        return Hold(Held.PAUSED, run.account_blocked) if run.pending == 0 or not run.account_polls else None
    if run.state is RunState.STOPPING and run.quiet:
        return Hold(Held.INTERRUPTED, "")
    return None


def is_keyless(run: RunSnapshot, keys: Container[str]) -> bool:
    """Whether rows wait that nobody will send or ask for: `keys` are those that living senders and pollers hold."""
    waits = run.fed < run.total or run.ready + run.in_flight + run.late > 0
    over = run.state is RunState.FINISHED or run.all_ended or by_person(run)
    return waits and not over and run.key_fingerprint != "" and run.key_fingerprint not in keys


def by_person(run: RunSnapshot) -> bool:
    """Whether a person paused the run: its command then waits for that person."""
    return run.state is RunState.PAUSED and run.reason == PERSON_PAUSED


def _only_out_of_reach(run: RunSnapshot) -> bool:
    waits = run.submitting + run.results + run.accepted_unsaved
    return waits == 0 and (run.polls_held or 0 < run.trouble_since_ms < run.now_ms - OUT_OF_REACH_MS)
