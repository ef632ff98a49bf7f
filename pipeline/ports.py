"""What the flows ask of the world, as Protocols. Every edge and every fake passes the same contract suite.

Nothing here does anything; values that cross a port are frozen and small.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.core.answers import QueryAnswer, SubmitAnswer
from pipeline.core.budget import Budget, Reservation, Settled
from pipeline.core.costs import Price
from pipeline.core.ends import Columns
from pipeline.core.judging import Judging
from pipeline.core.late import LateId
from pipeline.core.lifecycle import State
from pipeline.core.limits import Limits
from pipeline.core.measures import StoreMeasured
from pipeline.core.observations import Observed
from pipeline.core.pacing import AccountSeen, Pace
from pipeline.core.policy import Policy
from pipeline.core.receipt import Found
from pipeline.core.records import Ending, RowRecord
from pipeline.core.recovery import Ended
from pipeline.core.requests import Request
from pipeline.core.rows import Rows
from pipeline.core.schedules import Book, Firing, Schedule
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.core.spilling import SpillHead
from pipeline.core.steps import Step
from pipeline.core.summary import Totals


class Api(Protocol):
    """The remote API. No method raises for anything that the network or the API does."""

    async def submit(self, body: bytes) -> SubmitAnswer:
        """One POST, at most one request on the wire."""

    async def query(self, generation_id: str) -> QueryAnswer:
        """Ask once for a generation."""
        ...

    async def follow(self, generation_id: str, stream: str = "") -> QueryAnswer:
        """Follow a generation's stream to its end, from its start; `stream` is its path, where not the usual one.

        Running where it can't be followed, or not to its end: it is to be asked for then.
        """


class Uploads(Protocol):
    """Which files were uploaded by an account, and who uploads one. LedgerUnavailable when away."""

    async def find(self, account: str, digest: str) -> str | None:
        """Where a file lies that was uploaded and is still kept there."""

    async def keep(self, account: str, digest: str, url: str, seconds: float) -> None:
        """Remember for so long where a file lies."""

    async def take(self, account: str, digest: str, holder: str, seconds: float) -> bool:
        """Be the one who uploads a file, or go on being it; False while another is."""
        ...

    async def release(self, account: str, digest: str, holder: str) -> None:
        """Be it no longer."""


class Seals(Protocol):
    """Seals of addresses, by the fingerprint of the key that made them. LedgerUnavailable when away.

    Others may write there, too: only who holds the key knows which of them hold.
    """

    async def keep(self, fingerprint: str, base_url: str, seal: str) -> None:
        """Keep the seal of an address."""

    async def find(self, fingerprint: str, base_url: str) -> str | None:
        """The seal of an address, if there is one."""

    async def every(self, fingerprint: str) -> Mapping[str, str]:
        """All seals under a fingerprint, by address."""
        ...


class Store(Protocol):
    """The server that keeps the ledger, looked at from outside."""

    async def measured(self) -> StoreMeasured:
        """How fast it answers, its clock beside ours, and what it says of itself. LedgerUnavailable when away."""
        ...

    async def queued(self, role: str) -> int:
        """Tickets that wait in a role's queue."""
        ...


class Schedules(Protocol):
    """What is kept of schedules. Every method is one atomic step; LedgerUnavailable when Redis is away."""

    async def now_ms(self) -> int:
        """The server's time, ms since 1970."""
        ...

    async def books(self) -> list[Book]:
        """Every schedule's book, by name; those that a newer version keeps are left to it."""
        ...

    async def foreign(self) -> list[str]:
        """Names of schedules that a newer version keeps."""
        ...

    async def book(self, name: str) -> Book | None:
        """One schedule's book. LedgerMismatch where a newer version keeps it."""
        ...

    async def put(self, name: str, before: int | None, after: Book | None, over: Sequence[Firing] = ()) -> bool:
        """Replace a book whose revision is still `before`; False, and nothing changed, where it is not.

        `before` is nothing where there is to be none yet, `after` where it is removed, with its history. `over` are
        firings that the history is to have from now on: the newest of each id is kept.
        """
        ...

    async def history(self, name: str, limit: int) -> list[Firing]:
        """Firings that are over, newest first."""
        ...


@dataclass(frozen=True, slots=True)
class Launched:
    """What a scheduled command came to: handed over to the fleet with a run's id, or over with an exit code."""

    exit_code: int | None
    run_id: str = ""
    out: str = ""
    said: str = ""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """What OUT says of a run: how it ended, with an exit code; or that it goes on; or that it is not `known` there."""

    known: bool
    exit_code: int | None = None
    said: str = ""
    summary: Mapping[str, object] | None = None


class Launcher(Protocol):
    """Gives a schedule's command, as a person would, and reads how its run ended. Neither raises."""

    async def launch(self, schedule: Schedule, firing_id: str, arguments: Sequence[str]) -> Launched:
        """Give `vidbatch run ARGUMENTS --yes --detach` in the schedule's folder, and wait until it returns.

        Given again for the same firing it begins no second run. Where it is cancelled, the command is ended first.
        """
        ...

    async def ended(self, folder: str, run_id: str, out: str) -> RunEnd:
        """What OUT, from the schedule's folder, says of a run."""
        ...


class Messenger(Protocol):
    """Sends signed messages to a schedule's URL. Neither method raises."""

    def trouble(self) -> str:
        """Why nothing could be sent from here, such as a secret that is missing; empty where it could."""
        ...

    async def send(self, url: str, message_id: str, sent_at_s: int, body: bytes) -> str:
        """Send one message, once, within 10 s. Why it did not arrive; empty where it did."""
        ...


class Clock(Protocol):
    """Seconds that only ever grow, and sleeping; simulated in tests."""

    def monotonic(self) -> float:
        """Seconds since some moment."""

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""


@dataclass(frozen=True, slots=True)
class RunCard:
    """What a worker must know of a run. Never a secret: the key is told by its fingerprint only."""

    run_id: str
    account: str
    base_url: str
    key_fingerprint: str
    out: str
    token: str
    """Random, also in `run.json`: a worker whose OUT does not hold it must not write there."""
    epoch: str
    total: int
    policy: Policy
    detached: bool = True
    """Whether rows may be sent while no command leads the run."""
    limits: Limits = Limits()
    """What this run's person allows the account."""
    budget: Budget = Budget()
    priority: int = 10
    """The run's share of the account's limits, against other runs that want them, too."""
    models: tuple[str, ...] = ()
    prices: Mapping[str, Price] = field(default_factory=dict)
    answers: Mapping[str, Any] = field(default_factory=dict)
    """What run.json says of the schema of its answers; nothing where they have none, or are never asked for again."""
    api: str = "foxapi"
    """Which API is spoken at `base_url`."""
    media_roots: tuple[str, ...] = ()
    """Folders of the videos that are files: a worker that may not read them all sends nothing of the run."""
    inline: bool = False
    """Whether the run's own folder holds videos: who sends its rows must see it."""


@dataclass(frozen=True, slots=True)
class FedRow:
    """A row as it enters the ledger; a known record where a run is resumed from disk.

    `lost` is a row that may have been sent, and that nobody answers for: it is taken up as a dead worker's. `late` are
    generations that are asked for beside it.
    """

    row_index: int
    body: bytes
    record: RowRecord | None = None
    lost: bool = False
    late: tuple[LateId, ...] = ()

    @property
    def place(self) -> str:
        """Where it enters: ready, again (ready after one lease), pending or lost."""
        if self.lost:
            return "lost"
        if self.record is None:
            return "ready"
        return "again" if self.record.generation_id is None else "pending"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A row in hand: nobody else's until the lease runs out. `token` fences late workers.

    For a row taken over from a dead worker, `before` is that worker's token and `claimed_at_ms` the time of its claim.
    """

    row_index: int
    token: str
    record: RowRecord
    body: bytes = b""
    claimed_at_ms: int = 0
    before: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one claim brought. `wait_ms` is the time until a further claim may bring more; `bound` says why."""

    rows: tuple[Claimed, ...]
    now_ms: int
    troubles: int = 0
    wait_ms: int = 0
    bound: str = ""


@dataclass(frozen=True, slots=True)
class RowSeen:
    """Where a row stands, without touching it; no state before it was fed, and after it left the ledger."""

    state: State | None
    record: RowRecord


@dataclass(frozen=True, slots=True)
class LateClaim:
    """Late ids to be asked for, and the server's time in ms since 1970.

    After `wait_ms` more of those that are due may be asked for; 0 where no more are due.
    """

    ids: tuple[LateId, ...]
    now_ms: int
    wait_ms: int = 0


@dataclass(frozen=True, slots=True)
class Commit:
    """One row's step, under its claim token."""

    row_index: int
    token: str
    step: Step


@dataclass(frozen=True, slots=True)
class Batch:
    """A noted range of results or accepted ids: the same range is given again until it is acknowledged."""

    start: int
    items: tuple[bytes, ...]

    @property
    def end(self) -> int:
        """One past the last item's number."""
        return self.start + len(self.items)


class Ledger(Protocol):
    """The truth about rows in flight. Every method is one atomic step; LedgerUnavailable when Redis is away."""

    async def open_run(
        self,
        card: RunCard,
        *,
        recover_until: int,
        ended: Mapping[str, int],
        done: Rows,
        state: RunState = RunState.RUNNING,
        settled: Settled = Settled(),
    ) -> bool:
        """Make the run's ledger; False when it is there already.

        What an earlier ledger left on disk: the rows below `recover_until` may have been sent, `done` are those that
        ended, `ended` counts them by outcome, `settled` is what their POSTs used.
        """

    async def card(self, run_id: str) -> RunCard | None:
        """The run's card, or nothing when the ledger does not know the run."""

    async def active_runs(self) -> list[str]:
        """Ids of the runs that are not forgotten, oldest first."""

    async def set_state(
        self, run_id: str, state: RunState, reason: str = "", *, only_from: RunState | None = None
    ) -> bool:
        """Change what the run is doing, if it is doing `only_from`; whether it was changed. The reason is for people.

        A finished run stays so, and one that a person ends is not gone on with.
        """
        ...

    async def reopen(self, card: RunCard, state: RunState = RunState.RUNNING) -> None:
        """Continue a run with this account, address and policy, whatever stopped it; the account's block is lifted."""

    async def forget(self, run_id: str) -> None:
        """Remove all of a finished run."""

    async def feed(self, run_id: str, cursor: int, until: int, rows: Sequence[FedRow]) -> bool:
        """Push rows and move the feed cursor from `cursor` to `until`; False, and nothing pushed, when it moved."""

    async def clock_went_back(self, run_id: str, jump_ms: int = 0) -> int:
        """Put the run's times back with the server's clock, which jumped so far; how many there were.

        Where nobody knows how far, what lies further ahead than any wait is due at once. A lease is never cut below a
        whole one, so that the living renew first; to be told of one jump twice only makes waits shorter.
        """
        ...

    async def account_clock_went_back(self, account: str, jump_ms: int = 0) -> int:
        """The same for an account, whose waits and past its runs share: once for each jump."""
        ...

    async def claim_submit(self, run_id: str, holder: str, limit: int) -> Claim:
        """Claim rows that may be sent now, together with their permits."""

    async def unclaim(self, run_id: str, holder: str, held: Sequence[int]) -> int:
        """Give back rows that `holder` was given to send and never heard of, since a claim's reply was lost.

        `held` are the rows that it does have in hand; how many were given back.
        """
        ...

    async def claim_polls(self, run_id: str, holder: str, limit: int) -> Claim:
        """Claim rows whose next poll is due."""

    async def claim_lapsed(self, run_id: str, holder: str, limit: int) -> Claim:
        """Take over rows whose POST nobody answers for any more; `claimed_at_ms` tells when it was begun."""

    async def take_ready(self, run_id: str, holder: str, row_index: int) -> Claimed | None:
        """Take one row out of `ready`, to adopt a late id; nothing when it is elsewhere."""

    async def put_back(self, run_id: str, row: Claimed) -> None:
        """Return a row of `take_ready` unchanged."""

    async def commit(self, run_id: str, commits: Sequence[Commit]) -> list[bool]:
        """Apply steps in one group; False for each whose token is stale: it changed nothing."""

    async def cancel_ready(self, run_id: str, limit: int, ending: Ending) -> int:
        """End rows that are ready, whatever they wait for, while the run is cancelling; how many ended."""
        ...

    async def abandon_pending(self, run_id: str, limit: int, ending: Ending) -> int:
        """End rows that are pending, and forget the late ids, while the run is abandoning; how many rows ended."""
        ...

    async def note_late(self, run_id: str, late: LateId) -> bool:
        """Keep, count and queue an accepted id whose row went on without it: it was paid for.

        Nothing happens where it is the id that the row went on with: a group's answer was lost, and it came twice.
        False when the ledger can't keep it, since the run is finished or forgotten.
        """
        ...

    async def claim_late(self, run_id: str, limit: int) -> LateClaim:
        """Late ids that are due to be asked for; nobody else gets them for half a minute."""

    async def settle_late(
        self,
        run_id: str,
        before: LateId,
        after: LateId,
        wait_ms: int,
        used: Settled = Settled(),
        *,
        throttled: bool = False,
    ) -> None:
        """Ask for a late id again after `wait_ms`, or, if `after` has an ending, save that and forget it.

        `used` is added to what the run spent, once. A poll that was `throttled` holds the account's polls back.
        """

    async def renew(self, run_id: str, state: State, rows: Mapping[int, str]) -> None:
        """Extend the leases of rows (index → token) that are still in hand."""

    async def results(self, run_id: str, limit: int) -> Batch:
        """Note and return the oldest results."""

    async def results_written(self, run_id: str, batch: Batch) -> bool:
        """Forget a batch that is safely on disk; False when another writer did so before."""

    async def accepted_ids(self, run_id: str, limit: int) -> Batch:
        """Note and return the oldest accepted ids that are not on disk yet."""

    async def accepted_saved(self, run_id: str, batch: Batch) -> bool:
        """Forget a batch of ids that is safely on disk."""

    async def snapshot(self, run_id: str) -> RunSnapshot | None:
        """What the run looks like now; nothing for an unknown run."""

    async def row_seen(self, run_id: str, row_index: int) -> RowSeen:
        """Where one row stands, for whoever watches it."""
        ...

    async def account_seen(self, account: str) -> AccountSeen:
        """What an account looks like now."""
        ...

    async def set_pace(self, account: str, found: bytes, pace: Pace) -> None:
        """Have all claims of the account's runs keep to this pace from now on; `found` is kept for the next finder."""

    async def observed(self, account: str) -> list[Observed]:
        """What the account's last ended generations told, oldest first."""
        ...

    async def account_limits(self, account: str) -> Limits:
        """What a person gave to the account itself, for all of its runs."""
        ...

    async def set_account_limits(self, account: str, limits: Limits) -> None:
        """Replace the account's own limits."""

    async def account_counts(self, account: str) -> Mapping[str, int]:
        """What was counted of an account for whoever watches, by the names of `core.counting`; it only ever grows."""
        ...

    async def accounts(self) -> list[str]:
        """Accounts that are known, by name."""
        ...

    async def set_limits(self, run_id: str, limits: Limits) -> bool:
        """Replace the limits that a run was given; False for an unknown run."""
        ...

    async def set_budget(self, run_id: str, budget: Budget) -> bool:
        """Replace the caps of a run, from its next claim on; False for an unknown run."""
        ...

    async def set_reservation(self, run_id: str, reservation: Reservation) -> None:
        """What one row in flight of this run reserves of its budget from now on."""

    async def set_timetables(self, run_id: str, packed: bytes) -> None:
        """When to poll, by model, as `core.timetable` packs it."""

    async def timetables(self, run_id: str) -> bytes:
        """What `set_timetables` left; empty before."""
        ...

    async def begin_shift(self, run_id: str, role: str, holder: str, most: int) -> bool:
        """Register a live shift; False when `most` are live already."""

    async def renew_shift(self, run_id: str, role: str, holder: str) -> None:
        """Say that a shift is still at work."""

    async def end_shift(self, run_id: str, role: str, holder: str) -> None:
        """Say that a shift is over."""

    async def note_ticket(self, run_id: str, role: str, ticket: str) -> None:
        """Remember for a few seconds that a ticket is on its way."""

    async def register_worker(self, worker: "WorkerCard") -> None:
        """Say that a worker is alive; forgotten after a few seconds."""

    async def workers(self) -> list["WorkerCard"]:
        """Workers that are alive."""

    async def note_beat(self, holder: str) -> None:
        """Say that the acting heartbeat looked after all runs just now."""

    async def last_beat(self) -> "Beat | None":
        """Who looked after the runs last, and when; nothing where nobody ever did."""

    async def lock(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a short lock; False when another holds it, from now on no longer than `seconds`."""

    async def unlock(self, name: str, holder: str) -> None:
        """Give a lock back if it is still ours."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True, slots=True)
class Beat:
    """When a heartbeat looked after all runs last, in ms since 1970 by the Redis clock, and whose it was."""

    holder: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class WorkerCard:
    """A living worker process: which roles it serves, how many shifts at a time, and whose key it holds.

    `shifts` is the most that it holds of a role, for who does not know `by_role` yet.
    """

    name: str
    roles: tuple[str, ...]
    shifts: int
    key_fingerprints: tuple[str, ...]
    ledger_version: int
    media_roots: tuple[str, ...] = ()
    """Folders whose files it may read."""
    by_role: Mapping[str, int] = field(default_factory=dict)
    """Shifts at a time of each role; empty where the worker tells one number for all."""

    def shifts_of(self, role: str) -> int:
        """How many shifts of a role it holds at a time."""
        return self.by_role.get(role, self.shifts) if role in self.roles else 0


@dataclass(frozen=True, slots=True)
class Spilled:
    """Steps of one run that a worker could not tell the ledger, as one file keeps them."""

    name: str
    head: SpillHead
    commits: tuple[Commit, ...]


class Spill(Protocol):
    """Where a machine keeps what its workers could not tell the ledger. StorageError when the disk refuses."""

    def keep(self, head: SpillHead, holder: str, commits: Sequence[Commit]) -> None:
        """Keep steps durably."""

    def names(self) -> Sequence[str]:
        """Files that wait, oldest first."""

    def held(self, name: str) -> AbstractContextManager[Spilled | None]:
        """One file, nobody else's meanwhile; nothing when another process has it, or had it."""

    def remove(self, name: str) -> None:
        """Forget a file whose steps are recorded."""

    def save_beside(self, spilled: Spilled, out: str, lines: Sequence[bytes]) -> bool:
        """Put accepted ids into the run's folder under `out`; False where that does not hold the run."""
        ...


class Requests(Protocol):
    """The planned requests of a run."""

    @property
    def total(self) -> int:
        """How many there are."""

    def read(self, position: int, count: int) -> list[Request]:
        """Up to `count` requests from a position, in order."""

    def rows(self, row_indexes: Sequence[int]) -> dict[int, Request]:
        """Requests by their row index."""

    def models(self, row_indexes: Sequence[int]) -> list[str]:
        """The models of rows that come in order. StorageError where one of them was never asked."""
        ...

    def besides(self, rows: Rows, position: int, until: int, count: int) -> Sequence[tuple[int, int]]:
        """Position and row index of the first `count` requests of a range whose row is not among these rows."""


class RunFolder(Protocol):
    """A run's files under OUT. StorageError when the disk refuses."""

    @property
    def ids_every_s(self) -> float:
        """How long accepted ids may wait to be saved, so that they are fewer files."""
        ...

    @property
    def run_id(self) -> str:
        """Whose files they are."""
        ...

    def described(self) -> dict[str, Any]:
        """`run.json`."""

    def summary(self) -> dict[str, Any] | None:
        """What the done marker says; nothing while the run is not done."""

    def requests(self) -> Requests:
        """The planned requests."""

    def holds(self, token: str) -> bool:
        """Whether this is really the run's storage: `run.json` there has the token."""

    def mark_fed(self, until: int) -> None:
        """Raise the feed's high-water mark, durably."""

    def fed(self) -> int:
        """The feed's high-water mark; 0 before the first."""

    def ended(self) -> Ended:
        """The rows whose end is on disk."""
        ...

    def open_ids(self, ended: Rows, within: range | None = None) -> Iterable[Sequence[Any]]:
        """Accepted ids on disk, late ones too, of rows that are not among these, and within this range.

        Each is [row index, generation id, accepted at µs, attempt, resubmits].
        """
        ...

    def late_ids(self) -> Mapping[int, Sequence[LateId]]:
        """By row, the ids on disk that their row went on without, with their ending where it is known."""

    def settled(self) -> Settled:
        """What the rows whose end is on disk really used."""
        ...

    def judging(self) -> Judging:
        """What judges the run's answers: by its schema, where it has one."""
        ...

    def write_part(self, epoch: str, start: int, end: int, ends: Iterable[Columns]) -> None:
        """Write ended rows durably as one part, under the name of its range; the same range again replaces itself.

        They come in the order of the manifest, and are joined with what was asked.
        """

    def save_ids(self, epoch: str, start: int, end: int, lines: Sequence[bytes]) -> None:
        """Save accepted ids durably under the name of their range."""

    def publish_early(self, stop: Callable[[], bool]) -> None:
        """Publish rows of which nothing can change any more, once there are enough; `stop` asks to leave soon."""

    def publish(self) -> Totals:
        """Publish the parts into `annotations/` and write the usage table; idempotent. What is published, in sums."""

    def found(self) -> Found:
        """What all of the run's files say, read again; what is wrong with them is told, not raised."""

    def receipt(self) -> dict[str, Any] | None:
        """The receipt; nothing while the run has none."""

    def give_receipt(self, receipt: Mapping[str, object]) -> None:
        """Write the receipt."""

    def finish(self, summary: Mapping[str, object]) -> None:
        """Write the done marker, last of all."""
