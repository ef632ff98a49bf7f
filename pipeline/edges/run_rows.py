"""The rows of one run as far as they are on disk: what is published, and of a run under way its parts too."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.core.columns import ANNOTATION
from pipeline.edges.annotations_file import published_files
from pipeline.edges.duck import Duck, duck
from pipeline.edges.places import listed
from pipeline.edges.run_folder import LocalRunFolder

_KINDS = {
    **dict.fromkeys(("text", "word"), "VARCHAR"),
    "texts": "VARCHAR[]",
    "int": "BIGINT",
    "float": "DOUBLE",
    "bool": "BOOLEAN",
    "time": "TIMESTAMPTZ",
    "attempts": "STRUCT(prompt_tokens BIGINT, completion_tokens BIGINT, cost DOUBLE)[]",
}
"""Columns as DuckDB calls them, where there is no file yet that tells."""


@dataclass(frozen=True, slots=True)
class RunRows:
    """A connection that knows a run's annotations as `rows`, each row once; `whole` where all of them are published."""

    duck: Duck
    whole: bool
    typed: bool
    """Whether `answer` has a type of its own, and is no text."""


@contextmanager
def rows_of(run: LocalRunFolder) -> Iterator[RunRows]:
    """Open the annotations of a run. StorageError where one of its files can't be read."""
    with TemporaryDirectory(prefix="vidbatch-") as scratch, duck(Path(scratch)) as connection:
        whole = offer_rows(connection, run, "rows")
        yield RunRows(connection, whole, is_typed(connection, "rows"))


def offer_rows(connection: Duck, run: LocalRunFolder, name: str) -> bool:
    """Make the annotations of a run a view of this name; whether all of them are published."""
    published, whole = published_files(run.published), run.done_path.exists()
    if published:
        connection.scan(f"{name}_published", published)
        whole = whole or _holds_all(connection, run, f"{name}_published")
    parts = [] if whole else listed(run.path / "parts", "part-*.parquet")
    if parts:
        connection.scan(f"{name}_parts", parts)
    # a row may stand in two parts, of two ledgers, and in a published file beside
    once = "QUALIFY row_number() OVER (PARTITION BY row_index) = 1"
    match bool(published), bool(parts):
        case True, True:
            fresh = f"{name}_parts ANTI JOIN (SELECT row_index FROM {name}_published) USING (row_index)"
            query = f"(FROM {name}_published) UNION ALL BY NAME (SELECT * FROM {fresh} {once})"
        case True, False:
            query = f"FROM {name}_published"
        case False, True:
            query = f"SELECT * FROM {name}_parts {once}"
        case _:
            columns = ", ".join(f"NULL::{_KINDS.get(column.kind, 'VARCHAR')} AS {column.name}" for column in ANNOTATION)
            query = f"SELECT {columns} WHERE false"
    connection.execute(f"CREATE VIEW {name} AS {query}")
    return whole


def _holds_all(connection: Duck, run: LocalRunFolder, name: str) -> bool:
    described = run.described()
    wanted = int(described.get("requests", 0)) + int(described.get("duplicates", 0))
    return bool(connection.value(f"SELECT count(*) FROM {name}") == wanted)


def is_typed(connection: Duck, name: str) -> bool:
    """Whether the answers of a view have a type of their own."""
    kinds = {column: kind for column, kind, *_ in connection.rows(f"DESCRIBE {name}")}
    return str(kinds.get("answer", "VARCHAR")) != "VARCHAR"
