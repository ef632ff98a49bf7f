"""Follow a run until it ends or a person is needed, and say in which way it stopped."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from pipeline.core.errors import LedgerUnavailable
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.ports import Clock, Ledger

LOOK_S = 0.2
LONELY_S = 10.0
"""A run without a worker that can serve it says so after this long."""

AWAY_S = 120.0
"""Redis may be away for this long before the command gives up; the run itself stays resumable."""


class Stopped(Enum):
    """Why a command stopped following its run."""

    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    PAUSED = "paused"
    STORAGE = "storage"


@dataclass(frozen=True, slots=True)
class Stop:
    """How the run stands as the command ends; `reason` is for the person."""

    why: Stopped
    run: RunSnapshot | None
    reason: str = ""


class Interrupts:
    """What Ctrl-C asked for so far: once to stop sending, twice to leave at once."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, *_: object) -> None:
        """Count one; a signal handler."""
        self.count += 1


@dataclass(frozen=True, slots=True)
class Watch:
    """What following a run needs: `show` draws a snapshot, `say` prints a line, `each_look` supervises workers."""

    run_id: str
    key_fingerprint: str
    holder: str
    show: Callable[[RunSnapshot], None]
    say: Callable[[str], None]
    each_look: Callable[[], None]
    interrupts: Interrupts


async def follow(watch: Watch, ledger: Ledger, clock: Clock) -> Stop:
    """Look at the run until it stops. LedgerUnavailable when Redis stays away."""
    started, seen = clock.monotonic(), clock.monotonic()
    run: RunSnapshot | None = None
    told_stopping = told_lonely = False
    while True:
        watch.each_look()
        try:
            await ledger.lock(f"coordinator:{watch.run_id}", watch.holder, 10.0)
            run = await ledger.snapshot(watch.run_id)
            seen = clock.monotonic()
        except LedgerUnavailable as error:
            if clock.monotonic() - seen > AWAY_S:
                raise LedgerUnavailable(f"Redis has been away for {AWAY_S:.0f} s: {error}") from error
        if run is None:
            return Stop(Stopped.FINISHED, None)
        watch.show(run)
        if watch.interrupts.count > 1:
            return Stop(Stopped.INTERRUPTED, run, "left at once; the workers finish what they have in hand")
        if watch.interrupts.count == 1 and not told_stopping:
            told_stopping = True
            watch.say(f"stopping: nothing more is sent; waiting for {run.in_flight} rows that were asked")
            if run.state is RunState.RUNNING:
                await ledger.set_state(watch.run_id, RunState.STOPPING)
        elif stop := stopped(run):
            return stop
        if not told_lonely and clock.monotonic() - started > LONELY_S:
            told_lonely = True
            if lack := await lacking(ledger, watch.key_fingerprint):
                watch.say(lack)
        await clock.sleep(LOOK_S)


def stopped(run: RunSnapshot) -> Stop | None:
    """Whether there is nothing left to wait for, and why."""
    if run.state is RunState.FINISHED:
        return Stop(Stopped.FINISHED, run)
    if run.state is RunState.PAUSED and run.reason.startswith("storage: "):
        return Stop(Stopped.STORAGE, run, run.reason.removeprefix("storage: "))
    if run.state is RunState.PAUSED and run.quiet:
        return Stop(Stopped.PAUSED, run, run.reason)
    if run.account_blocked and run.submitting + run.results + run.accepted_unsaved == 0:
        if run.pending == 0 or not run.account_polls:
            return Stop(Stopped.PAUSED, run, run.account_blocked)
        return None
    if run.state is RunState.STOPPING and run.quiet and not run.all_ended:
        return Stop(Stopped.INTERRUPTED, run)
    return None


async def lacking(ledger: Ledger, key_fingerprint: str) -> str:
    """What the living workers lack for this run, in one sentence; nothing when they suffice."""
    workers = await ledger.workers()
    roles = {role for worker in workers for role in worker.roles}
    missing = [role for role in ("submit", "poll", "write", "control") if role not in roles]
    if not workers:
        return "no worker is running: start some with `vidbatch worker`"
    if missing:
        return f"no worker serves {', '.join(missing)}: start one with `vidbatch worker --roles {','.join(missing)}`"
    if not any(key_fingerprint in worker.key_fingerprints for worker in workers):
        return "no worker holds this run's API key: start one with the same VIDBATCH_API_KEY"
    return ""
