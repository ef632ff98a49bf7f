"""Files are replaced whole or not at all, whoever else writes them."""

import threading

import pytest

from pipeline.core.errors import StorageError
from pipeline.edges.files import locked, replaced, write_bytes
from pipeline.edges.run_folder import LocalRunFolder

JOIN_S = 30.0


def at_once(*works):
    """Do all of this in threads, and hear of what went wrong in any."""
    wrong = []

    def guarded(work):
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - a thread's fault is the test's
            wrong.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(JOIN_S)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


def test_a_file_is_written_with_its_folders(tmp_path):
    write_bytes(tmp_path / "a" / "b" / "file", b"new")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("fault", "heard"), [(OSError(28, "No space left on device"), StorageError), (ValueError("a bug"), ValueError)]
)
def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path, fault, heard):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write():
        with replaced(path) as temporary:
            temporary.write_bytes(b"half of the n")
            raise fault

    with pytest.raises(heard):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replaced(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_can_not_be_made_is_the_disks_trouble(tmp_path):
    (tmp_path / "file").write_bytes(b"in the way")
    with pytest.raises(StorageError, match="can't be made"):
        write_bytes(tmp_path / "file" / "below", b"")


def test_writers_at_once_leave_the_whole_file_of_one_of_them(tmp_path):
    contents = [bytes([letter]) * 100_000 for letter in b"abcd"]
    at_once(*(lambda one=content: [write_bytes(tmp_path / "file", one) for _ in range(20)] for content in contents))
    assert (tmp_path / "file").read_bytes() in contents
    assert len(list(tmp_path.iterdir())) == 1


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(50):
            with locked(tmp_path / "lock"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    at_once(*[work] * 4)
    assert most == [1] * 200


def test_a_lock_that_can_not_be_made_is_the_disks_trouble(tmp_path):
    with pytest.raises(StorageError), locked(tmp_path / "nowhere" / "lock"):
        raise AssertionError("never held")


def test_the_fed_mark_never_goes_back_whoever_raises_it(tmp_path):
    folder = LocalRunFolder(tmp_path, "run-1")
    folder.begin("redis://one:6379/0", "a")
    seen = []

    def raises_to(marks):
        for until in marks:
            LocalRunFolder(tmp_path, "run-1").mark_fed(until)
            seen.append((until, folder.fed()))

    at_once(
        lambda: raises_to(range(0, 120, 3)), lambda: raises_to(range(1, 120, 3)), lambda: raises_to([119, *range(50)])
    )
    assert folder.fed() == 119
    assert all(fed >= until for until, fed in seen)
    folder.mark_fed(7)
    assert folder.fed() == 119


def test_a_mark_that_was_never_set_is_zero(tmp_path):
    assert LocalRunFolder(tmp_path, "run-1").fed() == 0
