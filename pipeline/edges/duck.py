"""The one door to DuckDB: sorting and joining Parquet files in bounded memory, for reading and never for state.

A connection lives in memory, spills into a folder that goes with it, loads no extension and asks no network. Rows come
out as Arrow batches or as tuples; numpy and pandas are not needed.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pyarrow as pa

from pipeline.core.errors import StorageError
from pipeline.edges.object_store import at_once, download
from pipeline.edges.opening import dataset_of
from pipeline.edges.places import ObjectPlace, Place

MEMORY = "512MB"
THREADS = 2
BATCH_ROWS = 10_000
FETCHED_BYTES = 512 * 1024 * 1024

_CLOSED = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",  # a name in a query is never a variable of ours
}
_GLOB = "*?["


class Duck:
    """A connection; errors of DuckDB become StorageError."""

    def __init__(self, connection: Any, scratch: Path) -> None:  # noqa: ANN401 - duckdb's types change with its versions
        self._connection = connection
        self._scratch = scratch

    def execute(self, query: str, parameters: Sequence[object] = ()) -> None:
        """Run a statement that returns nothing."""
        with translated():
            self._connection.execute(query, list(parameters))

    def rows(self, query: str, parameters: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """A query's rows, a bounded number at a time; times come back as strings or numbers only where cast so."""
        with translated():
            cursor = self._connection.cursor()
            cursor.execute(query, list(parameters))
        while True:
            with translated():
                some = cursor.fetchmany(BATCH_ROWS)
            if not some:
                return
            yield from some

    def value(self, query: str, parameters: Sequence[object] = ()) -> Any:  # noqa: ANN401
        """The first cell of a query's first row; None where it has no row."""
        return next((row[0] for row in self.rows(query, parameters)), None)

    def batches(self, query: str, batch_rows: int = BATCH_ROWS) -> "Batches":
        """A query's rows as Arrow, in the query's order."""
        with translated():
            relation = self._connection.sql(query)
            whole = hasattr(relation, "to_arrow_reader")  # the name since 1.5
            reader = relation.to_arrow_reader(batch_rows) if whole else relation.fetch_record_batch(batch_rows)
        return Batches(reader)

    def scan(self, name: str, files: Sequence[Place], constants: Mapping[str, str] | None = None) -> None:
        """Make the rows of Parquet files a view of this name, with more columns of one text each.

        Columns that only some of the files have are null in the others. StorageError where a file can't be read.
        """
        with translated():
            if stored := [file for file in files if isinstance(file, ObjectPlace)]:
                files = self._fetched(name, stored)
            if not files:
                self._connection.register(f"{name}_stored", dataset_of(stored))
                relation = self._connection.table(f"{name}_stored")
            else:
                relation = self._connection.read_parquet(
                    [_literally(str(path)) for path in files], hive_partitioning=False, union_by_name=True
                )
            told = "".join(f"{text(value)} AS {named(column)}, " for column, value in (constants or {}).items())
            relation.project(f"{told}*").create_view(name, replace=True)

    def _fetched(self, name: str, stored: Sequence[ObjectPlace]) -> list[Path]:
        """Objects as files of the scratch folder, unless they are too many; each query would fetch them again."""
        if sum(one.stat().st_size for one in stored) > FETCHED_BYTES:
            return []
        self._scratch.mkdir(parents=True, exist_ok=True)
        files = [self._scratch / f"{name}-{place:05}.parquet" for place in range(len(stored))]
        at_once(lambda pair: download(pair[0].key, pair[1]), zip(stored, files, strict=True))
        return files

    def offer(self, name: str, source: Any) -> None:  # noqa: ANN401 - pyarrow has no types
        """Make an Arrow table, reader or dataset a view of this name; a reader can be read once."""
        with translated():
            self._connection.register(name, source)


class Batches:
    """Arrow batches of a query, and their schema."""

    def __init__(self, reader: Any) -> None:  # noqa: ANN401
        self._reader = reader

    @property
    def schema(self) -> Any:  # noqa: ANN401
        """The Arrow schema of every batch."""
        return self._reader.schema

    def __iter__(self) -> Iterator[Any]:
        """Batches in order; none is empty."""
        while True:
            with translated():
                batch = next(self._reader, None)
            if batch is None:
                return
            if batch.num_rows:
                yield batch


@contextmanager
def duck(scratch: Path, memory: str = MEMORY) -> Iterator[Duck]:
    """A connection that takes `memory` at most; what does not fit waits in a folder of its own under `scratch`."""
    spill = scratch / f".duckdb-{uuid4().hex}"
    config: dict[str, Any] = {"memory_limit": memory, "threads": str(THREADS), "temp_directory": str(spill), **_CLOSED}
    with translated():
        connection = duckdb.connect(":memory:", config=config)
    try:
        with translated():
            connection.execute("SET TimeZone = 'UTC'")
        yield Duck(connection, spill)
    finally:
        with suppress(duckdb.Error):
            connection.close()
        shutil.rmtree(spill, ignore_errors=True)


@contextmanager
def translated() -> Iterator[None]:
    """StorageError for what DuckDB, Arrow and the disk raise; a query that can't be parsed is a bug and stays one."""
    try:
        yield
    except duckdb.ParserException:
        raise
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise StorageError(f"DuckDB: {_first_line(error)}") from error
    except RuntimeError as error:  # how a Ctrl-C comes out of a query
        if "interrupt" in str(error).lower():
            raise KeyboardInterrupt from error
        raise


def named(column: str) -> str:
    """A column's name in a query, whatever stands in it."""
    return '"' + column.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text in a query, whatever stands in it."""
    return "'" + value.replace("'", "''") + "'"


def _literally(path: str) -> str:
    """A path that matches itself alone, where a pattern is read."""
    return "".join(f"[{character}]" if character in _GLOB else character for character in path)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
