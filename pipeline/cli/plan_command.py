"""`vidbatch plan`."""

import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import orjson

from pipeline.cli import options
from pipeline.cli.configuration import Configuration
from pipeline.cli.plan_text import plan_lines
from pipeline.cli.preparing import Question, first_rejections, plan_into
from pipeline.edges.run_folder import LocalRunFolder


@click.command(name="plan")
@options.manifests
@options.question_options
@options.json_output
@click.pass_obj
def command(configuration: Configuration, /, manifests: tuple[Path, ...], as_json: bool, **given: Any) -> None:  # noqa: ANN401 - click's options
    """Check the rows of MANIFEST and say what would be sent; spend nothing and keep nothing."""
    question = Question(manifests, options.defaults_of(given), given["base_url"], given["limit"])
    with tempfile.TemporaryDirectory(prefix="vidbatch-plan-") as scratch:
        folder = LocalRunFolder(Path(scratch), "plan")
        summary = plan_into(question, folder, strict=given["strict"], progress=None)
        described = {
            "rows": summary.rows,
            "requests": summary.requests,
            "rejections": summary.rejections,
            "rejections_by_field": dict(summary.rejections_by_field),
            "models": dict(summary.models),
            "videos": summary.videos,
            "carried": list(summary.carried_columns),
            "base_url": given["base_url"],
            "prices": {model: configuration.prices[model] for model in summary.models if model in configuration.prices},
        }
        rejections = first_rejections(folder, 1000) if summary.rejections else []
    if as_json:
        click.echo(orjson.dumps({**described, "first_rejections": rejections}))
    else:
        for line in plan_lines(described, rejections, "written to rejects.parquet by `vidbatch run`"):
            click.echo(line)
    sys.exit(1 if summary.rejections else 0)
