"""What it takes to look up a plan among the rows that a dataset has answered, by how many it knows.

    python benchmarks/reuse_scale.py [--known 10000000] [--planned 10000,1000000]

Half of the planned rows were answered before. Time and memory are those of looking up and of sharing out the rows, in a
process of its own; the peak is sampled, and beside it stands the same process before it began.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from hashlib import sha256
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.requests import Request
from pipeline.edges.requests_file import RequestsWriter
from pipeline.edges.sifting import sift

STEP = 500_000
RUNS = 20
KNOWN = pa.schema(
    [
        ("row_index", pa.int64()),
        *((name, pa.string()) for name in ("row_id", "request_hash", "outcome", "generation_id", "duplicate_of")),
        ("possible_duplicate", pa.bool_()),
    ]
)


def request_of(number):
    return Request(number, f"clip-{number}", number + 2, "gemini-2.5-pro", f"Describe {number}.", ("https://x/a.mp4",))


def hash_of(number):
    return sha256(f"request {number}".encode()).hexdigest()


def make_known(folder, count):
    for run in range(RUNS):
        numbers = range(run * count // RUNS, (run + 1) * count // RUNS)
        with pq.ParquetWriter(folder / f"run-{run:03}.parquet", KNOWN, compression="zstd") as writer:
            for start in range(0, len(numbers), STEP):
                some = numbers[start : start + STEP]
                columns = {
                    "row_index": some,
                    "row_id": [f"clip-{number}" for number in some],
                    "request_hash": [hash_of(number) for number in some],
                    "outcome": ["completed"] * len(some),
                    "generation_id": [f"task-{number}" for number in some],
                    "duplicate_of": [None] * len(some),
                    "possible_duplicate": [False] * len(some),
                }
                writer.write_table(pa.table([pa.array(columns[one.name], one.type) for one in KNOWN], schema=KNOWN))


def make_plan(folder, known, count):
    folder.mkdir()
    with RequestsWriter(folder / "requests.parquet", {}) as writer:
        for number in range(count):
            writer.add(request_of(number), hash_of(known - count // 2 + number))


def look_up(folder, known_folder):
    """Sift a plan here, and print what it took."""
    known = {path.stem: [path] for path in sorted(known_folder.glob("*.parquet"))}
    own = psutil.Process()
    before = peak = own.memory_info().rss
    done = threading.Event()

    def sample():
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, own.memory_info().rss)

    threading.Thread(target=sample, daemon=True).start()
    begun = time.monotonic()
    sifted = sift(folder, known)
    took = time.monotonic() - begun
    done.set()
    told = {"seconds": took, "before_mb": before / 1e6, "peak_mb": peak / 1e6}
    print(json.dumps({**told, "requests": sifted.requests, "reused": sifted.reused.total()}))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--known", type=int, default=10_000_000)
    parser.add_argument("--planned", default="10000,1000000")
    parser.add_argument("--look-up", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.look_up:
        look_up(*given.look_up)
        return
    with tempfile.TemporaryDirectory(prefix="vidbatch-reuse-") as scratch:
        known = Path(scratch) / "known"
        known.mkdir()
        make_known(known, given.known)
        for planned in map(int, given.planned.split(",")):
            folder = Path(scratch) / f"plan-{planned}"
            make_plan(folder, given.known, planned)
            told = json.loads(
                subprocess.check_output([sys.executable, __file__, "--look-up", folder, known], text=True)
            )
            assert told["requests"] == told["reused"] == planned // 2, told
            print(f"{given.known:,} known, {planned:,} planned: {told['seconds']:.1f} s, peak {told['peak_mb']:.0f} MB")


if __name__ == "__main__":
    main()
