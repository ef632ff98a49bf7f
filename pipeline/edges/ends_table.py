"""What was asked and how it ended, joined into annotations: column by column, without a Python object for a request."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.ends import Columns

_ASKED = ("row_id", "request_hash", "prompt_name", "model", "prompt", "system_prompt", "video_urls")


def joined(asked: Sequence[pa.RecordBatch], ends: Columns, names: Mapping[str, str], schema: pa.Schema) -> pa.Table:
    """Annotations of rows, in order; `names` maps carried columns to the dataset's."""
    held = asked_columns(asked, names, schema)
    held["row_index"] = pa.array(ends.row_indexes, pa.int64())
    held["attempt_log"] = _logs(ends, schema.field("attempt_log").type)
    made = ends.cells
    for one in schema:
        if one.name in made:
            held[one.name] = pa.array(made[one.name], one.type)
        elif one.name not in held:
            held[one.name] = pa.nulls(len(ends.row_indexes), one.type)
    return pa.table([held[name] for name in schema.names], schema=schema)


def asked_columns(asked: Sequence[pa.RecordBatch], names: Mapping[str, str], schema: pa.Schema) -> dict[str, Any]:
    """The columns of the dataset that tell what was asked, by name."""
    held: dict[str, Any] = {name: _column([batch[name] for batch in asked], schema.field(name).type) for name in _ASKED}
    return held | {own: _carried([batch["carried"] for batch in asked], carried) for carried, own in names.items()}


def _column(chunks: Sequence[Any], kind: pa.DataType) -> Any:  # noqa: ANN401 - pyarrow has no types
    return pa.chunked_array([chunk.cast(kind) for chunk in chunks], kind)


def _carried(chunks: Sequence[Any], name: str) -> Any:  # noqa: ANN401
    return pa.chunked_array([pc.map_lookup(chunk, pa.scalar(name), "first") for chunk in chunks], pa.string())


def _logs(ends: Columns, kind: Any) -> Any:  # noqa: ANN401
    fields = list(kind.value_type)
    entries = pa.StructArray.from_arrays([pa.array(ends.log[one.name], one.type) for one in fields], fields=fields)
    return pa.ListArray.from_arrays(pa.array([0, *accumulate(ends.log_sizes)], pa.int32()), entries)
