"""`vidbatch export`."""

import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import orjson

from pipeline.cli import options
from pipeline.cli.family import the_run
from pipeline.core.answering import AnswerStatus
from pipeline.core.errors import UsageError
from pipeline.core.exporting import About, Exported, Format, check_columns, format_of
from pipeline.edges.export_files import target_of
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.places import Place, out_place

RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")


@click.command(name="export")
@click.argument("source", required=False, metavar="[RUN|OUT]")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the dataset that holds RUN; without RUN, or with OUT as the argument, all its runs are exported.",
)
@click.option(
    "--to",
    required=True,
    type=click.Path(path_type=Path),
    help="The file to write, or the folder: huggingface, fiftyone, labelstudio and webvtt are folders.",
)
@click.option(
    "--format",
    "given",
    type=click.Choice([one.value for one in Format]),
    help="Where the name of --to does not tell it by .csv, .jsonl, .parquet or .duckdb.",
)
@click.option("--latest", is_flag=True, help="Each row once, with its newest answer over all runs of OUT.")
@click.option("--columns", help="Only these columns, in this order: names with commas between.")
@click.option("--force", is_flag=True, help="Replace what stands at --to.")
@options.json_output
def command(
    source: str | None,
    out: Path | None,
    to: Path,
    given: str | None,
    as_json: bool,
    **more: Any,  # noqa: ANN401 - click's options
) -> None:
    """Write annotations as one row for each row of the manifest, in its order, whatever became of it.

    With RUN, rows of that run, each with its newest end over the retries and collections that came after; with OUT,
    all runs, one after the other. Rows that were not sent again have the annotation that answered them before,
    rejected ones their reason. With --latest, each row of RUN, or of all runs, has its newest completed answer over
    all runs, else its newest end; rows that only older runs have come last.
    """
    chosen = format_of(to.name, given)
    asked = None if more["columns"] is None else [name.strip() for name in more["columns"].split(",")]
    check_columns(chosen, asked)
    folder, run_id = _source(source, out)
    exported = _export(folder, run_id, to, chosen, asked, latest=more["latest"], force=more["force"])
    if as_json:
        click.echo(orjson.dumps(_as_object(exported, to, chosen)))
        return
    click.echo(_written(exported, to))
    for line in _lacking(exported):
        click.echo(line, err=True)


def _export(
    folder: OutFolder,
    run_id: str | None,
    to: Path,
    chosen: Format,
    columns: list[str] | None,
    *,
    latest: bool,
    force: bool,
) -> Exported:
    from pipeline.edges.export_formats import check_target, write_export  # noqa: PLC0415 - `--help` needs no DuckDB
    from pipeline.edges.export_view import opened  # noqa: PLC0415
    from pipeline.flows.export import export  # noqa: PLC0415

    about = _about(folder, run_id, latest=latest)
    path = target_of(to)
    return export(
        lambda: check_target(chosen, path, folder.path, force=force),
        opened(folder, run_id, latest=latest, columns=columns, scratch=path.parent),
        lambda view: write_export(view, chosen, path, about, force=force),
    )


def _source(source: str | None, out: Place | None) -> tuple[OutFolder, str | None]:
    """The dataset, and one run of it or all. UsageError where there is none."""
    if out is not None:
        folder = OutFolder(out)
        if source is not None:
            return folder, the_run(folder, source).run_id
    elif source is not None and (out_place(source) / "runs").is_dir():
        folder = OutFolder(out_place(source))
    elif source is not None and RUN_ID.fullmatch(source):
        raise UsageError(f"export: {source} is a run's id; add --out OUT, the dataset that holds it")
    else:
        raise UsageError(
            f"export: found {source or 'neither RUN nor OUT'}; allowed is the folder of a dataset, or a run's id with "
            "--out OUT"
        )
    if next(folder.runs(), None) is None:
        raise UsageError(f"{folder.path} holds no run; there is nothing to export")
    return folder, None


def _about(folder: OutFolder, run_id: str | None, *, latest: bool) -> About:
    runs = [one for one in folder.runs() if run_id in {None, one.run_id}]
    described = next((one for one in (run.described() for run in runs) if "answer_schema" in one), {})
    schema, shape = described.get("answer_schema"), described.get("answer_shape")
    return About([one.run_id for one in runs][::-1], latest, schema, shape, version("vidbatch"))


def _written(exported: Exported, to: Path) -> str:
    written = exported.rows - sum(exported.left_out.values())
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in exported.outcomes.items())
    of = f" of {exported.rows:,}" if exported.left_out else ""
    if exported.answer_statuses.keys() - {AnswerStatus.OK}:
        counts += "; answers: " + ", ".join(f"{count:,} {told}" for told, count in exported.answer_statuses.items())
    return f"{written:,}{of} rows to {to}" + (f" ({counts})" if counts else "")


def _lacking(exported: Exported) -> Iterator[str]:
    for reason, rows in exported.left_out.items():
        yield f"left out: {rows:,} rows with {reason}"
    if exported.unfinished:
        names = ", ".join(exported.unfinished)
        yield f"not finished: {names}; {exported.missing:,} rows have no end yet and are not in the export"
    elif exported.missing:
        yield f"{exported.missing:,} rows have no annotation in the dataset and are not in the export"


def _as_object(exported: Exported, to: Path, chosen: Format) -> dict[str, Any]:
    return {
        "to": str(to),
        "format": chosen.value,
        "rows": exported.rows - sum(exported.left_out.values()),
        "outcomes": dict(exported.outcomes),
        "answer_statuses": dict(exported.answer_statuses),
        "left_out": dict(exported.left_out),
        "missing": exported.missing,
        "unfinished": list(exported.unfinished),
    }
