"""`vidbatch run`."""

import sys
from typing import Any

import click
from click.core import ParameterSource

from pipeline.cli import api_options, options, question_options
from pipeline.cli.configuration import Configuration
from pipeline.cli.early import waiting_worker
from pipeline.core.errors import SettingsError
from pipeline.core.scheduled import FIRING, REFUSED
from pipeline.edges.environment import process_environment
from pipeline.edges.places import Place
from pipeline.edges.stored_manifest import ManifestPlace


@click.command(name="run")
@options.manifests
@options.out
@question_options.question_options
@question_options.refresh
@options.sending_options
@api_options.offline
@options.json_output
@click.pass_obj
def command(
    configuration: Configuration,
    /,
    manifests: tuple[ManifestPlace, ...],
    out: Place,
    as_json: bool,
    **given: Any,  # noqa: ANN401 - click's options
) -> None:
    """Annotate the rows of MANIFEST: plan, confirm, run. The same command again resumes.

    MANIFEST is a file, a pattern in quotes that stands for several, or s3://bucket/key.
    """
    options.check_sending(given)
    _refuse_elsewhere()
    with waiting_worker(configuration, given) as waiting:
        from pipeline.cli.annotating import annotate  # noqa: PLC0415 - the worker loads what it needs meanwhile

        code = annotate(manifests, out, configuration, given, waiting, as_json=as_json)
    sys.exit(code)


def _refuse_elsewhere() -> None:
    """A schedule's command comes from Redis: it may not have the password of the worker's server given to another."""
    named = click.get_current_context().get_parameter_source("redis_url") is ParameterSource.COMMANDLINE
    if named and process_environment().get(FIRING):
        raise SettingsError(f"--redis: found in a schedule's command; allowed is none: {REFUSED['redis_url']}")
