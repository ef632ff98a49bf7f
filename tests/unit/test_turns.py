"""A shift that holds its rows for minutes does not keep other runs waiting for as long."""

from workers.settings import HOLDING_SHIFT_S, SHIFT_S
from workers.turns import Turn


def turn(seconds, most=1):
    now = [100.0]
    return Turn(lambda: now[0], seconds, most), now


def test_a_long_shift_leaves_after_the_time_of_a_short_one_where_more_runs_than_places_are_there():
    shift, now = turn(HOLDING_SHIFT_S)
    shift.seen(2)
    assert not shift.yields()
    now[0] += SHIFT_S
    assert shift.yields()
    shift.seen(1)
    assert not shift.yields()


def test_who_has_places_for_all_runs_leaves_nobody_waiting():
    shift, now = turn(HOLDING_SHIFT_S, most=2)
    shift.seen(2)
    now[0] += SHIFT_S
    assert not shift.yields()


def test_a_short_shift_takes_its_time():
    shift, now = turn(SHIFT_S)
    shift.seen(9)
    now[0] += SHIFT_S
    assert (shift.yields(), shift.is_long) == (False, False)
