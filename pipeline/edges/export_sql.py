"""Queries of an export: which end of a row holds, and what is shown of it. `export_view` runs them.

`planned` holds what each row of a manifest became, `ends` how rows ended in each run, by the number of the run; a
higher number is a newer run.
"""

from collections.abc import Mapping, Sequence

from pipeline.core.exporting import REJECTED, Member
from pipeline.edges.duck import named, text
from pipeline.edges.ends_sql import tells

_KEY = "row_id || chr(0) || coalesce(prompt_name, '')"
"""A row's identity over runs."""

_NO_ROW = "SELECT 0 AS run_no, 0::BIGINT AS row_index, ''::VARCHAR AS row_id, ''::VARCHAR AS prompt_name"
NO_PLAN = f"{_NO_ROW}, '' AS kind, ''::VARCHAR AS answered_run, 0::BIGINT AS answered_index WHERE false"
NO_ENDS = f"{_NO_ROW}, '' AS outcome, false AS completed, false AS tells, '' AS answer_status WHERE false"


def planned(kind: str, number: int) -> str:
    """Rows of one of a run's files of its plan."""
    row_id = "coalesce(row_id, row_index::VARCHAR)" if kind == "rejects" else "row_id"
    answered = "answered_run, answered_index" if kind == "reused" else "NULL, NULL"
    return f"SELECT {number}, row_index, {row_id}, prompt_name::VARCHAR, {text(kind)}, {answered} FROM {kind}_{number}"


def annotations(number: int, *, published: bool, parts: bool) -> str:
    """A run's annotations, each row once; published ones hold."""
    whole = f"SELECT * FROM published_{number}"
    if not parts:
        return whole
    own = f"SELECT DISTINCT ON (row_index) * FROM parts_{number}"
    if not published:
        return f"{own} ORDER BY row_index"
    return f"{whole} UNION ALL BY NAME {own} WHERE row_index NOT IN (SELECT row_index FROM published_{number})"


def narrow(member: Member) -> str:
    """What decides which end of a row holds."""
    return (
        f"SELECT {member.recency}, row_index, row_id, prompt_name, outcome, outcome = 'completed', "
        f"{tells(collects=member.collects)}, answer_status::VARCHAR FROM annotations_{member.recency}"
    )


_BEST = """
CREATE TABLE best AS
SELECT root_no, row_index, max((completed, tells, run_no, outcome)) AS it
FROM ends JOIN runs USING (run_no) GROUP BY root_no, row_index
"""
"""Of each row of a manifest's run, the end that holds by now."""

_RESOLVED = """
CREATE TABLE resolved AS
SELECT planned.*, it[3] AS ends_no, best.row_index AS ends_index,
  CASE WHEN kind = 'rejects' THEN 'rejected' ELSE it[4] END AS outcome
FROM planned JOIN runs AS mine USING (run_no)
  LEFT JOIN runs AS other ON other.run_id = answered_run
  LEFT JOIN best ON kind <> 'rejects'
    AND best.root_no = CASE WHEN kind = 'reused' THEN other.root_no ELSE mine.root_no END
    AND best.row_index = CASE WHEN kind = 'reused' THEN answered_index ELSE planned.row_index END
"""
"""Of each planned row, the end that holds within its family, or the family of the run that answered it before."""

_PLACED = """
CREATE TABLE placed AS
SELECT row_number() OVER (ORDER BY list_no {order}, row_index) - 1 AS place, * FROM chosen WHERE outcome IS NOT NULL
"""

CHOSEN = (
    _BEST,
    _RESOLVED,
    """
CREATE TABLE chosen AS
SELECT run_no AS list_no, row_index, row_id, prompt_name, kind, run_no AS from_no, row_index AS from_index, ends_no,
  ends_index, outcome
FROM resolved WHERE run_no IN ({shown})
""",
    _PLACED.replace("{order}", "ASC"),
)
"""Makes `placed`: every row that has an end, of the shown runs, run by run."""

LATEST = (
    _BEST,
    _RESOLVED,
    f"""
CREATE TABLE keyed AS
SELECT *, {_KEY} || CASE WHEN nth = 1 THEN '' ELSE chr(0) || run_no || ' ' || row_index END AS key
FROM (
  SELECT *, row_number() OVER (PARTITION BY run_no, {_KEY} ORDER BY kind = 'rejects', row_index) AS nth FROM resolved
)
""",
    f"""
CREATE TABLE newest AS
SELECT key, max((completed, tells, recency, kind, ends_no, ends_index, outcome, from_no, from_index)) AS it
FROM (
  SELECT {_KEY} AS key, completed, tells, run_no AS recency, 'sent' AS kind, run_no AS ends_no,
    row_index AS ends_index, outcome, NULL AS from_no, NULL AS from_index FROM ends
  UNION ALL
  SELECT key, outcome = 'completed', true, run_no, kind, ends_no, ends_index, outcome, run_no, row_index
  FROM keyed WHERE kind IN ('reused', 'rejects') AND outcome IS NOT NULL
)
GROUP BY key
""",
    """
CREATE TABLE listed AS
SELECT key, run_no AS list_no, row_index, row_id, prompt_name FROM keyed WHERE run_no IN ({shown})
QUALIFY row_number() OVER (PARTITION BY key ORDER BY run_no DESC, row_index) = 1
""",
    """
CREATE TABLE chosen AS
SELECT list_no, row_index, row_id, prompt_name, it[4] AS kind, it[5] AS ends_no, it[6] AS ends_index,
  it[7] AS outcome, it[8] AS from_no, it[9] AS from_index
FROM listed LEFT JOIN newest USING (key)
""",
    _PLACED.replace("{order}", "DESC"),
)
"""Makes `placed`: each row of the shown runs once, as the newest of them has it, with its newest answer over all."""


STATUSES = """
SELECT answer_status, count(*) FROM placed JOIN ends ON ends_no = ends.run_no AND ends_index = ends.row_index
WHERE kind <> 'rejects' AND answer_status IS NOT NULL GROUP BY answer_status
"""
"""What the shown answers are worth."""

REACHED = """
SELECT ends_no, min(ends_index), max(ends_index) FROM placed WHERE place >= ? AND place < ? AND ends_no IS NOT NULL
GROUP BY ends_no ORDER BY ends_no
"""
"""The runs whose annotations a range of places shows, and between which rows: what need not be read is not."""


def reaching(number: int, first: int, last: int) -> str:
    """Annotations of a run between two rows."""
    return f"SELECT {number} AS run_no, * FROM annotations_{number} WHERE row_index BETWEEN {first} AND {last}"


def answered(cells: Sequence[str], wide: str, join: str) -> str:
    """Rows that have an annotation; `placed` is limited by `within`."""
    return (
        f"SELECT place, runs.run_id AS run, {', '.join(cells)} FROM shown AS placed JOIN ({wide}) AS wide "
        "ON placed.ends_no = wide.run_no AND placed.ends_index = wide.row_index "
        f"JOIN runs ON runs.run_no = placed.ends_no {join} WHERE placed.kind <> 'rejects'"
    )


def within(query: str, first: int, until: int) -> str:
    """A query of `shown`, the rows in a range of places."""
    return f"WITH shown AS (SELECT * FROM placed WHERE place >= {first} AND place < {until}) {query}"


def rejected(number: int, carried: Mapping[str, str]) -> str:
    """Rows that never became requests of one run, with what was wrong.

    `carried` maps the dataset's names of the manifest's other columns to the manifest's own.
    """
    message = "file || ':' || line || ': ' || field || ': found ' || found || '; allowed is ' || allowed"
    return (
        "SELECT place, runs.run_id AS run, placed.row_id, placed.row_index, placed.prompt_name, "
        f"{text(REJECTED)} AS outcome, {text(REJECTED)} AS error_code, {message} AS error_message"
        f"{''.join(f', {_written(own)} AS {named(name)}' for name, own in carried.items())} "
        f"FROM shown AS placed JOIN rejects_{number} AS rejects ON placed.from_index = rejects.row_index "
        f"JOIN runs ON runs.run_no = placed.from_no WHERE placed.kind = 'rejects' AND placed.from_no = {number}"
    )


def _written(own: str) -> str:
    """What a rejected row says in a column; null where the row was damaged, cut, or no object."""
    pointer = text("/" + own.replace("~", "~0").replace("/", "~1"))
    return (
        "CASE WHEN json_valid(rejects.row) THEN CASE WHEN json_type(rejects.row) = 'OBJECT' "
        f"THEN json_extract_string(rejects.row, {pointer}) END END"
    )


def again(numbers: Sequence[int]) -> str:
    """A join with what is told of reused rows by the runs of these numbers."""
    union = " UNION ALL ".join(
        f"SELECT {number} AS from_no, row_index AS from_index, carried FROM reused_{number}" for number in numbers
    )
    return (
        f"LEFT JOIN ({union}) AS again ON again.from_no = placed.from_no AND again.from_index = placed.from_index "
        "AND placed.kind = 'reused'"
    )
