"""The table of states: what it knows leads somewhere sensible, what it does not know is an error."""

import itertools

import pytest

from pipeline.core.errors import LifecycleError
from pipeline.core.lifecycle import TABLE, Event, State, diagram, next_state

UNKNOWN = [pair for pair in itertools.product(State, Event) if pair not in TABLE]


@pytest.mark.parametrize(("state", "event"), UNKNOWN, ids=lambda word: word.name)
def test_what_is_not_in_the_table_is_an_error(state, event):
    with pytest.raises(LifecycleError, match=r"can't have the event"):
        next_state(state, event)


@pytest.mark.parametrize(("state", "event"), TABLE, ids=lambda word: word.name)
def test_what_is_in_the_table_leads_where_it_says(state, event):
    assert next_state(state, event) is TABLE[state, event]


def test_nothing_leads_out_of_done():
    assert all(state is not State.DONE for state, _ in TABLE)


def test_every_state_can_be_reached_and_every_event_can_happen():
    assert set(TABLE.values()) == set(State)
    assert {event for _, event in TABLE} == set(Event)


def test_every_state_but_done_has_a_way_to_its_end():
    reached = {State.DONE}
    while True:
        more = {state for (state, _), after in TABLE.items() if after in reached} | reached
        if more == reached:
            break
        reached = more
    assert reached == set(State)


def test_only_a_claim_leads_to_sending():
    assert [pair for pair, after in TABLE.items() if after is State.SUBMITTING] == [(State.READY, Event.CLAIMED)]


def test_the_diagram_has_one_line_for_each_transition():
    lines = diagram().splitlines()
    assert len(lines) == 2 + len(TABLE)
    assert lines[2] == "| ready | claimed with a permit | submitting |"
