"""`vidbatch plan`."""

import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from pipeline.cli import api_options, limit_options, media_options, options, question_options
from pipeline.cli.asking import question_of, schema_described
from pipeline.cli.configuration import Configuration, known_key
from pipeline.cli.estimating import estimate_of, refuse_unpriced
from pipeline.cli.out_option import OUT
from pipeline.cli.plan_models import account_lines, account_object, asked
from pipeline.cli.plan_text import plan_lines, promise_lines, promises
from pipeline.cli.planning import plan_into, videos_of
from pipeline.cli.preflight_text import preflight_lines, preflight_object
from pipeline.cli.preparing import counts_of, first_rejections, unfinished_of
from pipeline.cli.reusing import answered, collections_of, sifted
from pipeline.edges.clock import local_now
from pipeline.edges.environment import process_environment
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.places import Place
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.edges.stored_manifest import ManifestPlace

if TYPE_CHECKING:
    from pipeline.edges.planned_preflight import Preflown


def _reckoned_limits(command: options.Command) -> options.Command:
    for option in reversed(limit_options.RECKONED):
        command = option(command)
    return command


@click.command(name="plan")
@options.manifests
@click.option(
    "--out",
    type=OUT,
    help="Folder of a dataset: what it has answered is not sent again, and its answers tell what rows take; nothing is "
    "written there.",
)
@question_options.question_options
@media_options.media_root
@media_options.planned_preflight
@media_options.max_duration
@question_options.refresh
@options.max_cost
@options.max_total_tokens
@options.by
@_reckoned_limits
@api_options.offline
@options.json_output
@click.pass_obj
def command(
    configuration: Configuration,
    /,
    manifests: tuple[ManifestPlace, ...],
    out: Place | None,
    as_json: bool,
    **given: Any,  # noqa: ANN401 - click's options
) -> None:
    """Check the rows of MANIFEST and say what would be sent; spend nothing and keep nothing.

    MANIFEST is a file, a pattern in quotes that stands for several, or s3://bucket/key.
    """
    question = question_of(manifests, given)
    with tempfile.TemporaryDirectory(prefix="vidbatch-plan-") as scratch:
        folder = LocalRunFolder(Path(scratch), "plan")
        summary = plan_into(question, folder, videos_of(question), strict=given["strict"], progress=None)
        unfinished = None if out is None else unfinished_of(question, OutFolder(out), summary)
        known = answered(OutFolder(out), question) if out is not None and given["reuse"] else {}
        unsent = sifted(summary, folder, known, collections_of(OutFolder(out)) if known and out is not None else ())
        prices = {model: configuration.prices[model] for model in unsent.models if model in configuration.prices}
        described = {
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "rows": summary.rows,
            **counts_of(unsent),
            "rejections": summary.rejections,
            "rejections_by_field": dict(summary.rejections_by_field),
            "models": dict(unsent.models.most_common()),
            "videos": unsent.videos,
            "prompt_names": question.names,
            "carried": list(summary.carried_columns),
            "api": question.api,
            "base_url": question.base_url,
            "prices": prices,
            "estimate": estimate_of(unsent, prices, out, configuration.file.tokens_per_second),
            **schema_described(question.schema, question.schema.shape if question.schema else None),
        }
        rejections = first_rejections(folder, 1000) if summary.rejections else []
        looked = _looked_at(folder, given) if given["preflight"] else None
    told = asked(given, known_key(configuration, process_environment()))
    if as_json:
        goes_on = {} if unfinished is None else {"unfinished_run": unfinished.run_id}
        more = {**promises(given, described, local_now()), **account_object(told, described["models"])}
        more |= {"first_rejections": rejections, **preflight_object(looked)}
        click.echo(orjson.dumps({**described, **goes_on, **more}))
    else:
        if unfinished is not None:
            click.echo(f"run {unfinished.run_id} of these rows is not finished: `vidbatch run` goes on with it")
        lines = plan_lines(described, rejections, "written to rejects.parquet by `vidbatch run`")
        account = () if told is None else account_lines(told, described["models"])
        for line in (*lines, *promise_lines(given, described, local_now()), *account):
            click.echo(line)
        for line in preflight_lines(looked) if looked is not None else ():
            click.echo(line)
    refuse_unpriced(options.budget_of(given), list(unsent.models), prices, fixed=False)
    sys.exit(1 if summary.rejections or (looked is not None and looked.by_code) else 0)


def _looked_at(folder: LocalRunFolder, given: Mapping[str, Any]) -> "Preflown":
    from pipeline.edges.planned_preflight import look_at  # noqa: PLC0415 - it loads a client, and what reads headers

    return look_at(folder.requests(), given["media_root"], given["max_duration"] or 0.0)
