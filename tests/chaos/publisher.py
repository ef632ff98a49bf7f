"""A writer and publisher of one run, to be killed: the real code of the run's folder, with ends that were made before.

As a program it reads lines "OUT SEED WRITTEN" and forks a process for each, which is loaded already and goes on where
the one before it died. It says `pid N`, `written N` once a part is acknowledged, and `ended N`.
"""

import asyncio
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.budget import Budget
from pipeline.core.lifecycle import Outcome
from pipeline.core.policy import Policy
from pipeline.core.records import Attempt, Ending, RowRecord, pack, pack_ending, saved_line
from pipeline.edges import merging, publishing
from pipeline.edges.requests_file import REQUESTS_SCHEMA
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.flows.finalize import finalize
from pipeline.flows.write import Writing, write_part
from pipeline.ports import Batch, RunCard

AT = 1_767_225_600_000_000
A_MINUTE = 60_000_000
FIRSTS = [pa.field("first_index", pa.int64()), pa.field("first_id", pa.string())]


def small_files() -> None:
    """Let a few parts fill a file, and a few rows a row group."""
    publishing.FILE_BYTES = 30_000
    merging.STRETCH_ROWS = 25


@dataclass(frozen=True)
class Part:
    """What one part holds: the ends of these rows, in the order in which they came."""

    epoch: str
    start: int
    rows: tuple[int, ...]
    at: int


@dataclass(frozen=True)
class Run:
    """A run of so many rows, by its seed: which are duplicates of which, and its parts, of two ledgers that overlap."""

    out: Path
    seed: int
    rows: int
    a_part: int

    @property
    def folder(self) -> LocalRunFolder:
        return LocalRunFolder(self.out, f"run-{self.seed}")

    @cached_property
    def firsts(self) -> dict[int, int]:
        dice, firsts = random.Random(self.seed), {}
        for index in range(1, self.rows):
            if dice.random() < 0.3:
                firsts[index] = dice.choice([first for first in range(index) if first not in firsts])
        return firsts

    @cached_property
    def asked(self) -> list[int]:
        return [index for index in range(self.rows) if index not in self.firsts]

    @cached_property
    def parts(self) -> list[Part]:
        rows = self.asked
        random.Random(self.seed + 1).shuffle(rows)
        first = 2 * len(rows) // 3
        again = max(0, first - self.a_part - self.a_part // 2)  # the second ledger lost what came last, and more
        lives = [*_cut("e1", rows[:first], self.a_part), *_cut("e2", rows[again:], self.a_part)]
        return [replace(part, at=AT + 10 * number * A_MINUTE) for number, part in enumerate(lives)]

    def plan(self) -> None:
        """Write what a plan leaves on disk."""
        firsts, folder = self.firsts, self.folder
        (folder.path / "parts").mkdir(parents=True)
        counts = {"rows": self.rows, "requests": len(self.asked), "duplicates": len(firsts), "rejections": 0}
        folder.describe({"run_id": folder.run_id, "carried": {}, "prices": {}, **counts})
        requests = pa.Table.from_pylist([_asked(index, index) for index in self.asked], schema=REQUESTS_SCHEMA)
        pq.write_table(requests, folder.path / "requests.parquet")
        if firsts:
            more = [
                {**_asked(i, first), "first_index": first, "first_id": f"id-{first}"} for i, first in firsts.items()
            ]
            table = pa.Table.from_pylist(more, schema=pa.schema([*REQUESTS_SCHEMA, *FIRSTS]))
            pq.write_table(table, folder.path / "duplicates.parquet", row_group_size=20)

    def work(self, written: int, told: Callable[[int], None]) -> None:
        """Go on behind so many parts, publish as often as one may, and end the run."""
        folder, parts = self.folder, self.parts
        for number, part in enumerate(parts[written:], written + 1):
            folder.save_ids(part.epoch, part.start, part.start + len(part.rows), list(_ids(part)))
            ledger = _Ledger(part, lambda number=number: told(number))
            asyncio.run(write_part(ledger, Writing(_card(self, part.epoch), folder, {}), lambda: AT))
            folder.publish_early(lambda: False)
        run = SimpleNamespace(run_id=folder.run_id, total=len(self.asked), double_ends=0, budget=Budget())
        asyncio.run(finalize(run, _Ledger(parts[0], lambda: None), folder))


def _cut(epoch: str, rows: list[int], size: int) -> Iterator[Part]:
    for start in range(0, len(rows), size):
        yield Part(epoch, start, tuple(rows[start : start + size]), 0)


def _asked(index: int, first: int) -> dict[str, object]:
    video = f"https://videos.example/{first}.mp4"
    asked = {"row_index": index, "row_id": f"id-{index}", "line": index + 2, "request_hash": f"hash-{first}"}
    return {**asked, "model": "m", "prompt": "Describe.", "video_urls": [video], "carried": []}


def _card(run: Run, epoch: str) -> RunCard:
    account = ("api#key", "https://api", "key")
    return RunCard(run.folder.run_id, *account, str(run.out), "secret", epoch, len(run.asked), Policy())


def _record(part: Part, index: int) -> RowRecord:
    lost = (Attempt(None, part.at, "unknown"),) if index % 11 == 0 else ()
    doubt = {"resubmits": len(lost), "possible_duplicate": bool(lost), "log": lost}
    # both ledgers saw a row under one generation
    return RowRecord(1 + len(lost), generation_id=f"task-{index:024}", submitted_at=part.at, **doubt)


def _ids(part: Part) -> Iterator[bytes]:
    return (saved_line(index, _record(part, index)) for index in part.rows)


class _Ledger:
    """The ends of one part, offered until they are acknowledged."""

    def __init__(self, part: Part, told: Callable[[], None]) -> None:
        self._part, self._told = part, told

    async def results(self, *_: object) -> Batch:
        part = self._part
        ending = pack_ending(Ending(Outcome.COMPLETED, part.at + A_MINUTE))
        items = [b'{"i":%d,"r":%b,"e":%b}' % (index, pack(_record(part, index)), ending) for index in part.rows]
        return Batch(part.start, tuple(items))

    async def results_written(self, *_: object) -> None:
        self._told()

    async def snapshot(self, *_: object) -> None:
        """Nothing came meanwhile."""

    async def set_state(self, *_: object) -> None:
        """Nobody asks."""


def _say(words: str) -> None:
    os.write(1, f"{words}\n".encode())


def main() -> None:
    """Fork a process for each line; what is loaded at the first use is loaded before."""
    small_files()
    with TemporaryDirectory() as scratch:
        warm = Run(Path(scratch), 0, rows=60, a_part=10)
        warm.plan()
        warm.work(0, lambda _: None)
    for line in sys.stdin:
        out, seed, rows, a_part, written = line.split()
        run = Run(Path(out), int(seed), int(rows), int(a_part))
        pid = os.fork()
        if not pid:
            run.work(int(written), lambda number: _say(f"written {number}"))
            os._exit(0)
        _say(f"pid {pid}")
        _say(f"ended {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}")


if __name__ == "__main__":
    main()
