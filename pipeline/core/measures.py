"""What was seen of a fleet, as samples of the metrics: plain arithmetic over values, no library and no clock."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.core import counting
from pipeline.core.costs import MICRO
from pipeline.core.lifecycle import Outcome
from pipeline.core.limits import Limits, strictest
from pipeline.core.measured_runs import Labels, one_of, run_samples
from pipeline.core.notices import is_waiting
from pipeline.core.pacing import AccountSeen
from pipeline.core.schedules import OPEN, Book, Firing, FiringState
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.core.spells import LaneSeen
from pipeline.core.tickets import Role

Histogram = tuple[Sequence[tuple[str, float]], float]
Sample = tuple[str, Labels, float | Histogram]
"""A metric's name, its labels' values in order, and its value: of a histogram the counts by bound, and the sum."""

PACE_BY = ("starting", "searching", "found", "given", "tokens")
OVER = (FiringState.ENDED, FiringState.SKIPPED, FiringState.MISSED)


@dataclass(frozen=True, slots=True)
class AccountMeasured:
    """One account: how it looks, and what was counted of it."""

    seen: AccountSeen
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoreMeasured:
    """The server: its clock and the exporter's at one moment, in ms since 1970, how long it took to say something.

    `info` is what it says of itself by INFO; nothing where it may not be asked.
    """

    now_ms: int
    host_ms: int
    ping_s: float
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScheduleMeasured:
    """A schedule's book, its last firing that is over, and the last that ended."""

    book: Book
    last: Firing | None = None
    ended: Firing | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A fleet at one moment, which took `read_s` to look at.

    `workers` counts processes by role, `capacity` their shifts; `beat` is who looked after the runs last, and when.
    """

    store: StoreMeasured
    read_s: float
    runs: Sequence[RunSnapshot] = ()
    accounts: Mapping[str, AccountMeasured] = field(default_factory=dict)
    workers: Mapping[str, int] = field(default_factory=dict)
    capacity: Mapping[str, int] = field(default_factory=dict)
    others: int = 0
    queued: Mapping[str, int] = field(default_factory=dict)
    beat: tuple[str, int] | None = None
    schedules: Sequence[ScheduleMeasured] = ()


def samples(measured: Measured | None, version: str, ledger_version: int) -> Iterator[Sample]:
    """All samples; nothing seen is all that is told while Redis is away."""
    yield "vidbatch_up", (), float(measured is not None)
    yield "vidbatch_build_info", (version, str(ledger_version)), 1.0
    if measured is None:
        return
    yield from _fleet(measured)
    yield from _store(measured.store)
    for name, account in measured.accounts.items():
        runs = [run for run in measured.runs if run.account == name and run.state is not RunState.FINISHED]
        yield from _account(name, account, runs)
    for run in measured.runs:
        yield from run_samples(run)
    for schedule in measured.schedules:
        yield from _schedule(schedule)


def _fleet(seen: Measured) -> Iterator[Sample]:
    yield "vidbatch_read_seconds", (), seen.read_s
    yield "vidbatch_clock_skew_seconds", (), (seen.store.now_ms - seen.store.host_ms) / 1000
    for state in RunState:
        yield "vidbatch_runs", (state,), float(sum(run.state is state for run in seen.runs))
    for role in Role:
        yield "vidbatch_workers", (role,), float(seen.workers.get(role, 0))
        yield "vidbatch_worker_shifts", (role,), float(seen.capacity.get(role, 0))
        yield "vidbatch_tickets_waiting", (role,), float(seen.queued.get(role, 0))
    yield "vidbatch_workers_of_other_versions", (), float(seen.others)
    if seen.beat is None:
        yield "vidbatch_heartbeat_age_seconds", (), float("inf")
    else:
        yield "vidbatch_heartbeat_age_seconds", (), max(0, seen.store.now_ms - seen.beat[1]) / 1000
        yield "vidbatch_heartbeat_holder_info", (seen.beat[0],), 1.0


def _store(store: StoreMeasured) -> Iterator[Sample]:
    def number(name: str) -> float:
        return float(store.info.get(name) or 0)

    def good(name: str) -> bool:
        return str(store.info.get(name, "ok")) == "ok"

    name = "vidbatch_redis_"
    yield f"{name}ping_seconds", (), store.ping_s
    if not store.info:
        return
    yield f"{name}info", (str(store.info.get("valkey_version") or store.info.get("redis_version", "")),), 1.0
    yield f"{name}memory_bytes", (), number("used_memory")
    yield f"{name}memory_limit_bytes", (), number("maxmemory")
    evicts = store.info.get("maxmemory_policy", "noeviction") != "noeviction"
    yield f"{name}evicts", (), float(evicts and number("maxmemory") > 0)
    yield f"{name}evicted_keys_total", (), number("evicted_keys")
    yield f"{name}clients", (), number("connected_clients")
    yield f"{name}commands_total", (), number("total_commands_processed")
    yield f"{name}uptime_seconds", (), number("uptime_in_seconds")
    yield f"{name}aof_enabled", (), number("aof_enabled")
    yield f"{name}aof_bytes", (), number("aof_current_size")
    yield f"{name}aof_ok", (), float(good("aof_last_write_status") and good("aof_last_bgrewrite_status"))
    yield f"{name}aof_delayed_fsyncs_total", (), number("aof_delayed_fsync")


def _account(name: str, account: AccountMeasured, runs: Sequence[RunSnapshot]) -> Iterator[Sample]:
    yield from _counts(name, account.counts)
    seen = account.seen
    for lane, of in (("posts", seen.posts), ("polls", seen.polls)):
        yield "vidbatch_congestion_events_total", (name, lane), float(of.events)
        yield "vidbatch_claims_cut_total", (name, lane), float(of.bound)
    yield "vidbatch_account_in_flight", (name,), float(seen.in_flight)
    posts_until = max([seen.posts.event_at_ms + seen.posts.event_wait_ms, *(run.account_wait_until_ms for run in runs)])
    yield "vidbatch_account_backoff_seconds", (name, "posts"), _left(posts_until, seen.now_ms)
    yield "vidbatch_account_backoff_seconds", (name, "polls"), _left(_until(seen.polls), seen.now_ms)
    blocked = next((run for run in runs if run.account_blocked), None)
    why = "" if blocked is None else "balance" if blocked.account_polls else "key"
    yield from one_of("vidbatch_account_blocked", (name,), ("key", "balance"), why)
    given = strictest([seen.limits, *(run.limits_in_force for run in runs)])
    yield from _given(name, given)
    if runs:
        yield from _pace(name, runs[0])


def _until(lane: LaneSeen) -> int:
    return lane.event_at_ms + lane.event_wait_ms


def _left(until_ms: int, now_ms: int) -> float:
    return max(0, until_ms - now_ms) / 1000


def _counts(name: str, counts: Mapping[str, int]) -> Iterator[Sample]:
    def family(metric: str, prefix: str, words: Iterable[str]) -> Iterator[Sample]:
        for word in words:
            yield f"vidbatch_{metric}", (name, word), float(counts.get(f"{prefix}{word}", 0))

    yield from family("posts_total", counting.POST, counting.POST_ANSWERS)
    yield from family("polls_total", counting.POLL, counting.POLL_ANSWERS)
    yield from family("rows_ended_total", counting.ENDED, Outcome)
    yield from family("rows_again_total", counting.AGAIN, counting.AGAIN_WHYS)
    yield from family("tokens_total", counting.TOKENS, counting.TOKEN_KINDS)
    yield from family("token_details_total", counting.DETAIL, counting.DETAIL_KINDS)
    yield "vidbatch_posts_adopted_total", (name,), float(counts.get(counting.ADOPTED, 0))
    yield "vidbatch_possible_duplicates_total", (name,), float(counts.get(counting.DUPLICATES, 0))
    yield "vidbatch_stale_steps_total", (name,), float(counts.get(counting.STALE, 0))
    yield "vidbatch_cost_total", (name,), counts.get(counting.COST_MICRO, 0) / MICRO
    latency = counting.buckets_of(counts, counting.LATENCY, counting.LATENCY_BOUNDS)
    yield "vidbatch_generation_latency_seconds", (name,), latency
    yield "vidbatch_answer_lag_seconds", (name,), counting.buckets_of(counts, counting.LAG, counting.LAG_BOUNDS)


def _given(name: str, limits: Limits) -> Iterator[Sample]:
    for of, limit in (("posts", limits.rpm), ("polls", limits.poll_rpm), ("tokens", limits.tpm)):
        if limit is not None:
            yield "vidbatch_account_limit_per_minute", (name, of), float(limit)
    if limits.max_in_flight is not None:
        yield "vidbatch_account_in_flight_limit", (name, "given"), float(limits.max_in_flight)


def _pace(name: str, run: RunSnapshot) -> Iterator[Sample]:
    pace = run.pace
    for lane, rate, why in (("posts", pace.rate, pace.why), ("polls", pace.poll_rate, pace.poll_why)):
        if rate is not None:
            yield "vidbatch_account_pace_per_second", (name, lane), rate
        yield from one_of("vidbatch_account_pace_by", (name, lane), PACE_BY, why)
    if pace.cap is not None:
        yield "vidbatch_account_in_flight_limit", (name, "found"), float(pace.cap)


def _schedule(seen: ScheduleMeasured) -> Iterator[Sample]:
    book, name = seen.book, "vidbatch_schedule_"
    labels = (book.schedule.name,)
    yield f"{name}next_timestamp_seconds", labels, book.next_ms / 1000
    yield f"{name}paused", labels, float(book.schedule.paused)
    still = [firing for firing in book.firings if firing.is_open]
    for state in FiringState:
        if state in OPEN:
            yield f"{name}open_firings", (*labels, state), float(sum(firing.state is state for firing in still))
    yield f"{name}waits_for_person", labels, float(any(firing.exit_code is not None for firing in still))
    waiting = [notice for firing in book.firings for notice in firing.notices if is_waiting(notice)]
    yield f"{name}notices_waiting", labels, float(len(waiting))
    yield from one_of(f"{name}last_state", labels, OVER, "" if seen.last is None else seen.last.state)
    if seen.last is not None:
        yield f"{name}last_timestamp_seconds", labels, seen.last.changed_ms / 1000
    if seen.ended is not None and seen.ended.exit_code is not None:
        yield f"{name}last_exit_code", labels, float(seen.ended.exit_code)
