"""What has happened to runs, accounts and roles between two looks at the ledger, in words for an operator's log.

A pure function of what was seen: the log is written where the looks are made.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.media_roots import covers
from pipeline.core.snapshot import RunSnapshot, RunState
from pipeline.core.tickets import Capacity, Role
from pipeline.core.waiting import waits_for

PROGRESS_MS = 60_000
"""How often a run that is at work tells how it stands."""

THROTTLED_MS = 10_000
"""An account that is held back again and again says so this often."""

UNSERVED_MS = 10_000
"""A role that nobody serves for so long is told: workers that are replaced leave and come."""

INFO, WARNING, ERROR = "info", "warning", "error"


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of the log: its event, how bad it is, and what there is to say."""

    event: str
    level: str
    message: str
    fields: Mapping[str, Any]


@dataclass(slots=True)
class _AccountHeard:
    until_ms: int = 0
    told_ms: int = 0
    times: int = 0
    blocked: str = ""


@dataclass(slots=True)
class Chronicle:
    """What was seen and told before. Begin a new one when the looks begin anew."""

    _runs: dict[str, RunSnapshot] = field(default_factory=dict)
    _progress: dict[str, tuple[int, int]] = field(default_factory=dict)
    _accounts: dict[str, _AccountHeard] = field(default_factory=dict)
    _unserved: dict[str, tuple[int, bool]] = field(default_factory=dict)
    _looked: bool = False

    def __call__(self, runs: Sequence[RunSnapshot], capacity: Capacity) -> list[Happening]:
        """What is new."""
        news = [one for run in runs for one in self._of_run(run)]
        news += [one for run in runs for one in self._of_account(run)]
        news += self._of_roles(runs, capacity)
        self._runs = {run.run_id: run for run in runs}
        self._progress = {run_id: told for run_id, told in self._progress.items() if run_id in self._runs}
        self._looked = True
        return news

    def _of_run(self, run: RunSnapshot) -> Iterator[Happening]:
        before = self._runs.get(run.run_id)
        if before is None and run.state is not RunState.FINISHED:
            event = "run_opened" if self._looked else "run_seen"
            yield Happening(event, INFO, f"{run.run_id} is {run.state}, {run.total:,} rows", _standing(run))
        if (before.state if before else RunState.RUNNING) is not run.state:
            yield from _of_state(run, before)
        yield from self._of_progress(run)

    def _of_progress(self, run: RunSnapshot) -> Iterator[Happening]:
        """From the first look on: a run that is over within a minute has nothing to tell."""
        since, ended = self._progress.setdefault(run.run_id, (run.now_ms, run.ended))
        if run.now_ms < since:
            self._progress[run.run_id] = run.now_ms, run.ended  # the server's clock was put back
        elif run.now_ms - since >= PROGRESS_MS and run.state not in {RunState.FINISHED, RunState.PAUSED}:
            self._progress[run.run_id] = run.now_ms, run.ended
            minute = round((run.ended - ended) * 60_000 / (run.now_ms - since))
            waits = waits_for(run, "")
            waiting = f"; it waits for {waits}" if waits else ""
            fields = _standing(run) | {
                "rows_per_minute": minute,
                "bound": run.bound or None,
                "waits_for": waits or None,
            }
            yield Happening("run_progress", INFO, f"{run.ended:,} of {run.total:,} rows have ended{waiting}", fields)

    def _of_account(self, run: RunSnapshot) -> Iterator[Happening]:
        if run.state is RunState.FINISHED:
            return
        heard = self._accounts.setdefault(run.account, _AccountHeard())
        fields: dict[str, Any] = {"account": run.account}
        if run.account_blocked != heard.blocked:
            heard.blocked = run.account_blocked
            if run.account_blocked:
                polls = "polling goes on" if run.account_polls else "nothing is polled either"
                message = f"the account is refused, and nothing is sent: {run.account_blocked}; {polls}"
                yield Happening("account_blocked", ERROR, message, fields)
            else:
                yield Happening("account_unblocked", INFO, "the account is tried again", fields)
        if run.account_wait_until_ms > max(run.now_ms, heard.until_ms):
            heard.times += 1
            if not 0 <= run.now_ms - heard.told_ms < THROTTLED_MS:
                wait_s = round((run.account_wait_until_ms - run.now_ms) / 1000, 1)
                trouble = f": {run.trouble}" if run.trouble else ""
                fields |= {"run": run.run_id, "wait_s": wait_s, "times": heard.times}
                yield Happening("throttled", WARNING, f"the account waits for {wait_s:g} s{trouble}", fields)
                heard.told_ms, heard.times = run.now_ms, 0
        heard.until_ms = run.account_wait_until_ms

    def _of_roles(self, runs: Sequence[RunSnapshot], capacity: Capacity) -> Iterator[Happening]:
        living = [run for run in runs if run.state is not RunState.FINISHED]
        if not living:
            return
        now_ms = living[0].now_ms
        lacks = dict(_lacks(living, capacity))
        for lack, (since, told) in list(self._unserved.items()):
            if lack not in lacks:
                del self._unserved[lack]
                if told:
                    yield Happening("role_served", INFO, f"no longer so: {lack}", {})
            elif not told and now_ms - since >= UNSERVED_MS:
                self._unserved[lack] = since, True
                yield Happening("role_unserved", WARNING, lack, lacks[lack])
        for lack in lacks:
            self._unserved.setdefault(lack, (now_ms, False))


def _of_state(run: RunSnapshot, before: RunSnapshot | None) -> Iterator[Happening]:
    fields = _standing(run) | {"reason": run.reason or None}
    match run.state:
        case RunState.PAUSED:
            yield Happening("run_paused", WARNING, f"the run pauses: {run.reason or 'no reason was given'}", fields)
        case RunState.RUNNING if before is not None:
            yield Happening("run_resumed", INFO, "the run goes on", fields)
        case RunState.STOPPING | RunState.CANCELLING | RunState.ABANDONING:
            reason = f": {run.reason}" if run.reason else ""
            yield Happening("run_state", INFO, f"the run is {run.state}{reason}", fields)


def _standing(run: RunSnapshot) -> dict[str, Any]:
    """How a run stands, in figures."""
    return {
        "run": run.run_id,
        "state": run.state.value,
        "rows": run.total,
        "outcomes": {outcome.value: count for outcome, count in run.outcomes.items() if count},
        "in_flight": run.in_flight,
        "tokens": run.prompt_tokens + run.completion_tokens,
        "cost": round(run.cost, 6) if run.cost else None,
        "account": run.account or None,
    }


def _lacks(runs: Sequence[RunSnapshot], capacity: Capacity) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What no living worker does for these runs, and of which runs it is told."""
    for role in Role:
        if not capacity.shifts.get(role, 0):
            yield f"no worker serves {role}: start one with `vidbatch worker --roles {role}`", {"role": role.value}
    if not any(capacity.shifts.get(role, 0) for role in (Role.SUBMIT, Role.POLL)):
        return
    for run in runs:
        known = capacity.keys is None or not run.key_fingerprint or run.key_fingerprint in capacity.keys
        if not known:
            yield f"no worker holds the API key of {run.run_id}: start one with it", {"run": run.run_id}
        elif run.media_roots and not any(covers(own, run.media_roots) for own in capacity.roots or ((),)):
            yield f"no worker may read the files of {run.run_id}: start one with its --media-root", {"run": run.run_id}
