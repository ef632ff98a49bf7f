"""What `doctor` makes of a fleet and of this machine: whether there are hands for a run, and what they need."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.core.checkup import Finding, error, ok, warning
from pipeline.core.schedules import Book, Firing
from pipeline.core.tickets import Role

PILED_UP = 3
"""Tickets that wait for each shift that could take one; the heartbeat issues no more than two."""

FILES_OF_STREAMS = 2_600
"""Open files of a process that follows as many streams as it may."""

FILES = 400
"""The same where answers are polled for."""

TOO_FEW_FILES = 100


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A living worker. `ours` says whether it is of this version: of another's only the name is known."""

    name: str
    ours: bool
    roles: tuple[str, ...] = ()
    shifts: Mapping[str, int] = field(default_factory=dict)
    """Shifts at a time by role."""
    keys: tuple[str, ...] = ()
    media_roots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FleetFacts:
    """Who is at work on a Redis server."""

    workers: Sequence[WorkerSeen]
    heartbeat: str = ""
    """Whose heartbeat acts; empty when nobody's does."""
    heartbeat_age_s: float = 0.0
    queued: Mapping[str, int] = field(default_factory=dict)
    """Tickets that wait, by role."""
    key: str = ""
    """The fingerprint of the key that we were given; empty without one."""


def of_fleet(facts: FleetFacts) -> Iterator[Finding]:
    """Everything that is to be said of the workers."""
    ours = [worker for worker in facts.workers if worker.ours]
    yield from _versions(facts, ours)
    if not ours:
        return
    yield from _roles(ours)
    yield from _keys(facts.key, ours)
    yield from _media(ours)
    yield _heartbeat(facts)
    yield _queues(facts.queued, ours)


def _versions(facts: FleetFacts, ours: Sequence[WorkerSeen]) -> Iterator[Finding]:
    others = [worker.name for worker in facts.workers if not worker.ours]
    if not facts.workers:
        yield error("workers", "none is running", "start some with `vidbatch worker`")
    elif not ours:
        found = f"{len(others)}, all of another version of vidbatch"
        yield error("workers", found, "replace them by workers of this version")
    elif others:
        found = f"{len(ours)}, and {len(others)} of another version: {_listed(others)}"
        yield warning("workers", found, "replace those of the other version once its runs are finished")
    else:
        yield ok("workers", f"{len(ours)}: {_listed([worker.name for worker in ours])}")


def _roles(ours: Sequence[WorkerSeen]) -> Iterator[Finding]:
    counts = {role.value: sum(role in worker.roles for worker in ours) for role in Role}
    missing = [role for role, count in counts.items() if not count]
    if missing:
        todo = f"start one with `vidbatch worker --roles {','.join(missing)}`"
        yield error("roles", f"nobody serves {', '.join(missing)}", todo)
    else:
        yield ok("roles", ", ".join(f"{count} for {role}" for role, count in counts.items()))


def _keys(key: str, ours: Sequence[WorkerSeen]) -> Iterator[Finding]:
    asking = [worker for worker in ours if {Role.SUBMIT.value, Role.POLL.value} & set(worker.roles)]
    held = {role for worker in asking if key in worker.keys for role in worker.roles}
    if not asking:
        return
    without = [worker.name for worker in asking if not worker.keys]
    if key and not {Role.SUBMIT.value, Role.POLL.value} <= held:
        todo = "start workers with the same VIDBATCH_API_KEY, or give a command theirs"
        yield error("workers' keys", "none that submits and polls holds the key that you gave", todo)
    elif without:
        found = f"{len(without)} to submit or poll without a key: {_listed(without)}"
        yield warning("workers' keys", found, "give them VIDBATCH_API_KEY_FILE, or other roles")
    else:
        others = len({one for worker in asking for one in worker.keys} - {key})
        beside = f"; {others} other {'key is' if others == 1 else 'keys are'} there, too" if others else ""
        yield ok("workers' keys", f"yours is held{beside}" if key else f"{others} at work; you gave none")


def _media(ours: Sequence[WorkerSeen]) -> Iterator[Finding]:
    """Only where some have any: most send URLs and read no file."""
    senders = [worker for worker in ours if Role.SUBMIT.value in worker.roles]
    roots = {worker.media_roots for worker in senders}
    if len(roots) > 1:
        lacking = [worker.name for worker in senders if worker.media_roots != max(roots, key=len)]
        found = f"those that submit differ, and so does who may send a file: see {_listed(lacking)}"
        yield warning("media roots", found, "give all of them the same --media-root")
    elif any(roots):
        yield ok("media roots", ", ".join(next(iter(roots))))


def _heartbeat(facts: FleetFacts) -> Finding:
    if not facts.heartbeat:
        todo = "look again in a few seconds; if it stays so, see the workers' logs for tick_failed and redis_away"
        return warning("heartbeat", "nobody's acts: no tickets are issued", todo)
    return ok("heartbeat", f"{facts.heartbeat} acts, {facts.heartbeat_age_s:.1f} s ago")


def _queues(queued: Mapping[str, int], ours: Sequence[WorkerSeen]) -> Finding:
    shifts = {role.value: sum(worker.shifts.get(role, 0) for worker in ours) for role in Role}
    piled = [role for role, count in queued.items() if count > PILED_UP * max(1, shifts.get(role, 0))]
    found = ", ".join(f"{count} for {role}" for role, count in queued.items() if count) or "no ticket waits"
    if piled:
        todo = "see the logs of the workers that serve it, and restart those that stand still"
        return warning("queues", f"{found}: tickets for {', '.join(piled)} are not taken up", todo)
    return ok("queues", found)


def _listed(names: Sequence[str]) -> str:
    most = 4
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def of_schedules(seen: Sequence[tuple[Book, Firing | None]]) -> Iterator[Finding]:
    """Whether nights went well, by the last firing of each schedule that is over."""
    failed = [(book.schedule.name, last) for book, last in seen if last is not None and last.exit_code]
    for name, last in failed:
        found = f"{name}: its last firing ended with {last.exit_code}{f', {last.said}' if last.said else ''}"
        yield warning("schedules", found, f"see `vidbatch schedule history {name}`")
    if seen and not failed:
        paused = sum(book.schedule.paused for book, _ in seen)
        yield ok("schedules", f"{len(seen)}, none of which ended badly{f'; {paused} paused' if paused else ''}")


def of_addresses(unsealed: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    """Runs, with their addresses, to which nobody who holds the key said that it may be sent: workers leave them."""
    for run_id, base_url in unsealed:
        found = f"run {run_id} asks {base_url}, which nobody who holds your key has sealed: it is not served"
        todo = "give its command again; if the address is none of yours, somebody else writes to this Redis"
        yield error("addresses", found, todo)


def of_spill(waiting: int, folder: str) -> Iterator[Finding]:
    """Whether this machine keeps what Redis could not be told."""
    if waiting:
        found = f"{waiting} {'file' if waiting == 1 else 'files'} in {folder}: steps that Redis was not told"
        todo = "start a worker of this machine with the Redis and the state folder of then: it tells them"
        yield warning("spilled steps", found, todo)


def of_files(most: int) -> Finding:
    """Whether a worker that is started here may open as many connections as it needs."""
    found, todo = f"a process may have {most:,}", "raise it, as with `ulimit -n 4096`, before workers are started"
    if most < TOO_FEW_FILES:
        return error("open files", found, todo)
    if most < FILES:
        return warning("open files", f"{found}, and a worker wants {FILES}", todo)
    many = f": enough, but for --mode stream, which wants {FILES_OF_STREAMS:,}" if most < FILES_OF_STREAMS else ""
    return ok("open files", f"{found}{many}")
