"""Reading a plan's rejections back, for people."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.core.errors import StorageError


def read_rejects(path: Path, count: int) -> list[dict[str, Any]]:
    """The first rejections of a planned run, by column name. StorageError when the file can't be read."""
    found: list[dict[str, Any]] = []
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=count):
                found += batch.to_pylist()
                if len(found) >= count:
                    break
    except OSError as error:
        raise StorageError(f"{path} can't be read: {error}") from error
    return found[:count]
