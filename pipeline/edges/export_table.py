"""Exports that are one table in one file: CSV, JSON lines, Parquet and a DuckDB database.

DuckDB makes the lines, so that a million rows take no object each. Texts are other people's: a text that a spreadsheet
would take for a formula is marked as text.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.spreadsheets import FORMULA, harmless
from pipeline.edges.duck import named, text, translated
from pipeline.edges.export_view import View

GROUP_ROWS = 20_000
GROUP_BYTES = 64 * 1024 * 1024
_FORMULA = " OR ".join(f"starts_with({{0}}, chr({ord(character)}))" for character in FORMULA)

_SPECIAL = "'[\",\\r\\n]'"
_ISO = "'%Y-%m-%dT%H:%M:%S.%fZ'"


def write_csv(view: View, path: Path) -> None:
    """UTF-8 with a header; lists and structs as JSON, times as ISO, formulas as text."""
    head = ",".join(_csv_text(harmless(name)) for name in view.columns)
    cells = [_csv_cell(one) for one in view.schema(view.columns)]
    _write_lines(view, path, head.encode() + b"\n", f"concat({', chr(44), '.join(cells)}, chr(10))")


def write_jsonl(view: View, path: Path, shape: Any) -> None:  # noqa: ANN401 - JSON
    """One JSON object a row; `shape` tells which of an answer's texts are JSON themselves."""
    cells = ", ".join(f"{named(one.name)} := {_json_cell(one, shape)}" for one in view.schema(view.columns))
    _write_lines(view, path, b"", f"to_json(struct_pack({cells}))::VARCHAR || chr(10)")


def _write_lines(view: View, path: Path, head: bytes, line: str) -> None:
    """Write lines that DuckDB makes of rows; their bytes lie in Arrow's memory one after the other."""
    with path.open("wb") as file:
        file.write(head)
        for batch in view.batches([f"{line} AS line"]):
            lines = batch["line"].cast(pa.large_string())
            offsets = memoryview(lines.buffers()[1]).cast("B").cast("q")
            first, last = offsets[lines.offset], offsets[lines.offset + len(lines)]
            file.write(memoryview(lines.buffers()[2])[first:last])


def write_duckdb(view: View, path: Path) -> None:
    """A database with the table `annotations`."""
    view.run(f"ATTACH {text(str(path))} AS exported")
    try:
        view.run(f"CREATE TABLE exported.annotations AS {view.empty(view.columns)}")
        for query in view.stretches([named(name) for name in view.columns]):
            view.run(f"INSERT INTO exported.annotations {query}")
        view.run("DETACH exported")
    finally:
        path.with_name(f"{path.name}.wal").unlink(missing_ok=True)


def write_parquet(view: View, path: Path) -> None:
    """One typed file, in zstd."""
    groups = ParquetGroups(path, view.schema(view.columns))
    with translated():
        for batch in view.batches([named(name) for name in view.columns]):
            groups.add(batch)
        groups.close()


class ParquetGroups:
    """Writes batches as row groups of a sensible size; `size` is what was written and waits, in bytes."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._waiting: list[Any] = []
        self.size = 0

    def add(self, batch: Any) -> None:  # noqa: ANN401 - pyarrow has no types
        """More rows."""
        self._waiting.append(batch)
        self.size += batch.nbytes
        rows = sum(one.num_rows for one in self._waiting)
        if rows >= GROUP_ROWS or sum(one.nbytes for one in self._waiting) >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what waits, and the file's end."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, schema=self._schema)
            self._writer.write_table(table, row_group_size=len(table))
            self._waiting.clear()


def _csv_text(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if set(cell) & set('",\r\n') else cell


def _csv_cell(column: Any) -> str:  # noqa: ANN401 - pyarrow has no types
    """SQL of a cell as it stands in the file."""
    name, types = named(column.name), pa.types
    if types.is_timestamp(column.type):
        return f"strftime({name}, {_ISO})"
    if types.is_nested(column.type):
        return _csv_quoted(f"to_json({_with_times(name, column.type)})::VARCHAR")
    if not types.is_string(column.type):
        return f"{name}::VARCHAR"
    marked = f"(CASE WHEN {_FORMULA.format(name)} THEN chr(39) || {name} ELSE {name} END)"
    return f"CASE WHEN {name} = '' OR regexp_matches({name}, {_SPECIAL}) THEN {_csv_quoted(marked)} ELSE {marked} END"


def _csv_quoted(cell: str) -> str:
    return f"chr(34) || replace({cell}, chr(34), chr(34) || chr(34)) || chr(34)"


def _json_cell(column: Any, shape: Any) -> str:  # noqa: ANN401
    name = named(column.name)
    if pa.types.is_timestamp(column.type):
        return f"strftime({name}, {_ISO})"
    return (
        _unfolded(name, shape, 0) if column.name == "answer" and _holds_json(shape) else _with_times(name, column.type)
    )


def _with_times(name: str, kind: Any) -> str:  # noqa: ANN401
    """SQL of a list of records in which times are written as those of a column of their own."""
    fields = list(kind.value_type) if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type) else []
    if not any(pa.types.is_timestamp(one.type) for one in fields):
        return name
    told = ((f"one.{named(one.name)}", one) for one in fields)
    cells = (f"strftime({cell}, {_ISO})" if pa.types.is_timestamp(one.type) else cell for cell, one in told)
    packed = ", ".join(f"{named(one.name)} := {cell}" for one, cell in zip(fields, cells, strict=True))
    return f"list_transform({name}, lambda one: struct_pack({packed}))"


def _holds_json(shape: Any) -> bool:  # noqa: ANN401
    match shape:
        case {"list": held}:
            return _holds_json(held)
        case {"struct": fields}:
            return any(map(_holds_json, fields.values()))
    return bool(shape == "json")


def _unfolded(cell: str, shape: Any, depth: int) -> str:  # noqa: ANN401
    """SQL of an answer in which JSON that is kept as text is JSON again."""
    if not _holds_json(shape):
        return cell
    match shape:
        case {"list": held}:
            return f"list_transform({cell}, lambda x{depth}: {_unfolded(f'x{depth}', held, depth + 1)})"
        case {"struct": fields}:
            packed = ", ".join(
                f"{named(name)} := {_unfolded(f'{cell}.{named(name)}', held, depth + 1)}"
                for name, held in fields.items()
            )
            return f"CASE WHEN {cell} IS NULL THEN NULL ELSE struct_pack({packed}) END"
    return f"CASE WHEN json_valid({cell}) THEN {cell}::JSON ELSE to_json({cell}) END"
