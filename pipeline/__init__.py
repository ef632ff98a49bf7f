"""vidbatch: annotate a video library through an async LLM API, every row paid for once, every row accounted for.

The front door for programs: what is named here stays, whatever moves behind it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["annotate"]


def annotate(
    rows: object,
    *,
    out: str | Path,
    prompt: str | None = None,
    schema: object = None,
    progress: bool = True,
    **options: Any,  # noqa: ANN401 - the options of `vidbatch run`
) -> "pa.Table":
    """Ask every row, as `vidbatch run` does, and return the answers: one row for each of `rows`, in their order.

    `rows` are mappings with at least `video_url`, a table (pyarrow, pandas, polars, DuckDB), or names of manifests.
    `prompt` is for rows that have none, and may be a template over their columns. `schema` is a JSON Schema as a
    mapping, a file that holds one, or a Pydantic model: then the column `answer` is typed. `out` is the dataset. The
    options are those of `vidbatch run`, such as `model="…"`, `repair=1`, `max_cost=5.0`, `redis_url="redis://…"`, or
    `reuse=False` for `--refresh`. Nothing is asked before sending: cap what it may cost with `max_cost`.

    The columns are those of `vidbatch export`: `run` (which run answered), those of an annotation, and the rows' own;
    rows that failed are there with `outcome` and `error_message`. The key is read from VIDBATCH_API_KEY, or the file
    that VIDBATCH_API_KEY_FILE names. The same call again pays for nothing twice; an interrupted one goes on.

    UsageError (with ManifestError, SettingsError, RunConflict) when something given can't be used, and nothing was
    sent; PausedError when a cap, the API or a guard stopped the run; Interrupted after Ctrl-C; SystemTrouble for Redis,
    the disk or a worker. They are those of `pipeline.core.errors`.
    """
    from pipeline.cli.door import annotate as run  # noqa: PLC0415 - importing the package costs nothing

    return run(rows, out, {"prompt": prompt, "schema": schema, **options}, progress=progress)
