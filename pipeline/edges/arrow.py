"""Arrow's columns read in place, without an object for every cell."""

from typing import Any


def numbers(column: Any) -> "memoryview[int]":  # noqa: ANN401 - pyarrow has no types
    """The cells of an int64 column without nulls, as they lie in memory. ValueError where a cell is null."""
    if column.null_count:
        raise ValueError("a number is missing")
    if not len(column):
        return memoryview(b"").cast("q")
    return memoryview(column.buffers()[1]).cast("B").cast("q")[column.offset : column.offset + len(column)]
