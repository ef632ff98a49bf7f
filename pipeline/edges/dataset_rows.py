"""Annotations read back row by row, for whoever holds them against something else; small datasets only."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.edges.opening import parquet_source
from pipeline.edges.places import Place


def dataset_rows(out: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """These columns of every published annotation in OUT, file by file."""
    files = sorted(out.glob("annotations/**/*.parquet"))
    return [row for file in files for row in pq.read_table(file, columns=list(columns), partitioning=None).to_pylist()]


def rejected_rows(path: Place) -> list[int]:
    """Row indexes of a planned run's rejections."""
    return [int(index) for index in pq.read_table(parquet_source(path), columns=["row_index"])["row_index"].to_pylist()]
