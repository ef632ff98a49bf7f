"""A set of keys in 8 to 16 bytes each."""

from pipeline.core.fingerprints import Fingerprints, RowIds


def keys(count):
    return (b"key-%d" % number for number in range(count))


def test_a_key_is_new_once():
    seen = Fingerprints()
    assert all(seen.add(key) for key in keys(5000))
    assert not any(seen.add(key) for key in keys(5000))
    assert len(seen) == 5000


def test_a_key_takes_at_most_sixteen_bytes():
    seen = Fingerprints()
    for number, key in enumerate(keys(50_000), 1):
        seen.add(key)
        if number % 5000 == 0:
            assert seen.memory_bytes <= 16.2 * number + 64 * 32 * 8


def test_the_same_keys_make_the_same_set_in_every_process():
    seen = Fingerprints()
    seen.add(b"key")
    marks = [mark for table in seen._tables for mark in table if mark]
    assert marks == [17675689295421930702]


def test_a_row_may_bear_its_own_index_for_free():
    ids = RowIds()
    assert all(ids.claim(str(index), index) for index in range(1000))
    assert len(ids._others) == 0


def test_an_index_is_taken_by_the_row_that_bears_it():
    ids = RowIds()
    for index in range(20):
        ids.claim(str(index), index)
    assert not ids.claim("7", 20)
    assert ids.claim("007", 21)
    assert ids.claim("22", 22)
    assert not ids.claim("007", 23)


def test_an_id_taken_early_is_not_free_as_a_later_index():
    ids = RowIds()
    assert ids.claim("1", 0)
    assert not ids.claim("1", 1)


def test_digits_of_other_scripts_are_ids_of_their_own():
    ids = RowIds()
    ids.claim("0", 0)
    ids.claim("1", 1)
    assert ids.claim("\u0661", 2)
