"""The door to the plan's files: requests.parquet and rejects.parquet, written once; `requests_reader` reads them.

A file appears under its name whole or not at all: it is written under a temporary name, flushed to the disk and
renamed. Nothing here judges a row.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from pyarrow import parquet

from pipeline.core.errors import StorageError
from pipeline.core.requests import Rejection, Request
from pipeline.edges.places import Place

ROW_GROUP_ROWS = 4096
ROW_GROUP_CHARACTERS = 64 << 20  # long prompts make smaller groups, so that one fits in memory wherever it is read
_DICTIONARY_BYTES = 64 << 20  # a prompt shared by all rows must stay one entry, however long it is

LAYOUT: Mapping[str, Any] = {
    "compression": "zstd",
    "dictionary_pagesize_limit": _DICTIONARY_BYTES,
    "write_statistics": ["row_index"],  # what finds a row; of texts they would only cost
}
SHARED = ("prompt_name", "model", "prompt", "system_prompt")

_WORD = pa.dictionary(pa.int32(), pa.string())
REQUESTS_SCHEMA = pa.schema(
    [
        ("row_index", pa.int64()),
        ("row_id", pa.string()),
        ("prompt_name", _WORD),
        ("line", pa.int64()),
        ("request_hash", pa.string()),
        ("model", _WORD),
        ("prompt", _WORD),
        ("system_prompt", _WORD),
        ("video_urls", pa.list_(pa.string())),
        ("temperature", pa.float64()),
        ("max_tokens", pa.int64()),
        ("reasoning", pa.bool_()),
        ("carried", pa.map_(pa.string(), pa.string())),
    ]
)
REJECTS_SCHEMA = pa.schema(
    [(column.name, pa.int64() if column.name in {"row_index", "line"} else pa.string()) for column in fields(Rejection)]
)


class _RowGroups:
    """Writes row groups into a file that gets its name when it is whole.

    A context manager: after a good end the file is published, after a bad one nothing is left behind. The cells wait
    in one plain list a column: records kept by the thousand would be walked by the garbage collector again and again,
    which costs more than writing them.
    """

    def __init__(self, path: Path, schema: pa.Schema, row_group_rows: int, dictionary: Sequence[str] = ()) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.tmp")
        self._schema = schema
        self._row_group_rows = row_group_rows
        self._cells: list[list[Any]] = [[] for _ in schema]
        self._characters = 0
        with storage(path):
            self._file = self._temporary.open("wb")
        self._writer = parquet.ParquetWriter(
            self._file,
            schema,
            **LAYOUT,
            use_dictionary=list(dictionary),
        )

    def _count(self, characters: int) -> None:
        """Note that a row was added, and write the group when it is full."""
        self._characters += characters
        if len(self._cells[0]) >= self._row_group_rows or self._characters >= ROW_GROUP_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        columns = [_encode(cells, column.type) for cells, column in zip(self._cells, self._schema, strict=True)]
        with storage(self._path):
            self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        for cells in self._cells:
            cells.clear()
        self._characters = 0

    def _publish(self) -> None:
        if self._cells[0]:
            self._flush()
        with storage(self._path):
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.replace(self._path)
            _sync_folder(self._path.parent)

    def _discard(self) -> None:
        for step in (self._writer.close, self._file.close, self._temporary.unlink):
            with suppress(OSError):  # what made us give up is told already
                step()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with ExitStack() as undo:
            undo.callback(self._discard)
            if kind is None:
                self._publish()
                undo.pop_all()


class RequestsWriter(_RowGroups):
    """Writes requests.parquet with some metadata; `StorageError` when the disk refuses."""

    def __init__(self, path: Path, metadata: Mapping[str, str], row_group_rows: int = ROW_GROUP_ROWS) -> None:
        schema = REQUESTS_SCHEMA.with_metadata(dict(metadata))
        super().__init__(path, schema, row_group_rows, SHARED)
        self._appends = [cells.append for cells in self._cells]
        self._last_prompt = ""

    def add(self, request: Request, request_hash: str) -> None:
        """Keep one request and its hash; they come in the order of row indexes."""
        (
            index,
            row_id,
            prompt_name,
            line,
            digest,
            model,
            prompt,
            system,
            videos,
            temperature,
            tokens,
            reasoning,
            carried,
        ) = self._appends
        index(request.row_index)
        row_id(request.row_id)
        prompt_name(request.prompt_name)
        line(request.line)
        digest(request_hash)
        model(request.model)
        prompt(request.prompt)
        system(request.system_prompt)
        videos(request.video_urls)
        temperature(request.temperature)
        tokens(request.max_tokens)
        reasoning(request.reasoning)
        carried(request.carried)
        if request.prompt == self._last_prompt:
            self._count(len(request.video_urls[0]))
        else:
            self._last_prompt = request.prompt
            self._count(len(request.prompt))


class RejectsWriter(_RowGroups):
    """Writes rejects.parquet; `StorageError` when the disk refuses."""

    def __init__(self, path: Path, row_group_rows: int = ROW_GROUP_ROWS) -> None:
        super().__init__(path, REJECTS_SCHEMA, row_group_rows)

    def add(self, rejection: Rejection) -> None:
        """Keep one rejection; they come in the order of row indexes."""
        for cells, name in zip(self._cells, REJECTS_SCHEMA.names, strict=True):
            cells.append(getattr(rejection, name))
        self._count(len(rejection.row))


@contextmanager
def storage(path: Place) -> Iterator[None]:
    """Translate what the disk and pyarrow raise, in the one place."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path}: {error}.") from error


def _sync_folder(folder: Path) -> None:
    """Bring a rename to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _encode(cells: list[Any], kind: pa.DataType) -> pa.Array:
    """Turn a column's cells into Arrow; repeated words once each, lists and maps flattened."""
    if pa.types.is_dictionary(kind):
        places: dict[str, int] = {}
        indices = [None if word is None else places.setdefault(word, len(places)) for word in cells]
        return pa.DictionaryArray.from_arrays(pa.array(indices, kind.index_type), pa.array(places, kind.value_type))
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(_offsets(cells), pa.array(list(chain.from_iterable(cells)), kind.value_type))
    if pa.types.is_map(kind):
        keys = pa.array(list(chain.from_iterable(cells)), kind.key_type)
        values = pa.array([value for each in cells for value in each.values()], kind.item_type)
        return pa.MapArray.from_arrays(_offsets(cells), keys, values)
    return pa.array(cells, kind)


def _offsets(cells: list[Any]) -> pa.Array:
    return pa.array([0, *accumulate(map(len, cells))], pa.int32())
