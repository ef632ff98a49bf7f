"""Who writes and publishes a run dies at any moment, again and again, while others read: no row twice, none lost."""

import os
import random
import shutil
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.edges import merging, publishing
from pipeline.flows.verify import verify

_SCRIPT = Path(__file__).parent / "publisher.py"
_SPEC = spec_from_file_location("publisher", _SCRIPT)
publisher = sys.modules[_SPEC.name] = module_from_spec(_SPEC)
_SPEC.loader.exec_module(publisher)

JOIN_S = 60.0
LOOK_S = 0.001
MANY = 50


@pytest.fixture(autouse=True)
def _small_files(monkeypatch):
    for module, name in ((publishing, "FILE_BYTES"), (merging, "STRETCH_ROWS")):
        monkeypatch.setattr(module, name, getattr(module, name))
    publisher.small_files()


@dataclass
class Reader:
    """Reads the whole dataset as users do, again and again; `wrong` says what was ever not as promised."""

    run: publisher.Run
    written: int = 0
    """Parts that were acknowledged."""
    files: dict[Path, tuple[tuple[int, ...], list[int]]] = field(default_factory=dict)
    looks: int = 0
    wrong: list[str] = field(default_factory=list)

    def look(self):
        """One look: the parts first, since a finished run has none."""
        told = {row for part in self.run.parts[: self.written] for row in part.rows}
        parts = {row for path in (self.run.folder.path / "parts").glob("*.parquet") for row in _rows(path)}
        seen = Counter(row for path in self.run.out.glob("annotations/**/*.parquet") for row in self._file(path))
        self._expect(max(seen.values(), default=0) <= 1, f"rows twice: {seen.most_common(3)}")
        self._expect(told <= parts | set(seen), f"rows lost: {sorted(told - parts - set(seen))[:5]}")
        self.looks += 1
        return seen

    def _file(self, path):
        status = path.stat()
        state = (status.st_ino, status.st_size, status.st_mtime_ns)
        before, rows = self.files.get(path) or (state, None)
        self._expect(before == state, f"{path} was changed")
        if rows is None:
            rows = pq.read_table(path, columns=["row_index"], partitioning=None)["row_index"].to_pylist()
            self._expect(rows == sorted(rows), f"{path} is not in order")
            self.files[path] = state, rows
        return rows

    def _expect(self, held, what):
        if not held:
            self.wrong.append(what)

    def ended(self):
        """After the done marker."""
        seen = self.look()
        self._expect(sorted(seen) == list(range(self.run.rows)), f"{len(seen)} of {self.run.rows} rows")
        self._expect(verify(self.run.folder).differences == (), "verify tells differences")
        for left in (".unfinished-*", "parts/*.parquet"):
            self._expect(not list(self.run.folder.path.glob(left)), f"{left} is left")


def _rows(path):
    try:
        return pq.read_table(path, columns=["row_index"], partitioning=None)["row_index"].to_pylist()
    except (OSError, pa.ArrowException):
        if path.exists():
            raise
        return []


class Publisher:
    """Processes that publish, one after the other, each of them killed."""

    def __init__(self, zygote):
        self._zygote = zygote

    def go_on(self, reader, dies_after):
        """Let one go on for so many seconds at most; whether it was killed."""
        run = reader.run
        words = (run.out, run.seed, run.rows, run.a_part, reader.written)
        self._zygote.stdin.write(" ".join(map(str, words)) + "\n")
        self._zygote.stdin.flush()
        pid = int(self._hear(reader, "pid"))
        timer = threading.Timer(dies_after, os.kill, (pid, 9))
        timer.start()
        code = int(self._hear(reader, "ended"))
        timer.cancel()
        timer.join()
        return code == -9 or pytest.fail(f"the publisher ended with {code}") if code else False

    def _hear(self, reader, wanted):
        while True:
            word, number = self._zygote.stdout.readline().split()
            if word == wanted:
                return number
            assert word == "written"
            reader.written = int(number)


@pytest.fixture
def publishers():
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", _SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as zygote:
        yield Publisher(zygote)
        zygote.stdin.close()


def killed_so_often(kills, publishers, tmp_path):
    dice, left, looks, early = random.Random(kills), kills, 0, 0
    for seed in range(1000):
        reader = Reader(publisher.Run(tmp_path / str(seed), seed, rows=240, a_part=20))
        reader.run.plan()
        through = threading.Event()

        def watch(reader=reader, through=through):
            while not through.wait(LOOK_S):
                reader.look()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            while publishers.go_on(reader, dice.uniform(0.01, 0.5) if left else JOIN_S):
                left -= 1
                early += bool(reader.files) and reader.run.folder.summary() is None
        finally:
            through.set()
            watcher.join(JOIN_S)
        reader.ended()
        assert reader.wrong == []
        looks += reader.looks
        if not left:
            assert early or kills < MANY
            return f"{kills} kills over {seed + 1} runs, {early} of them with files published early; {looks} looks"
    raise AssertionError("nobody was killed")


def test_publishers_that_are_killed_at_random_never_show_a_row_twice_and_lose_none(publishers, tmp_path):
    sys.stdout.write(killed_so_often(8, publishers, tmp_path) + "\n")


@pytest.mark.chaos
def test_publishers_that_are_killed_fifty_times_never_show_a_row_twice_and_lose_none(publishers, tmp_path):
    sys.stdout.write(killed_so_often(MANY, publishers, tmp_path) + "\n")


class KilledError(BaseException):
    """The process dies here; whatever it would still do, it does not."""


CALLS = ("rename", "replace", "link", "fsync", "unlink", "rmdir", "mkdir")


def dying_at(monkeypatch, call, work):
    """Do the work until its n-th call that changes names or brings to disk; how many there were if it lived."""
    calls = 0

    def counted(real):
        def maybe(*given, **named):
            nonlocal calls
            calls += 1
            if call is not None and calls >= call:
                raise KilledError
            return real(*given, **named)

        return maybe

    with monkeypatch.context() as watched:
        for name in CALLS:
            watched.setattr(os, name, counted(getattr(os, name)))
        try:
            work()
        except KilledError:
            return None
    return calls


def every_kill(monkeypatch, tmp_path, run, before):
    """Die at each call in turn, look, go on to the end, look."""
    run.plan()
    reader = Reader(run)

    def work(reader):
        def told(number):
            reader.written = number

        reader.run.work(reader.written, told)

    def copied(name):
        out = tmp_path / name
        shutil.copytree(run.out, out)
        return Reader(publisher.Run(out, run.seed, run.rows, run.a_part), reader.written)

    before(reader)
    call, lived = 0, None
    while lived is None:
        call += 1
        dying = copied(f"at-{call}")
        lived = dying_at(monkeypatch, call, lambda dying=dying: work(dying))
        dying.look()
        work(dying)
        dying.ended()
        assert dying.wrong == [], f"killed at call {call}"
        shutil.rmtree(dying.run.out)
    return f"killed at each of {lived} calls"


def test_killed_at_each_call_of_publishing_no_row_is_twice_and_none_lost(monkeypatch, tmp_path):
    """Some files were published early, more parts came, and the end publishes the rest."""
    run = publisher.Run(tmp_path / "first", seed=3, rows=40, a_part=10)
    monkeypatch.setattr(merging, "STRETCH_ROWS", 8)

    def all_written(reader):
        class Enough(BaseException):
            """Stops before the end."""

        def told(number):
            reader.written = number
            if number == len(run.parts):
                raise Enough

        with pytest.raises(Enough):
            run.work(0, told)

    sys.stdout.write(every_kill(monkeypatch, tmp_path, run, all_written) + "\n")


@pytest.mark.chaos
def test_killed_at_each_call_of_a_whole_run_no_row_is_twice_and_none_lost(monkeypatch, tmp_path):
    run = publisher.Run(tmp_path / "first", seed=4, rows=40, a_part=6)
    sys.stdout.write(every_kill(monkeypatch, tmp_path, run, lambda _reader: None) + "\n")
