"""What is told of rows: of those in doubt by whoever recorded it, of all others only at DEBUG.

A run has a million rows: a line for each would cost more than the row. What stands here for each row is one comparison.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence

from pipeline.core.lifecycle import Event
from pipeline.core.steps import Step
from pipeline.ports import Commit

MOST_LINES = 20
WITHIN_S = 10.0
"""An API that is away leaves hundreds of rows in doubt within a moment; what is wrong is told by the first few."""

UNKNOWN = frozenset((Event.LOST_RESUBMIT, Event.LOST_HOLD, Event.GONE_RESUBMIT, Event.GONE_HOLD))
FAILED = frozenset((Event.FAILED_RETRY, Event.FAILED_LAST, Event.REFUSED, Event.EXPIRED))
TOLD = UNKNOWN | FAILED


class RowLog:
    """Tells of the steps of one process."""

    def __init__(self, log: logging.Logger, monotonic: Callable[[], float]) -> None:
        self._log = log
        self._monotonic = monotonic
        self._since = float("-inf")
        self._lines = 0
        self._left_out = 0
        self._failed: Counter[tuple[str, str]] = Counter()
        self._failed_told: dict[str, float] = {}

    def __call__(self, run_id: str, commits: Sequence[Commit]) -> None:
        """Tell of steps that were recorded."""
        if self._log.isEnabledFor(logging.DEBUG):
            for commit in commits:
                self._moved(run_id, commit)
        failed = False
        for commit in commits:
            if commit.step.event in TOLD:
                if commit.step.event in UNKNOWN:
                    self._unknown(run_id, commit)
                else:
                    failed = True
                    self._failed[run_id, _why(commit.step)] += 1
        if failed:
            self._tell_failed(run_id)

    def _tell_failed(self, run_id: str) -> None:
        """How many steps of a run went badly since the last such line, and which are the most."""
        now = self._monotonic()
        if now - self._failed_told.get(run_id, float("-inf")) < WITHIN_S:
            return
        self._failed_told[run_id] = now
        counts = {why: count for (run, why), count in self._failed.items() if run == run_id}
        for why in counts:
            del self._failed[run_id, why]
        most = max(counts, key=lambda why: counts[why])
        self._log.warning(
            "%d went badly, most of them: %s",
            sum(counts.values()),
            most,
            extra={"event": "rows_failed", "run": run_id, "counts": counts},
        )

    def _moved(self, run_id: str, commit: Commit) -> None:
        step = commit.step
        ending = step.ending
        self._log.debug(
            "%s: %s to %s",
            step.event.value,
            step.source.value,
            step.state.value,
            extra={
                **_of_row(run_id, commit),
                "event": "row_moved",
                "state": step.state.value,
                "wait_ms": step.wait_ms or None,
                "outcome": None if ending is None else ending.outcome.value,
                "code": None if ending is None or ending.problem is None else ending.problem.code,
            },
        )

    def _unknown(self, run_id: str, commit: Commit) -> None:
        now = self._monotonic()
        if now - self._since >= WITHIN_S:
            self._since, self._lines = now, 0
        if self._lines >= MOST_LINES:
            self._left_out += 1
            return
        self._lines += 1
        step, problem = commit.step, commit.step.trouble or (commit.step.ending and commit.step.ending.problem)
        self._log.warning(
            "%s%s",
            step.event.value,
            f": {problem.message}" if problem else "",
            extra={
                **_of_row(run_id, commit),
                "event": "row_unknown",
                "code": problem.code if problem else None,
                "left_out": self._left_out or None,
            },
        )
        self._left_out = 0


def _why(step: Step) -> str:
    """What became of a row and by which code, as far as the step tells; an attempt that failed tells no code."""
    problem = step.ending and step.ending.problem
    return f"{step.event.value} ({problem.code})" if problem else step.event.value


def _of_row(run_id: str, commit: Commit) -> dict[str, object]:
    record = commit.step.record
    ids = [attempt.generation_id for attempt in record.log if attempt.generation_id]
    generation = record.generation_id or (ids[-1] if ids else None)
    return {"run": run_id, "row": commit.row_index, "generation": generation, "attempt": record.attempts}
