"""What a run left behind: its files, and how fast a query over them is."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from benchmarks.throughput.candidates import Place

MB = 2**20
LEAST_MB, MOST_MB = 64, 512


@dataclass(frozen=True, slots=True)
class Dataset:
    """The published files of a run, and two queries over all of them."""

    rows: int
    sizes_mb: tuple[float, ...]
    count_s: float
    group_s: float
    other_files: int
    other_mb: float

    @property
    def well_sized(self) -> bool:
        """Whether the files are neither many nor huge."""
        return well_sized(self.sizes_mb)


def well_sized(sizes_mb: Sequence[float]) -> bool:
    """Whether every file is of 64 to 512 MB, or there is one, which may be smaller."""
    least = LEAST_MB if len(sizes_mb) > 1 else 0
    return bool(sizes_mb) and all(least <= size <= MOST_MB for size in sizes_mb)


def dataset_of(place: Place) -> Dataset:
    """Look at what was published in a place, and at what is kept of the run beside it."""
    published = sorted((place.out / "annotations").rglob("*.parquet"))
    others = [path for path in place.out.rglob("*") if path.is_file() and path not in set(published)]
    files = str(place.out / "annotations" / "**" / "*.parquet")
    with duckdb.connect() as database:
        began = time.perf_counter()
        counted = database.execute("SELECT count(*) FROM read_parquet(?)", [files]).fetchone()
        halfway = time.perf_counter()
        grouped = "SELECT outcome, model_answered, count(*), sum(cost) FROM read_parquet(?) GROUP BY ALL"
        database.execute(grouped, [files]).fetchall()
        ended = time.perf_counter()
    return Dataset(
        rows=int(counted[0]) if counted else 0,
        sizes_mb=tuple(path.stat().st_size / MB for path in published),
        count_s=halfway - began,
        group_s=ended - halfway,
        other_files=len(others),
        other_mb=sum(path.stat().st_size for path in others) / MB,
    )
