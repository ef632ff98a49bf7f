"""What `vidbatch run` does: plan, say what would be sent, and send; loaded when it is called."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pipeline.cli.asking import question_of
from pipeline.cli.configuration import Configuration, known_key
from pipeline.cli.ending import report
from pipeline.cli.plan_models import account_lines, asked
from pipeline.cli.plan_text import plan_lines, promise_lines
from pipeline.cli.preparing import Prepared, first_rejections, prepare
from pipeline.cli.screen import Screen
from pipeline.cli.sending import send
from pipeline.cli.sharing import found_before
from pipeline.core.scheduled import FIRING
from pipeline.edges.clock import local_now
from pipeline.edges.embedded_worker import Waiting
from pipeline.edges.environment import process_environment
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.places import Place
from pipeline.edges.stored_manifest import ManifestPlace


def annotate(
    manifests: tuple[ManifestPlace, ...],
    out: Place,
    configuration: Configuration,
    given: dict[str, Any],
    waiting: Waiting | None,
    *,
    as_json: bool,
) -> int:
    """Plan and run, or resume; the exit code. `given` are the command's options."""
    prepared = planned(manifests, out, configuration, given)
    return carry_on(prepared, configuration, Screen(quiet=as_json), given, waiting, as_json=as_json)


def planned(
    manifests: tuple[ManifestPlace, ...], out: Place, configuration: Configuration, given: Mapping[str, Any]
) -> Prepared:
    """The run of what is asked: the one that there is, or a new one with its plan on disk."""
    question = question_of(manifests, given)
    return prepare(
        question,
        OutFolder(out),
        prices=configuration.prices,
        strict=given["strict"],
        progress=None,
        tokens_per_second=configuration.file.tokens_per_second,
        refresh=not given["reuse"],
        firing=process_environment().get(FIRING, ""),
    )


def carry_on(
    prepared: Prepared,
    configuration: Configuration,
    screen: Screen,
    given: dict[str, Any],
    waiting: Waiting | None,
    *,
    as_json: bool,
) -> int:
    """Say what the run is, send what is to be sent, and follow it to its end; the exit code."""
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
        key = known_key(configuration, process_environment())
        found = partial(found_before, given, described["base_url"], key)
        # where nobody is asked whether to send, nobody waits to read it
        told = None if given["yes"] else asked(given, key)
        account = () if told is None else account_lines(told, described["models"])
        for line in (*lines, *promise_lines(given, described, local_now(), found), *account):
            screen.say(line)
    return send(prepared, configuration, screen, given, waiting, as_json=as_json)
