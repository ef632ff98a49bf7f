"""Options that several commands share, each said once."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from pipeline.cli import limit_options, media_options, mode_option, repair_option
from pipeline.cli.out_option import OUT
from pipeline.core.budget import Budget
from pipeline.core.deadline import parse_by
from pipeline.core.errors import SettingsError
from pipeline.core.modes import mode_for
from pipeline.core.polling import parse_schedule
from pipeline.edges.clock import local_now, local_time
from pipeline.edges.redis_place import redis_place
from pipeline.edges.stored_manifest import ManifestPlace, manifests_of

Command = TypeVar("Command", bound=Callable[..., Any])


def _manifests(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[ManifestPlace, ...]:
    """Files and objects as they are named; a pattern in quotes stands for all files that match it, by name."""
    del context, parameter
    return tuple(path for written in value for path in manifests_of(written))


manifests = click.argument("manifests", nargs=-1, required=True, callback=_manifests, metavar="MANIFEST...")


out = click.option(
    "--out",
    required=True,
    type=OUT,
    help="Folder of the dataset, made if absent; or s3://bucket/prefix.",
)
json_output = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, for programs.")
POLL_COST: Final = (0.001, 86_400)
"""Seconds of lag that one poll may be worth."""


def _redis_url(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """An address that can be used. SettingsError otherwise; a password that others can read is said to be one."""
    if not value:
        return None
    source = context.get_parameter_source(parameter.name or "")
    name = {ParameterSource.ENVIRONMENT: "VIDBATCH_REDIS", ParameterSource.DEFAULT_MAP: "vidbatch.toml: redis"}
    place = redis_place(value, name=name.get(source, "--redis") if source else "--redis")
    if place.address.password and source is ParameterSource.COMMANDLINE:
        click.echo(
            "warning: --redis holds a password, which every user of this machine can read in the list of processes: "
            "put it into a file of your own, and name that in VIDBATCH_REDIS_PASSWORD_FILE",
            err=True,
        )
    elif place.address.password and source is ParameterSource.DEFAULT_MAP:
        click.echo(
            "warning: vidbatch.toml: redis holds a password, and such files are committed: put it into a file of your "
            "own, and name that in VIDBATCH_REDIS_PASSWORD_FILE",
            err=True,
        )
    return value


redis_url = click.option(
    "--redis",
    "redis_url",
    envvar="VIDBATCH_REDIS",
    callback=_redis_url,
    help="Redis server of the fleet, such as redis://host:6379/0, or rediss:// for TLS; without it a private server "
    "is used. A password is better told by VIDBATCH_REDIS_PASSWORD_FILE.",
)
workers = click.option(
    "--workers",
    envvar="VIDBATCH_WORKERS",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Submit and poll shifts at a time of the private worker.",
)


def _poll_cost(context: click.Context, parameter: click.Parameter, value: float) -> float:
    """Seconds above 0. SettingsError for anything else, and for what is no number."""
    del context
    if not POLL_COST[0] <= value <= POLL_COST[1]:
        raise SettingsError(
            f"{parameter.opts[0]}: found {value:g}; allowed are seconds from {POLL_COST[0]:g} to {POLL_COST[1]:,}"
        )
    return value


poll = click.option(
    "--poll",
    envvar="VIDBATCH_POLL",
    default="adaptive",
    show_default=True,
    help="When to ask whether an answer is ready: adaptive learns how long answers take, within a floor and a ceiling "
    "if they are given, as in adaptive:0.5s,60s; or fixed:5s, or steps:2s,5s,10s.",
)
poll_cost = click.option(
    "--poll-cost",
    envvar="VIDBATCH_POLL_COST",
    type=float,
    default=1.0,
    show_default=True,
    callback=_poll_cost,
    help="Seconds that an answer may wait to save one poll; adaptive polling weighs the two by it.",
)


NO_CAP: Final = "none"
"""Lifts a cap: one that is only left out stays, since whoever goes on with a run may not know of it."""

MOST = {"max_cost": 1e9, "max_total_tokens": 10**15}
"""What sums can hold exactly; no honest cap comes near."""


def _cap(context: click.Context, parameter: click.Parameter, value: str | None) -> float | str | None:
    """An amount above 0, or `none`. A cap of nothing would send nothing."""
    del context
    if value is None or value == NO_CAP:
        return value
    name = parameter.name or ""
    try:
        amount: float = int(value) if name == "max_total_tokens" else float(value)
    except ValueError:
        amount = 0
    if not 0 < amount <= MOST[name]:
        whole = "a whole number" if name == "max_total_tokens" else "an amount"
        raise SettingsError(
            f"{parameter.opts[0]}: found {value}; allowed is {whole} above 0, up to {MOST[name]:,.0f}, or {NO_CAP}"
        )
    return amount


def _instant(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """Refuse here what would be told only when the run is at work."""
    del context, parameter
    return None if value is None else parse_by(value, local_now(), local_time)


max_cost = click.option(
    "--max-cost",
    metavar="N|none",
    callback=_cap,
    help="Most money that the run may cost, in the currency of the prices; then nothing more is sent, what was sent is "
    "collected, and the command ends with 3. The same command with a higher one goes on; without one the cap stays, "
    "and none lifts it.",
)
max_total_tokens = click.option(
    "--max-total-tokens",
    metavar="N|none",
    callback=_cap,
    help="Most tokens that the run may use, of all prompts and answers together; then as with --max-cost.",
)
by = click.option(
    "--by",
    callback=_instant,
    help="Tell whether the run is through by then, and how many rows won't be: 06:00, 2026-11-23T06:00 or 8h. It stops "
    "nothing.",
)

_SENDING = (
    redis_url,
    workers,
    mode_option.mode,
    poll,
    poll_cost,
    click.option(
        "--on-unknown",
        envvar="VIDBATCH_ON_UNKNOWN",
        type=click.Choice(["resubmit", "hold"]),
        default="resubmit",
        show_default=True,
        help="A row whose request may have been billed though its answer was lost: resubmit sends it again, at most "
        "once, so that it may be billed twice, and its annotation says so; hold ends it as unknown, without an answer, "
        "until `vidbatch retry --unknown`.",
    ),
    repair_option.repair,
    *media_options.SENDING,
    *limit_options.SENDING,
    max_cost,
    max_total_tokens,
    by,
    click.option("--yes", is_flag=True, help="Ask nothing before sending."),
    click.option("--detach", is_flag=True, help="Hand the run to the fleet and return at once; needs --redis."),
)


def sending_options(command: Command) -> Command:
    """Add the options of a command that sends: none of them changes which run it is."""
    for option in reversed(_SENDING):
        command = option(command)
    return command


def check_sending(given: dict[str, Any]) -> None:
    """Refuse here what only workers would refuse later."""
    if given["detach"] and not given["redis_url"]:
        raise SettingsError("--detach: needs --redis URL, since the private workers leave with this command")
    parse_schedule(given["poll"])
    if "api" in given:  # a retry has its run's
        mode_for(given["api"], given["mode"])


def budget_of(given: Mapping[str, Any], known: Budget = Budget()) -> Budget:
    """What the run may spend, by the options of a command that sends; a cap that was not typed stays as it is known."""

    def cap(typed: Any, before: Any) -> Any:  # noqa: ANN401 - a float or an int, as the option reads it
        return before if typed is None else None if typed == NO_CAP else typed

    return Budget(cap(given["max_cost"], known.cost), cap(given["max_total_tokens"], known.tokens))
