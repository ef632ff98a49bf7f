"""The question before money is spent, and then the run: the same for a manifest and for rows that are asked again."""

import sys
from collections.abc import Mapping
from typing import Any

import click

from pipeline.cli.configuration import Configuration, api_key
from pipeline.cli.ending import end
from pipeline.cli.estimating import refuse_unpriced
from pipeline.cli.media_options import policy_of
from pipeline.cli.operation import Operation
from pipeline.cli.options import budget_of
from pipeline.cli.planning import check_roots
from pipeline.cli.preparing import Prepared
from pipeline.cli.running import carry_out
from pipeline.cli.screen import Screen
from pipeline.cli.sharing import share_of
from pipeline.core.errors import UsageError
from pipeline.core.modes import FOXAPI, mode_for
from pipeline.core.policy import Policy
from pipeline.core.spending import budget_words
from pipeline.core.standing import RETRY_OF
from pipeline.edges.embedded_worker import Waiting
from pipeline.edges.environment import process_environment


def send(
    prepared: Prepared,
    configuration: Configuration,
    screen: Screen,
    given: Mapping[str, Any],
    waiting: Waiting | None = None,
    *,
    as_json: bool,
) -> int:
    """Ask, unless the run was begun before, and carry it out; the exit code. `given` are the operational options."""
    described = prepared.described
    check_roots(described, given["media_root"], prepared.folder.run_id)
    mode = mode_for(described.get("api", FOXAPI), given["mode"])
    if not prepared.folder.cancelled:
        fixed = prepared.resumed or RETRY_OF in described
        budget = budget_of(given, prepared.folder.budget)
        refuse_unpriced(budget, list(described["models"]), described["prices"], fixed=fixed)
    key = api_key(configuration, process_environment())
    if not prepared.resumed and not confirm(described["requests"], yes=given["yes"]):
        screen.say("nothing was sent; the same command asks again")
        return 0
    kept = prepared.folder.budget
    capped = any(given[option] is not None for option in ("max_cost", "max_total_tokens"))
    if capped:
        prepared.folder.cap(budget_of(given, kept))
    elif kept.caps:
        screen.say(f"the cap stays: {budget_words(kept)}; a new one takes its place, and `none` lifts it")
    if given["repairs"] is not None:
        prepared.folder.repair(given["repairs"])
    operation = Operation(
        redis_url=given["redis_url"],
        workers=given["workers"],
        policy=Policy(
            mode=mode,
            poll=given["poll"],
            poll_cost=given["poll_cost"],
            on_unknown=given["on_unknown"],
            repairs=prepared.folder.repairs,
            **policy_of(given),
        ),
        detach=given["detach"],
        key=key,
        environment=process_environment(),
        capped=capped,
        by=given["by"],
        share=share_of(given),
        media_roots=given["media_root"],
    )
    screen.estimate = described.get("estimate")
    with screen:
        stop = carry_out(prepared, operation, screen, waiting)
    return end(stop, prepared, screen, as_json=as_json)


def confirm(requests: int, *, yes: bool) -> bool:
    """Whether to send. UsageError when nobody is there to answer."""
    if yes or requests == 0:
        return True
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm; add --yes to send without asking")
    return click.confirm(f"Send {requests:,} requests, at your cost?", err=True)
