"""Reading a plan's rejections back, for people."""

from typing import Any

import pyarrow.parquet as pq

from pipeline.core.errors import StorageError
from pipeline.edges.opening import parquet_source
from pipeline.edges.places import Place


def read_rejects(path: Place, count: int) -> list[dict[str, Any]]:
    """The first rejections of a planned run, by column name. StorageError when the file can't be read."""
    found: list[dict[str, Any]] = []
    try:
        with pq.ParquetFile(parquet_source(path)) as file:
            for batch in file.iter_batches(batch_size=count):
                found += batch.to_pylist()
                if len(found) >= count:
                    break
    except OSError as error:
        raise StorageError(f"{path} can't be read: {error}") from error
    return found[:count]
