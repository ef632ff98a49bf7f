"""What is told of rows: of those in doubt by whoever recorded it, of all others only at DEBUG.

A run has a million rows: a line for each would cost more than the row. What stands here for each row is one comparison.
"""

import logging
from collections.abc import Callable, Sequence

from pipeline.core.lifecycle import Event
from pipeline.ports import Commit

MOST_LINES = 20
WITHIN_S = 10.0
"""An API that is away leaves hundreds of rows in doubt within a moment; what is wrong is told by the first few."""

UNKNOWN = frozenset((Event.LOST_RESUBMIT, Event.LOST_HOLD, Event.GONE_RESUBMIT, Event.GONE_HOLD))


class RowLog:
    """Tells of the steps of one process."""

    def __init__(self, log: logging.Logger, monotonic: Callable[[], float]) -> None:
        self._log = log
        self._monotonic = monotonic
        self._since = float("-inf")
        self._lines = 0
        self._left_out = 0

    def __call__(self, run_id: str, commits: Sequence[Commit]) -> None:
        """Tell of steps that were recorded."""
        if self._log.isEnabledFor(logging.DEBUG):
            for commit in commits:
                self._moved(run_id, commit)
        for commit in commits:
            if commit.step.event in UNKNOWN:
                self._unknown(run_id, commit)

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


def _of_row(run_id: str, commit: Commit) -> dict[str, object]:
    record = commit.step.record
    ids = [attempt.generation_id for attempt in record.log if attempt.generation_id]
    generation = record.generation_id or (ids[-1] if ids else None)
    return {"run": run_id, "row": commit.row_index, "generation": generation, "attempt": record.attempts}
