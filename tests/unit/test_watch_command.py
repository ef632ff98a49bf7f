"""Watching a run from elsewhere: how it ends by the ledger alone, and what programs read of it."""

from dataclasses import replace

import orjson
import pytest

from pipeline.cli.screen import Screen
from pipeline.cli.watch_command import Lines, told
from pipeline.cli.watching import Stop, Stopped
from pipeline.core.lifecycle import Outcome
from pipeline.core.pacing import Pace
from pipeline.core.snapshot import RunSnapshot, RunState

RUN = RunSnapshot(
    run_id="run-1",
    state=RunState.RUNNING,
    now_ms=1_000,
    total=2,
    fed=2,
    ready=1,
    ready_due=1,
    submitting=0,
    pending=0,
    pending_due=0,
    results=0,
    results_bytes=0,
    bodies_bytes=0,
    accepted_unsaved=0,
    lapsed=0,
    accepted=0,
    outcomes={**dict.fromkeys(Outcome, 0), Outcome.COMPLETED: 1},
    account="api#key",
    pace=Pace(rate=10.0, why="given"),
    bound="rate",
)
DONE = replace(RUN, state=RunState.FINISHED, ready=0, outcomes={**RUN.outcomes, Outcome.COMPLETED: 2})
LOST = replace(DONE, outcomes={**RUN.outcomes, Outcome.FAILED: 1})


@pytest.mark.parametrize(
    ("stop", "last", "code", "said"),
    [
        (Stop(Stopped.LEFT, RUN), RUN, 0, "run run-1 goes on"),
        (Stop(Stopped.FINISHED, None), DONE, 0, "run run-1 is finished"),
        (Stop(Stopped.FINISHED, LOST), LOST, 1, "run run-1 is finished"),
        (Stop(Stopped.FINISHED, None), RUN, 1, "run run-1 is finished"),
        (Stop(Stopped.BUDGET, RUN, "budget: x"), RUN, 3, "budget: it waits for"),
        (Stop(Stopped.PAUSED, RUN, "like ends"), RUN, 4, "paused: it waits for"),
        (Stop(Stopped.STORAGE, RUN, "no space"), RUN, 5, "storage: it waits for"),
        (Stop(Stopped.INTERRUPTED, RUN), RUN, 130, "interrupted: it waits for"),
    ],
)
def test_a_view_without_the_runs_folder_ends_with_the_runs_exit_code(capsys, stop, last, code, said):
    assert told(stop, last, None, Screen(), as_json=False) == code
    assert capsys.readouterr().err.startswith(said)


def test_programs_read_one_object_for_each_change_and_none_for_the_time_alone():
    lines = []
    show = Lines(lines.append)
    show(RUN)
    show(replace(RUN, now_ms=1_200))
    show(replace(RUN, now_ms=1_400, accepted=1, ready=0, ready_due=0, pending=1))
    first, second = map(orjson.loads, lines)
    assert (first["at_ms"], second["at_ms"]) == (1_000, 1_400)
    assert (first["bound"], second["bound"]) == ("rate", "")
    assert (first["pace"]["rate"], first["account"], first["budget"]) == (10.0, "api#key", None)
    assert first["waits_for"].startswith("the account's rate limit (given: 600 a minute)")
    assert first["posts_a_minute"] == 0.0
    assert second["pending"] == 1
