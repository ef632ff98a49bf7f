"""`vidbatch run`."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from pipeline.cli import options
from pipeline.cli.configuration import Configuration, known_key
from pipeline.cli.ending import report
from pipeline.cli.plan_text import plan_lines, promise_lines
from pipeline.cli.preparing import Prepared, Question, first_rejections, prepare
from pipeline.cli.screen import Screen
from pipeline.cli.sending import send
from pipeline.cli.sharing import found_before
from pipeline.edges.clock import local_now
from pipeline.edges.environment import process_environment
from pipeline.edges.out_folder import OutFolder


@click.command(name="run")
@options.manifests
@options.out
@options.question_options
@options.sending_options
@options.json_output
@click.pass_obj
def command(
    configuration: Configuration,
    /,
    manifests: tuple[Path, ...],
    out: Path,
    as_json: bool,
    **given: Any,  # noqa: ANN401 - click's options
) -> None:
    """Annotate the rows of MANIFEST: plan, confirm, run. The same command again resumes."""
    options.check_sending(given)
    question = Question(manifests, options.defaults_of(given), given["base_url"], given["limit"])
    prepared = prepare(
        question,
        OutFolder(out),
        prices=configuration.prices,
        strict=given["strict"],
        progress=None,
        tokens_per_second=configuration.file.tokens_per_second,
    )
    sys.exit(_run(prepared, configuration, Screen(quiet=as_json), given, as_json=as_json))


def _run(
    prepared: Prepared, configuration: Configuration, screen: Screen, given: dict[str, Any], *, as_json: bool
) -> int:
    described = prepared.described
    if prepared.finished:
        screen.say(f"run {prepared.folder.run_id} of these requests is finished; nothing was sent")
        return report(prepared, screen, as_json=as_json)
    if prepared.folder.cancelled:
        screen.say(f"run {prepared.folder.run_id} was cancelled; collecting what it asked, nothing more is sent")
    elif prepared.resumed:
        screen.say(f"resuming run {prepared.folder.run_id}")
    else:
        rejections = first_rejections(prepared.folder, 5) if described["rejections"] else []
        lines = plan_lines(described, rejections, str(prepared.folder.path / "rejects.parquet"))
        found = partial(found_before, given, described["base_url"], known_key(configuration, process_environment()))
        for line in (*lines, *promise_lines(given, described, local_now(), found)):
            screen.say(line)
    return send(prepared, configuration, screen, given, as_json=as_json)
