"""Manifests of the bench: rows as people have them, an id and a video each."""

from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

BATCH = 100_000
SCHEMA = pa.schema([("id", pa.string()), ("video_url", pa.string())])


def batch(first: int, count: int) -> pa.RecordBatch:
    """So many rows, every one with a video of its own."""
    numbers = range(first, first + count)
    ids = [f"clip-{number:08}" for number in numbers]
    videos = [f"https://videos.example/library/{number % 997:03}/clip-{number:08}.mp4" for number in numbers]
    return pa.record_batch([pa.array(ids), pa.array(videos)], SCHEMA)


def write_manifest(path: Path, rows: int) -> Path:
    """Write a manifest of so many rows, CSV or Parquet by its name, a batch at a time."""
    writer = (csv.CSVWriter if path.suffix == ".csv" else parquet.ParquetWriter)(str(path), SCHEMA)
    with writer:
        for first in range(0, rows, BATCH):
            writer.write_batch(batch(first, min(BATCH, rows - first)))
    return path
