"""Parquet files of OUT, opened to be read, wherever OUT is."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.edges import object_store
from pipeline.edges.places import ObjectPlace, Place

WHOLE_BYTES = 16 * 1024 * 1024
"""An object up to this size is fetched by one request; of a larger one what is read, a column of a row group each."""


def parquet_source(place: Place) -> Any:  # noqa: ANN401 - pyarrow has no types
    """What pyarrow's readers take for a file. OSError or StorageError where it can't be opened."""
    if not isinstance(place, ObjectPlace):
        return place
    if place.stat().st_size <= WHOLE_BYTES:
        return pa.BufferReader(place.read_bytes())
    return place.open("rb")


def dataset_of(files: Sequence[Place]) -> Any:  # noqa: ANN401
    """Objects as one dataset of Arrow's, of which only those columns are fetched that are asked for.

    A column that only some of them have is null in the others.
    """
    from pyarrow import dataset  # noqa: PLC0415 - only for an OUT in a store

    keys = [file.key for file in files if isinstance(file, ObjectPlace)]
    schemas = object_store.at_once(lambda file: pq.read_schema(parquet_source(file)), files)
    return dataset.dataset(
        keys, schema=pa.unify_schemas(schemas), format="parquet", filesystem=object_store.filesystem()
    )
