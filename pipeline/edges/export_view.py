"""The rows of an export, joined by DuckDB: each row of a manifest with the end that holds, whichever run told it.

Which end holds is decided on a few narrow columns; only then are the rows themselves read, once, and put into order.
Rows meet by run and row index, or over runs by row id and prompt name, and never by their place in a file.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core.answering import AnswerStatus
from pipeline.core.columns import ANNOTATION
from pipeline.core.exporting import RUN, Exported, Member, chosen_columns, members_needed, members_of
from pipeline.edges import export_sql as sql
from pipeline.edges.annotations_file import published_files
from pipeline.edges.duck import Duck, duck, named, text
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.places import Place, listed
from pipeline.edges.run_folder import LocalRunFolder

_OWN = ("row_id", "row_index", "prompt_name")
"""Columns that are the manifest row's, whichever row answered."""

_SQL = {"int": "BIGINT", "float": "DOUBLE", "bool": "BOOLEAN", "time": "TIMESTAMPTZ", "texts": "VARCHAR[]"}
_SHAPED = frozenset({"answer", "attempt_log"})
"""Columns whose type is the files' own."""

_KINDS = ("requests", "duplicates", "reused", "rejects")

STRETCH_ROWS = 10_000


class View:
    """Rows of an export in order: what a format writes. `exported` says what they come to.

    They are read a stretch at a time, so that only so many are ever sorted, or in memory.
    """

    def __init__(
        self, con: Duck, columns: Sequence[str], exported: Exported, select: Callable[[int, int], str]
    ) -> None:
        self._con = con
        self.columns = columns
        self.exported = exported
        self._select = select

    def stretches(self, cells: Sequence[str]) -> Iterator[str]:
        """Queries of these cells (SQL over the columns' names and `place`) that together are all rows, in order."""
        for first in range(0, self.exported.rows, STRETCH_ROWS):
            rows = self._select(first, first + STRETCH_ROWS)
            yield f"SELECT {', '.join(cells)} FROM ({rows}) ORDER BY place"

    def schema(self, columns: Sequence[str]) -> Any:  # noqa: ANN401 - pyarrow has no types
        """The Arrow schema of these columns."""
        return self._con.batches(self.empty(columns)).schema

    def empty(self, columns: Sequence[str]) -> str:
        """A query of these columns that has no row."""
        return f"SELECT {', '.join(map(named, columns))} FROM ({self._select(0, 0)}) LIMIT 0"

    def batches(self, cells: Sequence[str], rows: int = 2_000) -> Iterator[Any]:
        """These cells of all rows, in order, as Arrow."""
        for query in self.stretches(cells):
            yield from self._con.batches(query, rows)

    def run(self, statement: str) -> None:
        """Let DuckDB write what it can write itself."""
        self._con.execute(statement)


@contextmanager
def opened(
    out: OutFolder, run_id: str | None, *, latest: bool, columns: Sequence[str] | None, scratch: Path
) -> Iterator[View]:
    """The view of a run, or of all runs of manifests; `latest` shows each row's newest answer over all runs of OUT.

    UsageError for a column that there is not, StorageError where a file can't be read.
    """
    with duck(scratch) as con:
        yield _View(con, out, run_id, latest=latest).built(columns)


class _View:
    """Builds a view, table by table."""

    def __init__(self, con: Duck, out: OutFolder, run_id: str | None, *, latest: bool) -> None:
        self._con = con
        self._latest = latest
        folders = {folder.run_id: folder for folder in out.runs() if folder.begun or folder.has_results}
        if run_id is not None:
            folders[run_id] = out.run(run_id)
        self._folders: Mapping[str, LocalRunFolder] = folders
        self._described = {name: folder.described() for name, folder in folders.items()}
        self._all = members_of(self._described)
        self._listing = [one for one in self._all if (one.run_id == run_id if run_id else not one.derived)]
        self._members: Sequence[Member] = self._all
        if run_id is not None and not latest:
            self._members = members_needed(self._all, run_id, self._answered(run_id))

    def built(self, columns: Sequence[str] | None) -> View:
        """The view with these columns."""
        con, numbers = self._con, {one.run_id: one.recency for one in self._all}
        con.execute("CREATE TABLE runs (run_no INTEGER, run_id VARCHAR, root_no INTEGER)")
        for one in self._all:
            con.execute("INSERT INTO runs VALUES (?, ?, ?)", (one.recency, one.run_id, numbers[one.root]))
        listed = {one.run_id for one in self._listing}
        plans = [one for one in self._all if one.run_id in listed or (self._latest and not one.derived)]
        con.execute(f"CREATE TABLE planned AS {' UNION ALL '.join([sql.NO_PLAN, *self._planned(plans)])}")
        held = [one for one in self._members if self._annotations(one)]
        con.execute(f"CREATE TABLE ends AS {' UNION ALL '.join([sql.NO_ENDS, *map(sql.narrow, held)])}")
        shown = ", ".join(str(one.recency) for one in self._listing) or "-1"
        for statement in sql.LATEST if self._latest else sql.CHOSEN:
            con.execute(statement.format(shown=shown))
        available = [RUN, *(column.name for column in ANNOTATION), *self._carried()]
        chosen = chosen_columns(available, columns)
        return View(con, chosen, self._exported(), self._select(held))

    def _answered(self, run_id: str) -> set[str]:
        """Runs that answered rows of this one."""
        if not (files := _there(self._folders[run_id], "reused")):
            return set()
        self._con.scan("answering", files)
        return {row[0] for row in self._con.rows("SELECT DISTINCT answered_run FROM answering")}

    def _planned(self, members: Sequence[Member]) -> Iterator[str]:
        """What each row of a run's manifest became."""
        for one in members:
            for kind in _KINDS:
                if files := _there(self._folders[one.run_id], kind):
                    self._con.scan(f"{kind}_{one.recency}", files)
                    yield sql.planned(kind, one.recency)

    def _annotations(self, member: Member) -> bool:
        """Make a run's annotations a view, each row once: a row of a part may be published, or in another part, too."""
        folder, number = self._folders[member.run_id], member.recency
        published = published_files(folder.published)
        parts = [] if folder.summary() is not None else listed(folder.path / "parts", "part-*.parquet")
        for name, files in (("published", published), ("parts", parts)):
            if files:
                self._con.scan(f"{name}_{number}", files)
        if published or parts:
            view = sql.annotations(number, published=bool(published), parts=bool(parts))
            self._con.execute(f"CREATE VIEW annotations_{number} AS {view}")
        return bool(published or parts)

    def _carried(self) -> list[str]:
        """The dataset's names of the manifests' other columns."""
        return list(self._own_names())

    def _own_names(self) -> dict[str, str]:
        """The manifests' own names of these columns."""
        return {new: old for one in self._described.values() for old, new in one.get("carried", {}).items()}

    def _exported(self) -> Exported:
        outcomes = dict(self._con.rows("SELECT outcome, count(*) FROM placed GROUP BY outcome ORDER BY outcome"))
        missing = self._con.value("SELECT count(*) FROM chosen WHERE outcome IS NULL")
        open_ones = [one.run_id for one in self._members if self._folders[one.run_id].summary() is None]
        statuses = dict(self._con.rows(sql.STATUSES))
        told = {name.value: statuses[name] for name in AnswerStatus if name in statuses}
        return Exported(outcomes, missing, open_ones, answer_statuses=told)

    def _select(self, held: Sequence[Member]) -> Callable[[int, int], str]:
        """Gives the SQL of all columns of rows in a range of places, and their place, in no order."""
        carried = self._carried()
        typed = {column.name: _SQL.get(column.kind, "VARCHAR") for column in ANNOTATION}
        typed |= dict.fromkeys(carried, "VARCHAR")
        nothing = ", ".join(
            f"NULL::{kind} AS {named(name)}" for name, kind in typed.items() if not (held and name in _SHAPED)
        )
        again, join = self._again(carried)
        cells = [f"placed.{name}" for name in _OWN]
        cells += [f"wide.{named(column.name)}" for column in ANNOTATION if column.name not in _OWN]
        cells += [f"{again(name)} AS {named(name)}" for name in carried]
        own = self._own_names()
        rejecting = {row[0] for row in self._con.rows("SELECT DISTINCT from_no FROM placed WHERE kind = 'rejects'")}

        def select(first: int, until: int) -> str:
            reached = self._con.rows(sql.REACHED, (first, until)) if first < until else ()
            wide = [f"SELECT 0 AS run_no, {nothing} WHERE false"]
            wide += [sql.reaching(*one) for one in reached]
            if held and len(wide) == 1:  # for the types
                wide.append(sql.reaching(held[0].recency, 0, -1))
            parts = [sql.answered(cells, " UNION ALL BY NAME ".join(wide), join)]
            parts += [sql.rejected(number, own) for number in sorted(rejecting)]
            return sql.within(" UNION ALL BY NAME ".join(parts), first, until)

        return select

    def _again(self, carried: Sequence[str]) -> tuple[Callable[[str], str], str]:
        """How a carried column is told, and the join that it takes: a reused row's are its own."""
        numbers = [row[0] for row in self._con.rows("SELECT DISTINCT run_no FROM planned WHERE kind = 'reused'")]
        if not numbers or not carried:
            return (lambda name: f"wide.{named(name)}"), ""
        own = self._own_names()

        def told(name: str) -> str:
            cell = f"map_extract(again.carried, {text(own[name])})[1]"
            return f"CASE WHEN placed.kind = 'reused' THEN {cell} ELSE wide.{named(name)} END"

        return told, sql.again(sorted(numbers))


def _there(folder: LocalRunFolder, kind: str) -> list[Place]:
    path = folder.path / f"{kind}.parquet"
    return [path] if path.is_file() else []
