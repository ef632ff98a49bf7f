"""What is told of rows: those in doubt, within bounds; every step at DEBUG; nothing else."""

import logging

import pytest

from pipeline.core.answers import Problem
from pipeline.core.lifecycle import Event, Outcome, State
from pipeline.core.records import Attempt, Ending, RowRecord
from pipeline.core.steps import Step
from pipeline.ports import Commit
from workers.row_log import MOST_LINES, WITHIN_S, RowLog

LOST = Step(State.SUBMITTING, Event.LOST_RESUBMIT, RowRecord(attempts=1))
FAILED = Ending(Outcome.FAILED, 0, problem=Problem("content_filter", "No."))


@pytest.fixture
def told(caplog):
    """Commits rows at a level and a time; the records that were logged."""
    now = [0.0]
    rows = RowLog(logging.getLogger("vidbatch.rows"), lambda: now[0])

    def tell(*steps, level=logging.INFO, at=0.0):
        now[0] = at
        caplog.clear()
        caplog.set_level(level, "vidbatch.rows")
        rows("run-1", [Commit(row, "t", step) for row, step in enumerate(steps)])
        return caplog.records

    return tell


GOOD = Step(State.SUBMITTING, Event.ACCEPTED, RowRecord(generation_id="g"))
BAD = Step(State.PENDING, Event.FAILED_LAST, RowRecord(), ending=FAILED)
AGAIN = Step(State.PENDING, Event.FAILED_RETRY, RowRecord())


def test_rows_that_go_well_are_not_told_at_info(told):
    assert told(*[GOOD] * 500) == []


def test_rows_that_go_badly_are_told_together_and_every_ten_seconds(told):
    [line] = told(GOOD, BAD, AGAIN, AGAIN)
    counts = {"failed for good (content_filter)": 1, "failed, attempts left": 2}
    assert (line.event, line.run, line.counts) == ("rows_failed", "run-1", counts)
    assert line.getMessage() == "3 went badly, most of them: failed, attempts left"
    assert told(*[BAD] * 500, at=WITHIN_S / 2) == []
    [line] = told(BAD, at=WITHIN_S)
    assert line.counts == {"failed for good (content_filter)": 501}


def test_a_row_in_doubt_is_told_with_what_is_known_of_it(told):
    known = RowRecord(attempts=2, log=(Attempt("g-1", 0, "unknown"), Attempt(None, 0, "unknown")))
    gone = Step(State.PENDING, Event.GONE_HOLD, known, ending=FAILED)
    [first, second] = told(LOST, gone)
    assert (first.event, first.row, first.attempt, first.generation, first.run) == ("row_unknown", 0, 1, None, "run-1")
    assert (second.row, second.generation, second.code) == (1, "g-1", "content_filter")
    assert second.getMessage() == "gone, policy hold: No."


def test_many_rows_in_doubt_are_told_by_a_few_lines_and_the_number_of_the_others(told):
    assert len(told(*[LOST] * 500)) == MOST_LINES
    assert told(LOST, at=WITHIN_S / 2) == []
    [line] = told(LOST, at=WITHIN_S)
    assert line.left_out == 500 - MOST_LINES + 1


def test_at_debug_every_step_is_told(told):
    moved, _ = told(BAD, level=logging.DEBUG)
    assert (moved.event, moved.state, moved.outcome, moved.code) == ("row_moved", "done", "failed", "content_filter")
    assert moved.getMessage() == "failed for good: pending to done"
