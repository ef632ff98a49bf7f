"""The door to the plan's files: requests.parquet and rejects.parquet, written once, then only read.

A file appears under its name whole or not at all: it is written under a temporary name, flushed to the disk and
renamed. Nothing here judges a row.
"""

import os
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields
from itertools import accumulate, chain, pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from pyarrow import parquet

from pipeline.core.errors import StorageError
from pipeline.core.requests import Rejection, Request

ROW_GROUP_ROWS = 4096
ROW_GROUP_CHARACTERS = 64 << 20  # long prompts make smaller groups, so that one fits in memory wherever it is read
CACHED_ROW_GROUPS = 4  # rows end roughly in order: the groups at work are few and neighbours
_DICTIONARY_BYTES = 64 << 20  # a prompt shared by all rows must stay one entry, however long it is

_WORD = pa.dictionary(pa.int32(), pa.string())
REQUESTS_SCHEMA = pa.schema(
    [
        ("row_index", pa.int64()),
        ("row_id", pa.string()),
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
_REQUEST_COLUMNS = [column.name for column in fields(Request)]
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
        with _storage(path):
            self._file = self._temporary.open("wb")
        self._writer = parquet.ParquetWriter(
            self._file,
            schema,
            compression="zstd",
            use_dictionary=list(dictionary),
            dictionary_pagesize_limit=_DICTIONARY_BYTES,
            write_statistics=["row_index"],  # what finds a row; of texts they would only cost
        )

    def _count(self, characters: int) -> None:
        """Note that a row was added, and write the group when it is full."""
        self._characters += characters
        if len(self._cells[0]) >= self._row_group_rows or self._characters >= ROW_GROUP_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        columns = [_encode(cells, column.type) for cells, column in zip(self._cells, self._schema, strict=True)]
        with _storage(self._path):
            self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        for cells in self._cells:
            cells.clear()
        self._characters = 0

    def _publish(self) -> None:
        if self._cells[0]:
            self._flush()
        with _storage(self._path):
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
        super().__init__(path, schema, row_group_rows, ("model", "prompt", "system_prompt"))
        self._appends = [cells.append for cells in self._cells]
        self._last_prompt = ""

    def add(self, request: Request, request_hash: str) -> None:
        """Keep one request and its hash; they come in the order of row indexes."""
        index, row_id, line, digest, model, prompt, system, videos, temperature, tokens, reasoning, carried = (
            self._appends
        )
        index(request.row_index)
        row_id(request.row_id)
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


class RequestsFile:
    """Reads requests.parquet, in order or by row index; `StorageError` when it can't be read.

    `total` counts its requests. A few decoded row groups stay in memory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _storage(path):
            self._file = parquet.ParquetFile(path)
        layout = self._file.metadata
        groups = [layout.row_group(place) for place in range(layout.num_row_groups)]
        self.total: int = layout.num_rows
        self._starts = [0, *accumulate(group.num_rows for group in groups)]
        self._last_indexes = [group.column(0).statistics.max for group in groups]
        self._decoded: OrderedDict[int, list[Request]] = OrderedDict()

    @property
    def metadata(self) -> dict[str, str]:
        """What the writer was given to keep beside the rows."""
        return {key.decode(): value.decode() for key, value in (self._file.schema_arrow.metadata or {}).items()}

    def read(self, position: int, count: int) -> list[Request]:
        """Return up to `count` requests from the `position`-th on, counted from 0; fewer at the end."""
        requests: list[Request] = []
        end = min(position + count, self.total)
        while position < end:
            place = bisect_right(self._starts, position) - 1
            start = self._starts[place]
            piece = self._group(place)[position - start : end - start]
            requests += piece
            position += len(piece)
        return requests

    def rows(self, row_indexes: Sequence[int]) -> dict[int, Request]:
        """Return the requests of these manifest rows; a row that has none (a rejected one) is left out."""
        found: dict[int, Request] = {}
        for row_index in sorted(row_indexes):
            place = bisect_left(self._last_indexes, row_index)
            if place == len(self._last_indexes):
                break
            group = self._group(place)
            at = bisect_left(group, row_index, key=attrgetter("row_index"))
            if group[at].row_index == row_index:
                found[row_index] = group[at]
        return found

    def _group(self, place: int) -> list[Request]:
        """Return a row group, decoded; the least recently used one makes room."""
        if place in self._decoded:
            self._decoded.move_to_end(place)
            return self._decoded[place]
        with _storage(self._path):
            table = self._file.read_row_group(place, columns=_REQUEST_COLUMNS)
        requests = [request for batch in table.to_batches() for request in _requests(batch)]
        self._decoded[place] = requests
        if len(self._decoded) > CACHED_ROW_GROUPS:
            self._decoded.popitem(last=False)
        return requests

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _storage(path: Path) -> Iterator[None]:
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


def _requests(batch: pa.RecordBatch) -> Iterator[Request]:
    """Decode a batch whose columns are those of `Request`, in its order."""
    return map(Request, *(_decode(column) for column in batch.select(_REQUEST_COLUMNS).columns))


def _decode(column: pa.Array) -> Iterable[Any]:
    """Return a column's cells; equal words are one object, so that a shared prompt is in memory once."""
    types = pa.types
    if types.is_dictionary(column.type):
        words = column.dictionary.to_pylist()
        return [None if place is None else words[place] for place in column.indices.to_pylist()]
    if types.is_map(column.type):
        keys, values = _decode(column.keys.dictionary_encode()), column.items.to_pylist()
        pairs = list(zip(keys, values, strict=True))
        return [dict(pairs[start:end]) for start, end in pairwise(column.offsets.to_pylist())]
    if types.is_list(column.type):
        flat = column.values.to_pylist()
        return [tuple(flat[start:end]) for start, end in pairwise(column.offsets.to_pylist())]
    cells: list[object] = column.to_pylist()
    return cells
