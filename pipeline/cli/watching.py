"""Follow a run until it ends or a person is needed, and say in which way it stopped."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from pipeline.cli.interrupts import Interrupts
from pipeline.core.errors import LedgerUnavailable
from pipeline.core.holds import by_person, hold_of
from pipeline.core.lead import LEAD_S, lead_lock
from pipeline.core.media_roots import covers
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.edges.redis_keys import LEDGER_VERSION
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
    BUDGET = "budget"
    """A cap was reached: a higher one goes on."""
    STORAGE = "storage"
    LEFT = "left"
    """A second view of the run was closed; the run goes on."""
    ORPHANED = "orphaned"
    """The command that led the run is gone, and this one leads now."""


DETACHED = "detached"
"""The reason of a command that left its run to the fleet as it was told to."""


@dataclass(frozen=True, slots=True)
class Stop:
    """How the run stands as the command ends; `reason` is for the person."""

    why: Stopped
    run: RunSnapshot | None
    reason: str = ""


async def _nothing() -> None:
    """Nothing is to be done."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What following a run needs: `show` draws a snapshot, `say` prints a line, `each_look` supervises workers.

    `leads` is false for a second view, which changes nothing about the run; it leads once nobody else does, after what
    is due `before_lead`, unless it never `takes_over`. What a snapshot brings of `news` is said.
    """

    run_id: str
    key_fingerprint: str
    holder: str
    show: Callable[[RunSnapshot], None]
    say: Callable[[str], None]
    each_look: Callable[[], None]
    interrupts: Interrupts
    leads: bool = True
    news: Callable[[RunSnapshot], str | None] = lambda _run: None
    takes_over: bool = True
    before_lead: Callable[[], Awaitable[None]] = _nothing
    media_roots: tuple[str, ...] = ()


async def follow(watch: Watch, ledger: Ledger, clock: Clock) -> Stop:
    """Look at the run until it stops. LedgerUnavailable when Redis stays away."""
    look = _Look(watch, ledger, clock)
    while True:
        watch.each_look()
        stop = await look()
        if stop is not None:
            return stop
        await clock.sleep(LOOK_S)


class _Look:
    """One look at the run, and what was said before."""

    def __init__(self, watch: Watch, ledger: Ledger, clock: Clock) -> None:
        self._watch = watch
        self._ledger = ledger
        self._clock = clock
        self._started = self._seen = clock.monotonic()
        self._said: set[str] = set()
        self._met = False

    async def __call__(self) -> Stop | None:
        watch = self._watch
        try:
            run = await self._ledger.snapshot(watch.run_id)
            if watch.takes_over and run is not None and not run.led:
                await watch.before_lead()
            leads = watch.takes_over and await self._ledger.lock(lead_lock(watch.run_id), watch.holder, LEAD_S)
            self._seen = self._clock.monotonic()
        except LedgerUnavailable as error:
            return self._away(error)
        if run is None:
            return self._not_there(leads=leads)
        self._met = True
        watch.show(run)
        if (news := watch.news(run)) is not None:
            watch.say(news)
        if leads and not watch.leads:
            return Stop(Stopped.ORPHANED, run)
        stop = await self._interrupted(run) or stopped(run)
        if stop is None:
            await self._tell_if_lonely()
        return stop

    def _not_there(self, *, leads: bool) -> Stop | None:
        """A run that was there is over. One that was not yet is made by the command that leads it, or by this one."""
        watch = self._watch
        if watch.leads or self._met or not watch.takes_over:
            return Stop(Stopped.FINISHED, None)
        if leads:
            return Stop(Stopped.ORPHANED, None)
        return Stop(Stopped.LEFT, None) if watch.interrupts.count else None

    def _away(self, error: LedgerUnavailable) -> Stop | None:
        if self._watch.interrupts.count > 1:
            return Stop(Stopped.INTERRUPTED, None, "left while Redis was away")
        if self._clock.monotonic() - self._seen > AWAY_S:
            raise LedgerUnavailable(f"Redis has been away for {AWAY_S:.0f} s: {error}") from error
        return None

    async def _interrupted(self, run: RunSnapshot) -> Stop | None:
        count = self._watch.interrupts.count
        if count and not self._watch.leads:
            return Stop(Stopped.LEFT, run)
        if count > 1:
            return Stop(Stopped.INTERRUPTED, run, "left at once; the workers finish what they have in hand")
        if count and self._once("stopping"):
            self._watch.say(
                "stopping: nothing more is sent; waiting for what was sent "
                f"({run.in_flight} in flight; Ctrl-C again leaves at once)"
            )
            if run.state is RunState.RUNNING or by_person(run):
                await self._ledger.set_state(self._watch.run_id, RunState.STOPPING)
        return None

    async def _tell_if_lonely(self) -> None:
        if self._clock.monotonic() - self._started > LONELY_S and self._once("lonely"):
            lack = await lacking(self._ledger, self._watch.key_fingerprint, self._watch.media_roots)
            if lack:
                self._watch.say(lack)

    def _once(self, what: str) -> bool:
        new = what not in self._said
        self._said.add(what)
        return new


def stopped(run: RunSnapshot) -> Stop | None:
    """Whether there is nothing left to wait for, and why."""
    if run.state is RunState.FINISHED:
        return Stop(Stopped.FINISHED, run)
    hold = hold_of(run)
    return None if hold is None else Stop(Stopped(hold.by.value), run, hold.reason)


OTHER_VERSION = "the living workers are of another version of vidbatch: replace them by workers of this one"


async def lacking(ledger: Ledger, key_fingerprint: str, media_roots: Sequence[str] = ()) -> str:
    """What the living workers lack for this run, in one sentence; nothing when they suffice.

    A run without a key's fingerprint has nothing to send or to ask for.
    """
    living = await ledger.workers()
    workers = [worker for worker in living if worker.ledger_version == LEDGER_VERSION]
    if living and not workers:
        return OTHER_VERSION
    roles = {role for worker in workers for role in worker.roles}
    missing = [role for role in ("submit", "poll", "write", "control") if role not in roles]
    if not workers:
        return "no worker is running: start some with `vidbatch worker`"
    if missing:
        return f"no worker serves {', '.join(missing)}: start one with `vidbatch worker --roles {','.join(missing)}`"
    served = {role for worker in workers if key_fingerprint in worker.key_fingerprints for role in worker.roles}
    if key_fingerprint and not served >= {"submit", "poll"}:
        return (
            "no worker holds this run's API key: start one with the same VIDBATCH_API_KEY, or, where another key took "
            "its place, give the run's command again with that one"
        )
    if media_roots and not any(
        covers(worker.media_roots, media_roots) for worker in workers if "submit" in worker.roles
    ):
        given = " ".join(f"--media-root {root}" for root in media_roots)
        return f"no worker may read this run's files: start one with {given}"
    return ""
