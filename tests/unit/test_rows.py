"""A set of rows: what it holds, what was there before, and its bits as Redis has them."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.rows import Rows

INDEXES = st.lists(st.integers(0, 300))


@given(INDEXES, INDEXES)
def test_it_holds_what_was_added_and_tells_what_was_there_before(first, second):
    rows = Rows(first)
    held = set(first)
    again = []
    for place, index in enumerate(second):
        if index in held:
            again.append(place)
        held.add(index)
    assert rows.add_all(second) == again
    assert (list(rows), len(rows)) == (sorted(held), len(held))
    assert all((index in rows) == (index in held) for index in range(-3, 400))


@given(INDEXES, INDEXES)
def test_it_tells_the_places_of_what_it_does_not_hold(held, asked):
    assert Rows(held).places_outside(asked) == [place for place, index in enumerate(asked) if index not in held]


def test_one_index_is_added_once():
    rows = Rows()
    assert (rows.add(7), rows.add(7), rows.add(3), len(rows)) == (True, False, True, 2)


@given(st.sets(st.integers(0, 2_000)))
def test_the_bitmap_has_the_bits_of_these_rows_and_no_others(held):
    bitmap = Rows(held).bitmap()
    bits = {byte * 8 + bit for byte, value in enumerate(bitmap) for bit in range(8) if value & (0x80 >> bit)}
    assert bits == held
    assert bitmap[-1:] != b"\0"


def test_a_million_rows_take_a_megabyte_or_two():
    rows = Rows()
    for start in range(0, 1_000_000, 50_000):
        rows.add_all(range(start, start + 50_000))
    assert (len(rows), len(rows.bitmap())) == (1_000_000, 125_000)
    assert len(rows._held) < 1_500_000
