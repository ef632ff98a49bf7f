"""Which tickets are due, by what the ledgers look like."""

from collections import Counter
from dataclasses import replace

import pytest

from pipeline.core.lifecycle import Outcome
from pipeline.core.snapshot import FEED_WINDOW_BYTES, FEED_WINDOW_ROWS, RESULTS_BYTES, RunSnapshot, RunState
from pipeline.core.tickets import ROWS_A_SHIFT, Capacity, Role, Ticket, tickets_due

QUIET = RunSnapshot(
    run_id="run-1",
    state=RunState.RUNNING,
    now_ms=1_000_000,
    total=1_000,
    fed=1_000,
    ready=0,
    ready_due=0,
    submitting=0,
    pending=1,
    pending_due=0,
    results=0,
    results_bytes=0,
    bodies_bytes=0,
    accepted_unsaved=0,
    lapsed=0,
    accepted=0,
    outcomes=dict.fromkeys(Outcome, 0),
)


def due(*runs, shifts=4, queued=0, keys=None, turn=0):
    capacity = Capacity(dict.fromkeys(Role, shifts), dict.fromkeys(Role, queued), keys)
    return tickets_due(list(runs), capacity, turn)


def roles(*runs, **capacity):
    return dict(Counter(ticket.role for ticket in due(*runs, **capacity)))


def test_a_run_that_waits_for_its_generations_needs_nobody():
    assert due(QUIET) == []


def test_no_runs_need_no_tickets():
    assert due() == []


def test_a_run_whose_files_nobody_may_read_is_polled_and_not_sent():
    run = replace(QUIET, ready=1, ready_due=1, pending_due=1, media_roots=("/films/a", "/more"))

    def served(*roots):
        one_each = dict.fromkeys(Role, 1)
        return {ticket.role for ticket in tickets_due([run], Capacity(one_each, dict.fromkeys(Role, 0), None, roots))}

    assert served() == {Role.POLL}
    assert served(("/films", "/mo"), ("/more",)) == {Role.POLL}
    assert served((), ("/more", "/films")) == {Role.SUBMIT, Role.POLL}


def test_a_ticket_names_its_run_and_its_role():
    assert due(replace(QUIET, ready=1, ready_due=1)) == [Ticket(Role.SUBMIT, "run-1")]


@pytest.mark.parametrize(
    ("rows", "tickets"), [(1, 1), (ROWS_A_SHIFT, 1), (ROWS_A_SHIFT + 1, 2), (3 * ROWS_A_SHIFT, 3), (10**6, 4)]
)
def test_shifts_are_as_many_as_the_rows_that_are_due_need_within_the_capacity(rows, tickets):
    assert roles(replace(QUIET, ready=rows, ready_due=rows)) == {Role.SUBMIT: tickets}
    assert roles(replace(QUIET, pending=rows, pending_due=rows)) == {Role.POLL: tickets}


def test_rows_that_are_not_due_yet_need_nobody():
    assert due(replace(QUIET, ready=500, pending=500)) == []


def test_what_is_live_or_on_its_way_is_not_issued_again():
    run = replace(QUIET, ready=200, ready_due=200)
    assert [len(due(replace(run, shifts={"submit": live}))) for live in range(6)] == [4, 3, 2, 1, 0, 0]


def test_more_live_shifts_than_needed_are_no_reason_for_anything():
    assert due(replace(QUIET, ready=1, ready_due=1, shifts={"submit": 3})) == []


def test_submitting_never_starves_polling():
    run = replace(QUIET, ready=10**4, ready_due=10**4, pending=10**4, pending_due=10**4)
    assert roles(run) == {Role.SUBMIT: 4, Role.POLL: 4}


def test_runs_take_turns():
    runs = [replace(QUIET, run_id=name, ready=10**4, ready_due=10**4) for name in ("a", "b", "c")]
    assert Counter(ticket.run_id for ticket in due(*runs, shifts=7)) == {"a": 3, "b": 2, "c": 2}


def test_turns_go_round_between_runs_that_hold_as_much():
    runs = [replace(QUIET, run_id=name, ready=10**4, ready_due=10**4) for name in ("a", "b", "c")]
    firsts = [due(*runs, shifts=1, turn=turn)[0].run_id for turn in range(6)]
    assert firsts == ["a", "b", "c", "a", "b", "c"]


def test_whose_turn_it_is_gives_nobody_more_than_the_others():
    runs = [replace(QUIET, run_id=name, ready=10**4, ready_due=10**4) for name in ("a", "b")]
    assert all(Counter(ticket.run_id for ticket in due(*runs, turn=turn)) == {"a": 2, "b": 2} for turn in range(5))


def test_a_run_whose_key_nobody_holds_is_neither_sent_nor_polled_but_written_and_fed():
    busy = replace(QUIET, fed=500, ready=1, ready_due=1, pending=1, pending_due=1, results=1, key_fingerprint="k1")
    assert roles(busy, keys=frozenset({"k2"})) == {Role.WRITE: 1, Role.CONTROL: 1}
    assert roles(busy, keys=frozenset({"k1", "k2"})) == dict.fromkeys(Role, 1)


def test_a_run_whose_key_nobody_holds_takes_no_shift_from_the_others():
    lonely, served = (
        replace(QUIET, run_id=name, ready=10**4, ready_due=10**4, key_fingerprint=name) for name in ("a", "b")
    )
    assert Counter(ticket.run_id for ticket in due(lonely, served, keys=frozenset({"b"}))) == {"b": 4}


def test_a_small_run_gets_its_share_beside_a_large_one():
    large = replace(QUIET, run_id="a", ready=10**4, ready_due=10**4)
    small = replace(QUIET, run_id="b", ready=1, ready_due=1)
    assert Counter(ticket.run_id for ticket in due(large, small)) == {"a": 3, "b": 1}


def test_a_shift_that_becomes_free_goes_to_the_run_that_has_none():
    large = replace(QUIET, run_id="a", ready=10**4, ready_due=10**4, shifts={"submit": 3})
    small = replace(QUIET, run_id="b", ready=1, ready_due=1)
    assert due(large, small) == [Ticket(Role.SUBMIT, "b")]


def test_live_shifts_of_all_runs_count_against_the_capacity():
    busy = replace(QUIET, run_id="a", shifts={"submit": 4})
    assert due(busy, replace(QUIET, run_id="b", ready=1, ready_due=1)) == []


def test_a_role_that_no_worker_serves_gets_no_tickets():
    run = replace(QUIET, ready=1, ready_due=1, pending=1, pending_due=1)
    capacity = Capacity({Role.POLL: 1}, {})
    assert tickets_due([run], capacity) == [Ticket(Role.POLL, "run-1")]


def test_a_queue_that_nobody_drains_gets_no_more_messages():
    run = replace(QUIET, ready=1, ready_due=1)
    assert len(due(run, shifts=2, queued=4)) == 1
    assert due(run, shifts=2, queued=5) == []


def test_one_full_queue_does_not_stop_the_others():
    run = replace(QUIET, ready=1, ready_due=1, pending=1, pending_due=1)
    capacity = Capacity(dict.fromkeys(Role, 1), {Role.SUBMIT: 9})
    assert tickets_due([run], capacity) == [Ticket(Role.POLL, "run-1")]


@pytest.mark.parametrize(
    "change",
    [
        {"state": RunState.PAUSED},
        {"state": RunState.STOPPING},
        {"led": False},
        {"account_blocked": "balance"},
        {"account_wait_until_ms": QUIET.now_ms + 1},
        {"results_bytes": RESULTS_BYTES},
    ],
)
def test_a_run_that_may_not_send_still_polls(change):
    run = replace(QUIET, ready=1, ready_due=1, pending=1, pending_due=1, **change)
    assert roles(run) == {Role.POLL: 1}


@pytest.mark.parametrize("change", [{"state": RunState.FINISHED}, {"account_blocked": "key", "account_polls": False}])
def test_a_run_that_may_not_poll_gets_no_poll_tickets(change):
    assert due(replace(QUIET, pending=1, pending_due=1, **change)) == []


@pytest.mark.parametrize("change", [{"results": 1}, {"accepted_unsaved": 1}, {"results": 10**5}])
@pytest.mark.parametrize("state", RunState)
def test_whatever_waits_for_the_disk_is_one_writers_work(change, state):
    waits = replace(QUIET, state=state, pending=0, **change)
    assert roles(waits) == {Role.WRITE: 1}


def test_a_run_that_is_abandoned_wants_its_pending_rows_ended_and_polls_nothing():
    run = replace(QUIET, state=RunState.ABANDONING, pending=3, pending_due=3, late=1, late_due=1)
    assert roles(run) == {Role.CONTROL: 1}


def test_late_ids_that_are_due_want_a_poll_shift():
    assert roles(replace(QUIET, pending=0, pending_due=0, late=1, late_due=1)) == {Role.POLL: 1}


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"fed": 500}, 1),
        ({"fed": 500, "ready": FEED_WINDOW_ROWS // 2}, 1),
        ({"fed": 500, "ready": FEED_WINDOW_ROWS // 2 + 1}, 0),
        ({"fed": 500, "bodies_bytes": FEED_WINDOW_BYTES}, 0),
        ({"fed": 500, "state": RunState.PAUSED}, 0),
        ({"fed": 500, "state": RunState.STOPPING}, 0),
        ({"pending": 0}, 1),
        ({"pending": 0, "state": RunState.STOPPING}, 1),
        ({"pending": 0, "state": RunState.PAUSED}, 0),
        ({"pending": 0, "state": RunState.FINISHED}, 0),
        ({"pending": 0, "submitting": 1}, 0),
        ({"pending": 0, "ready": 1}, 0),
    ],
)
def test_control_is_wanted_to_feed_and_to_finalize(change, wanted):
    assert roles(replace(QUIET, **change)).get(Role.CONTROL, 0) == wanted


def test_a_run_is_not_finalized_before_the_writer_has_everything():
    ended = replace(QUIET, pending=0)
    assert ended.all_ended
    assert ended.quiet
    assert not replace(ended, results=1).all_ended
    assert not replace(ended, accepted_unsaved=1).all_ended
    assert not replace(ended, fed=999).all_ended
