"""The rows of two runs side by side, as they are matched by what a row is called: by DuckDB, in bounded memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from pipeline.core.comparing import Pair, Side
from pipeline.edges.annotations_file import published_files
from pipeline.edges.duck import Duck, duck
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.edges.run_rows import is_typed, offer_rows

_COLUMNS = "outcome, answer_status, content, answer, video_urls, prompt_tokens, completion_tokens, cost"
_BILLED = ("prompt_tokens", "completion_tokens", "cost")
"""What is told of everything that was billed for a row, and of its kept answer where it has no log."""

_SIDES = ("a", "b")


@dataclass(frozen=True, slots=True)
class RunPairs:
    """The pairs of two runs, of which each is `whole` where it is published; `named` where both name their prompts."""

    duck: Duck
    whole: tuple[bool, bool]
    named: bool
    _typed: tuple[bool, bool]

    def __iter__(self) -> Iterator[Pair]:
        """Every row that at least one of the runs has, in the order of the manifest."""
        same_prompt = " AND a.prompt_name IS NOT DISTINCT FROM b.prompt_name" if self.named else ""
        query = (
            "SELECT coalesce(a.row_id, b.row_id), coalesce(a.prompt_name, b.prompt_name), "
            f"{', '.join(_side(name, typed=typed) for name, typed in zip(_SIDES, self._typed, strict=True))} "
            f"FROM all_a AS a FULL OUTER JOIN all_b AS b ON a.row_id = b.row_id{same_prompt} "
            "ORDER BY coalesce(a.row_index, b.row_index), coalesce(a.prompt_name, b.prompt_name)"
        )
        for row_id, prompt_name, *cells in self.duck.rows(query):
            half = len(cells) // 2
            yield Pair(row_id, prompt_name, _side_of(cells[:half]), _side_of(cells[half:]))


@contextmanager
def pairs_of(out: OutFolder, a: LocalRunFolder, b: LocalRunFolder) -> Iterator[RunPairs]:
    """Open two runs of OUT. StorageError where one of their files can't be read."""
    with TemporaryDirectory(prefix="vidbatch-") as scratch, duck(Path(scratch)) as connection:
        whole = (_offer(connection, out, a, "a"), _offer(connection, out, b, "b"))
        named = all(connection.value(f"SELECT count(prompt_name) FROM all_{name}") for name in _SIDES)
        typed = (is_typed(connection, "all_a"), is_typed(connection, "all_b"))
        yield RunPairs(connection, whole, named, typed)


def _offer(connection: Duck, out: OutFolder, run: LocalRunFolder, name: str) -> bool:
    """All rows of a run: its annotations, and those of earlier runs that it reused; whether it is whole."""
    whole = offer_rows(connection, run, f"own_{name}")
    own = f"SELECT row_index, row_id, prompt_name, {_told()} FROM own_{name}"
    reused = _reused(connection, out, run, name)
    connection.execute(f"CREATE VIEW all_{name} AS {own}{' UNION ALL BY NAME ' if reused else ''}{reused}")
    return whole


def _reused(connection: Duck, out: OutFolder, run: LocalRunFolder, name: str) -> str:
    """The query for reused rows, under their own names; empty where there are none."""
    path = run.path / "reused.parquet"
    if not path.exists():
        return ""
    connection.scan(f"reused_{name}", [path])
    answered = [run_id for (run_id,) in connection.rows(f"SELECT DISTINCT answered_run FROM reused_{name} ORDER BY 1")]
    views = []
    for place, run_id in enumerate(answered):
        views.append(f"answered_{name}_{place}")
        connection.scan(views[-1], published_files(out.run(run_id).published), {"answering_run": run_id})
    if not views:
        return ""
    union = " UNION ALL BY NAME ".join(f"SELECT answering_run, row_index AS at, {_told()} FROM {one}" for one in views)
    return (
        f"SELECT row_index, row_id, prompt_name, {', '.join(f'x.{one}' for one in _COLUMNS.split(', '))} "
        f"FROM reused_{name} AS r JOIN ({union}) AS x ON x.answering_run = r.answered_run AND x.at = r.answered_index"
    )


def _side(name: str, *, typed: bool) -> str:
    columns = _COLUMNS.split(", ")
    told = [f"to_json({name}.{one})::VARCHAR" if one == "answer" and typed else f"{name}.{one}" for one in columns]
    return ", ".join(told)


def _told() -> str:
    """The columns as they are told of one run's rows."""
    sums = {
        one: f"coalesce(list_sum(list_transform(attempt_log, lambda entry: entry.{one})), {one}) AS {one}"
        for one in _BILLED
    }
    return ", ".join(sums.get(one, one) for one in _COLUMNS.split(", "))


def _side_of(cells: list[Any]) -> Side | None:
    outcome, status, content, answer, videos, *used = cells
    if outcome is None:
        return None
    return Side(outcome, status, content, _parsed(answer), tuple(videos or ()), *used)


def _parsed(text: str | None) -> Any:  # noqa: ANN401 - JSON
    try:
        return None if text is None else orjson.loads(text)
    except ValueError:
        return text
