"""One row of a run by its name: where it is in the plan, and how it ended, as far as that is on disk."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.core.lifecycle import Outcome
from pipeline.edges.duck import duck
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.edges.run_rows import rows_of


@dataclass(frozen=True, slots=True)
class RowEnd:
    """How a row ended: what was thought and written, or why there is nothing."""

    outcome: Outcome
    reasoning: str = ""
    content: str = ""
    error: str = ""


def requests_named(run: LocalRunFolder, name: str) -> list[int]:
    """The row indexes of requests that have this row id."""
    with TemporaryDirectory(prefix="vidbatch-") as scratch, duck(Path(scratch)) as connection:
        connection.scan("requests", [run.path / "requests.parquet"])
        query = "SELECT row_index FROM requests WHERE row_id = ? ORDER BY row_index"
        return [row_index for (row_index,) in connection.rows(query, [name])]


def end_of(run: LocalRunFolder, row_index: int) -> RowEnd | None:
    """How a row ended; nothing while that is not on disk."""
    with rows_of(run) as known:
        query = "SELECT outcome, reasoning, content, error_message FROM rows WHERE row_index = ?"
        for outcome, *texts in known.duck.rows(query, [row_index]):
            return RowEnd(Outcome(outcome), *(text or "" for text in texts))
    return None
