"""What a run of N rows costs on the disk side: peak memory, CPU and wall time of each stage, each in its own process.

    python benchmarks/disk_scale.py [--rows 10000 100000 1000000] [--stages plan write] [--folder DIR]

The run folder is made by the real code: planned from a manifest, fed, and written with answers of about 1.5 kB; only
the ledger is a stand-in that holds no row. Peak memory is the process's own VmHWM, imports included.
"""

import argparse
import asyncio
import csv
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from pyarrow import parquet

from pipeline.cli.preparing import Prepared, Question, prepare
from pipeline.cli.running import enter_ledger
from pipeline.core.policy import Policy
from pipeline.core.records import RowRecord, pack, saved_line
from pipeline.core.requests import Defaults
from pipeline.core.snapshot import FEED_WINDOW_ROWS, RunSnapshot, RunState
from pipeline.edges.imports import keep_out_unused
from pipeline.edges.memory_ledger import MemoryLedger
from pipeline.edges.out_folder import OutFolder
from pipeline.flows.feed import feed
from pipeline.flows.finalize import finalize
from pipeline.flows.verify import verify
from pipeline.flows.write import Writing, save_ids, write_part
from pipeline.ports import Batch, FedRow, RunCard

PROMPT = "Describe the video: the people, what they do, the place, and any text that can be read. " * 4
WORDS = [f"{first}{last}" for first in "abdefghiklmnoprstuvw" for last in ("at", "ene", "iro", "oster", "ulling")]
STARTED_MS = 1_780_000_000_000
BEFORE = 0.99
"""The part of the rows that ended before the ledger is lost."""


def manifest_rows(count: int):
    for index in range(count):
        yield {
            "video_url": f"https://videos.example.com/library/{index % 997:03}/clip-{index:08}.mp4",
            "id": f"clip-{index:08}",
            "prompt": PROMPT,
            "camera": f"cam-{index % 12}",
            "day": f"2026-05-{index % 28 + 1:02}",
        }


def make_manifests(folder: Path, count: int) -> None:
    """A million rows a batch at a time, so that the generator stays small as well."""
    with (folder / "ids.csv").open("w", newline="") as ids, (folder / "bare.csv").open("w", newline="") as bare:
        with_ids, without = (csv.writer(file) for file in (ids, bare))
        names = list(next(manifest_rows(1)))
        with_ids.writerow(names)
        without.writerow([name for name in names if name != "id"])
        writer, batch = None, []
        for row in manifest_rows(count):
            with_ids.writerow(row.values())
            without.writerow([cell for name, cell in row.items() if name != "id"])
            batch.append(row)
            if len(batch) == 50_000:
                writer = _append(folder, writer, batch)
        writer = _append(folder, writer, batch)
    writer.close()


def _append(folder: Path, writer, batch: list[dict[str, str]]):
    if batch:
        table = pa.Table.from_pylist(batch)
        writer = writer or parquet.ParquetWriter(folder / "ids.parquet", table.schema)
        writer.write_table(table)
        batch.clear()
    return writer


class Results(MemoryLedger):
    """The ledger's part of writing and feeding, without a row kept: ended rows as they would lie in Redis."""

    def __init__(self, first: int = 0, until: int = 0) -> None:
        super().__init__()
        self.first, self.until, self.written, self.saved, self.spent = first, until, 0, 0, 0.0
        self.fed = self.pushed = self.calls = 0
        self.given: dict[str, Any] = {}
        self.block: tuple[int, list[int]] = (-1, [])

    def rows(self, start: int, count: int) -> list[int]:
        """Rows as they end: in the order of the manifest, but for what was in flight together."""
        return [self.row(place) for place in range(start, min(start + count, self.until - self.first))]

    def row(self, place: int) -> int:
        start = self.first + place // FEED_WINDOW_ROWS * FEED_WINDOW_ROWS
        if self.block[0] != start:
            rows = list(range(start, min(start + FEED_WINDOW_ROWS, self.until)))
            random.Random(start).shuffle(rows)
            self.block = start, rows
        return self.block[1][place % FEED_WINDOW_ROWS]

    async def results(self, run_id: str, limit: int) -> Batch:  # noqa: ARG002 - the port asks for all of them
        began = time.process_time()
        items = tuple(result_of(row) for row in self.rows(self.written, limit))
        self.spent += time.process_time() - began
        return Batch(self.written, items)

    async def results_written(self, run_id: str, batch: Batch) -> bool:  # noqa: ARG002 - the port asks for all of them
        self.written = batch.end
        return True

    async def accepted_ids(self, run_id: str, limit: int) -> Batch:  # noqa: ARG002 - the port asks for all of them
        began = time.process_time()
        items = tuple(b"%b" % saved_line(row, record_of(row)) for row in self.rows(self.saved, limit))
        self.spent += time.process_time() - began
        return Batch(self.saved, items)

    async def accepted_saved(self, run_id: str, batch: Batch) -> bool:  # noqa: ARG002 - the port asks for all of them
        self.saved = batch.end
        return True

    async def feed(self, run_id: str, cursor: int, until: int, rows: Sequence[FedRow]) -> bool:  # noqa: ARG002 - the port asks for all of them
        self.fed, self.pushed, self.calls = until, self.pushed + len(rows), self.calls + 1
        return True

    async def snapshot(self, run_id: str) -> None:  # noqa: ARG002 - the port asks for all of them
        return None

    async def set_state(self, *_: object, **__: object) -> bool:
        return True

    async def open_run(self, card: RunCard, **given: Any) -> bool:  # noqa: ARG002 - the port asks for all of them
        self.given = {"done": len(given["done"]), "ended": dict(given["ended"])}
        return True


def record_of(row: int) -> RowRecord:
    at = (STARTED_MS + row) * 1000
    return RowRecord(1, 2, f"task-llmrouter-{row:032x}", at, 30_000, STARTED_MS + row + 30_000, model="gemini-2.5-pro")


def result_of(row: int) -> bytes:
    record = record_of(row)
    content = " ".join(random.Random(row).choices(WORDS, k=90)) + f" digest: {random.Random(row).getrandbits(256):064x}"
    usage = {
        "prompt_tokens": 8_000 + row % 4_000,
        "completion_tokens": 120 + row % 60,
        "total_tokens": 8_200,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 800, "video_tokens": 7_000},
        "completion_tokens_details": {"reasoning_tokens": 0},
        "cost": 0.01 + row % 100 / 10_000,
    }
    answer = {
        "id": f"chatcmpl-{row:032x}",
        "object": "chat.completion",
        "created": STARTED_MS // 1000,
        "model": "gemini-2.5-pro",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": usage,
    }
    completion = {
        "content": content,
        "finish_reason": "stop",
        "model_answered": "gemini-2.5-pro",
        **{name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")},
        "reasoning_tokens": 0,
        "cached_tokens": 0,
        "audio_tokens": 800,
        "video_tokens": 7_000,
        "usage": orjson.dumps(usage).decode(),
        "cost": usage["cost"],
        "response": orjson.dumps(answer).decode(),
    }
    ending = {"o": "completed", "t": (STARTED_MS + row + 30_000) * 1000, "c": completion}
    return b'{"i":%d,"r":%b,"e":%b}' % (row, pack(record), orjson.dumps(ending))


def run_of(folder: Path):
    [found] = OutFolder(folder / "out").runs()
    return found


def question_of(folder: Path, name: str) -> Question:
    return Question((folder / name,), Defaults(), "https://api.example.com", None)


def card_of(run, total: int) -> RunCard:
    return RunCard(
        run.run_id, "api#key", "https://api.example.com", "key", str(run.out), "token", "e1", total, Policy()
    )


def snapshot_of(run, total: int) -> RunSnapshot:
    numbers = dict.fromkeys(RunSnapshot.__dataclass_fields__, 0)
    needed = {name for name, one in RunSnapshot.__dataclass_fields__.items() if one.type is int}
    kept = {name: value for name, value in numbers.items() if name in needed}
    words = {"outcomes": {"completed": total}, "shifts": {}, "cost": 0.0}
    return RunSnapshot(**{**kept, **words, "run_id": run.run_id, "state": RunState.RUNNING, "total": total})


def plan_stage(folder: Path, name: str, *, keep: bool) -> dict[str, Any]:
    out = folder / "out" if keep else folder / f"out-{name}"
    prepared = prepare(question_of(folder, name), OutFolder(out), prices={}, strict=False, progress=None)
    requests = prepared.described["requests"]
    if not keep:
        shutil.rmtree(out)
    return {"rows": requests}


def prepared_again(folder: Path) -> Prepared:
    question = question_of(folder, "ids.csv")
    return prepare(question, OutFolder(folder / "out"), prices={}, strict=False, progress=None)


def again_stage(folder: Path) -> dict[str, Any]:
    prepared = prepare(
        question_of(folder, "ids.csv"), OutFolder(folder / "out"), prices={}, strict=False, progress=None
    )
    return {"resumed": prepared.resumed}


def write_stage(folder: Path, first: int, until: int) -> dict[str, Any]:
    run = run_of(folder)
    described = run.described()
    ledger = Results(first, until)
    card = replace(card_of(run, described["requests"]), epoch=f"e{first:04}")
    writing = Writing(card, run, {})

    async def work() -> int:
        written = 0
        while True:
            await save_ids(ledger, writing)
            if not (now := await write_part(ledger, writing, lambda: STARTED_MS * 1000)):
                return written
            written += now

    return {"rows": asyncio.run(work()), "generating": ledger.spent}


def feed_stage(folder: Path) -> dict[str, Any]:
    run = run_of(folder)
    total = run.described()["requests"]
    ledger = Results()
    asyncio.run(_fed(ledger, run, total, 0))
    return {"rows": ledger.pushed, "calls": ledger.calls}


async def _fed(ledger: Results, run, total: int, recover_until: int) -> None:
    seen = replace(snapshot_of(run, total), recover_until=recover_until)
    while ledger.fed < total:
        await feed(replace(seen, fed=ledger.fed), ledger, run, Policy())


def recover_stage(folder: Path) -> dict[str, Any]:
    """From the repeated command to the first row that is pushed, with the ledger lost; then the rest."""
    began, run = time.perf_counter(), run_of(folder)
    total = run.described()["requests"]
    run.mark_fed(total)
    ledger = Results()
    prepared = prepare(
        question_of(folder, "ids.csv"), OutFolder(folder / "out"), prices={}, strict=False, progress=None
    )

    async def work() -> float:
        await enter_ledger(card_of(run, total), prepared, ledger)
        first = 0.0
        seen = replace(snapshot_of(run, total), recover_until=total)
        while ledger.fed < total:
            await feed(replace(seen, fed=ledger.fed), ledger, run, Policy())
            if ledger.pushed and not first:
                first = time.perf_counter() - began
        return first

    first = asyncio.run(work())
    return {
        "rows": total,
        "first_push_s": round(first, 2),
        "pushed": ledger.pushed,
        "calls": ledger.calls,
        **ledger.given,
    }


def finalize_stage(folder: Path) -> dict[str, Any]:
    run = run_of(folder)
    total = run.described()["requests"]
    marks = []
    for name in ("publish", "found"):
        _timed(run, name, marks)
    asyncio.run(finalize(snapshot_of(run, total), Results(), run))
    files = [round(path.stat().st_size / 1e6) for path in sorted(run.published.iterdir())]
    return {"rows": total, "MB": files, **dict(marks)}


def _timed(run, name: str, marks: list[tuple[str, float]]) -> None:
    work = getattr(run, name)

    def timed():
        began = time.process_time()
        try:
            return work()
        finally:
            marks.append((f"{name}_cpu", round(time.process_time() - began, 2)))
            marks.append((f"{name}_peak", peak_mb()))

    setattr(run, name, timed)


def verify_stage(folder: Path) -> dict[str, Any]:
    verdict = verify(run_of(folder))
    return {"differences": [str(one) for one in verdict.differences][:3]}


def query_stage(folder: Path) -> dict[str, Any]:
    import duckdb  # noqa: PLC0415 - only this stage reads as users do

    told = {}
    source = f"read_parquet('{folder}/out/annotations/*/*.parquet', hive_partitioning=true)"
    for name, query in {
        "count": f"select count(*) from {source}",
        "group_by": f"select outcome, finish_reason, sum(prompt_tokens), avg(cost) from {source} group by all",
        "in_order": f"select count(*) from (select row_index - lag(row_index) over () as d from {source}) where d <= 0",
    }.items():
        began = time.perf_counter()
        told[name] = duckdb.sql(query).fetchall()[0][0]
        told[f"{name}_s"] = round(time.perf_counter() - began, 2)
    return told


def peak_mb() -> int:
    """The most that this process ever held, since its exec."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


STAGES = {
    "plan csv": lambda folder, _: plan_stage(folder, "bare.csv", keep=False),
    "plan parquet, ids": lambda folder, _: plan_stage(folder, "ids.parquet", keep=False),
    "plan csv, ids": lambda folder, _: plan_stage(folder, "ids.csv", keep=True),
    "same command": lambda folder, _: again_stage(folder),
    "feed": lambda folder, _: feed_stage(folder),
    "write": lambda folder, rows: write_stage(folder, 0, round(rows * BEFORE)),
    "recover": lambda folder, _: recover_stage(folder),
    "write rest": lambda folder, rows: write_stage(folder, round(rows * BEFORE), rows),
    "finalize": lambda folder, _: finalize_stage(folder),
    "verify": lambda folder, _: verify_stage(folder),
    "query": lambda folder, _: query_stage(folder),
}


def one_stage(name: str, folder: Path, rows: int) -> None:
    keep_out_unused()
    wall, cpu, base = time.perf_counter(), time.process_time(), peak_mb()
    told = STAGES[name](folder, rows)
    cpu = time.process_time() - cpu - told.pop("generating", 0.0)
    figures = {"wall": time.perf_counter() - wall, "cpu": cpu, "base": base, "peak": peak_mb()}
    print(json.dumps({**figures, **told}))


def all_stages(folder: Path, rows: int, chosen: Sequence[str]) -> None:
    if not (folder / "ids.parquet").exists():
        make_manifests(folder, rows)
    for name in chosen:
        command = [sys.executable, __file__, "--stage", name, "--folder", str(folder), "--rows", str(rows)]
        reply = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        told = json.loads(reply)
        wall, cpu, base, peak = (told.pop(name) for name in ("wall", "cpu", "base", "peak"))
        words = ", ".join(f"{key} {value}" for key, value in told.items())
        print(
            f"{rows:9,} {name:18} {wall:7.1f} {cpu:7.1f} {1e6 * cpu / rows:8.1f} {base:6} {peak:6}  {words}", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--stages", nargs="+", default=list(STAGES))
    parser.add_argument("--folder", type=Path, help="keep the run here, a folder for each number of rows")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        one_stage(given.stage, given.folder, given.rows[0])
        return
    print(f"{'rows':>9} {'stage':18} {'wall s':>7} {'CPU s':>7} {'us/row':>8} {'base':>6} {'peak':>6}  (MB)")
    for rows in given.rows:
        with tempfile.TemporaryDirectory() as scratch:
            folder = (given.folder or Path(scratch)) / str(rows)
            folder.mkdir(parents=True, exist_ok=True)
            all_stages(folder, rows, given.stages)


if __name__ == "__main__":
    main()
