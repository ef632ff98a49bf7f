"""How many rows a second become a plan on one core, by manifest format.

    python benchmarks/plan_rate.py [--rows 100000] [--ids] [--profile csv]

Each figure is the whole way from the manifest's bytes to a published requests.parquet. CPU seconds are this
process's user + system time, all threads; the median of the repetitions is told, with the best beside it.
"""

import argparse
import cProfile
import csv
import gzip
import pstats
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pyarrow as pa
from pyarrow import parquet

from pipeline.core.requests import Defaults
from pipeline.edges.manifests import read_rows
from pipeline.edges.requests_file import RejectsWriter, RequestsWriter
from pipeline.flows.plan import PlanSummary, plan

PROMPT = "Describe the video: the people, what they do, the place, and any text that can be read. " * 4


def rows(count: int, *, with_ids: bool) -> Iterator[dict[str, str]]:
    """Rows as people have them: a URL each, one prompt for all of them, two columns of their own."""
    for index in range(count):
        row = {"video_url": f"https://videos.example.com/library/{index % 997:03}/clip-{index:08}.mp4"}
        if with_ids:
            row["id"] = f"clip-{index:08}"
        yield row | {"prompt": PROMPT, "camera": f"cam-{index % 12}", "day": f"2026-05-{index % 28 + 1:02}"}


def write_manifests(folder: Path, count: int, *, with_ids: bool) -> dict[str, Path]:
    table = list(rows(count, with_ids=with_ids))
    paths = {name: folder / f"videos.{name}" for name in ("csv", "csv.gz", "jsonl", "parquet")}
    with paths["csv"].open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    paths["csv.gz"].write_bytes(gzip.compress(paths["csv"].read_bytes()))
    paths["jsonl"].write_bytes(b"\n".join(orjson.dumps(row) for row in table))
    parquet.write_table(pa.Table.from_pylist(table), paths["parquet"])
    return paths


def plan_once(manifest: Path) -> PlanSummary:
    folder = manifest.parent
    with (
        RequestsWriter(folder / "requests.parquet", {}) as requests,
        RejectsWriter(folder / "rejects.parquet") as rejects,
    ):
        return plan(read_rows([manifest]), Defaults(), requests_sink=requests, rejects_sink=rejects)


def measure(work: Callable[[], PlanSummary], repetitions: int) -> tuple[list[float], list[float]]:
    walls, cpus = [], []
    for _ in range(repetitions):
        wall, cpu = time.perf_counter(), time.process_time()
        summary = work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        assert summary.rejections == 0
    return walls, cpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--ids", action="store_true", help="give each row an id of its own")
    parser.add_argument("--profile", help="profile one format instead of timing all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        manifests = write_manifests(Path(folder), options.rows, with_ids=options.ids)
        if options.profile:
            with cProfile.Profile() as profile:
                plan_once(manifests[options.profile])
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
            return
        print(f"{'format':8} {'rows/s (median)':>16} {'rows/s (best)':>14} {'rows/CPU s':>11} {'µs CPU/row':>11}")
        for name, path in manifests.items():
            walls, cpus = measure(lambda path=path: plan_once(path), options.repetitions)
            cpu = statistics.median(cpus)
            print(
                f"{name:8} {options.rows / statistics.median(walls):16,.0f} {options.rows / min(walls):14,.0f}"
                f" {options.rows / cpu:11,.0f} {1e6 * cpu / options.rows:11.1f}"
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"peak memory of the process, the generated rows included: {peak} MB")


if __name__ == "__main__":
    main()
