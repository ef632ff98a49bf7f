"""Options that several commands share, each said once."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from pipeline.cli import limit_options, mode_option, repair_option
from pipeline.cli.configuration import DEFAULT_BASE_URL
from pipeline.cli.out_option import OUT
from pipeline.core.account import checked_base_url
from pipeline.core.budget import Budget
from pipeline.core.deadline import parse_by
from pipeline.core.errors import SettingsError
from pipeline.core.polling import parse_schedule
from pipeline.core.prompts import NO_PROMPT, Prompt
from pipeline.core.requests import Defaults
from pipeline.edges.clock import local_now, local_time
from pipeline.edges.files import matching
from pipeline.edges.templates import prompt_of, read_prompts

if TYPE_CHECKING:
    from pipeline.edges.schemas import AnswerSchema

Command = TypeVar("Command", bound=Callable[..., Any])


def _manifests(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[Path, ...]:
    """Files as they are named; a pattern in quotes stands for all files that match it, by name."""
    del context, parameter
    return tuple(path for written in value for path in matching(written))


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

redis_url = click.option(
    "--redis",
    "redis_url",
    envvar="VIDBATCH_REDIS",
    help="Redis server of the fleet, such as redis://host:6379/0; without it a private server is used.",
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


def budget_of(given: Mapping[str, Any], known: Budget = Budget()) -> Budget:
    """What the run may spend, by the options of a command that sends; a cap that was not typed stays as it is known."""

    def cap(typed: Any, before: Any) -> Any:  # noqa: ANN401 - a float or an int, as the option reads it
        return before if typed is None else None if typed == NO_CAP else typed

    return Budget(cap(given["max_cost"], known.cost), cap(given["max_total_tokens"], known.tokens))


def _base_url(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Refuse here what every worker would refuse later; the value is not repeated, since a key may stand in it."""
    del context, parameter
    try:
        return checked_base_url(value)
    except SettingsError as error:
        raise SettingsError(f"--base-url: {error}") from None


_QUESTION = (
    click.option(
        "--prompt",
        envvar="VIDBATCH_PROMPT",
        help="Prompt for rows that have none; {{ column }} in it stands for the row's cell.",
    ),
    click.option(
        "--prompt-file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="File that holds the prompt for rows that have none.",
    ),
    click.option(
        "--prompts",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="YAML file of several prompts, `name: text`: every row is asked each of them, whatever prompt it has.",
    ),
    click.option("--model", envvar="VIDBATCH_MODEL", help="Model for rows that name none [default: gemini-2.5-pro]."),
    click.option("--system-prompt", help="System prompt for rows that have none."),
    click.option("--temperature", type=float, help="Temperature for rows that have none, 0 to 2."),
    click.option("--max-tokens", type=int, help="Most tokens of an answer, for rows that do not say."),
    click.option(
        "--reasoning/--no-reasoning", default=None, help="Whether the model may think, for rows that do not say."
    ),
    click.option(
        "--schema",
        type=click.Path(path_type=Path),
        help="File with a JSON Schema (2020-12) that each answer has to fit. The column `answer` has its types then, "
        "`answer_status` says which answers fit, and `answer_error` where and why one does not.",
    ),
    click.option(
        "--schema-instruction/--no-schema-instruction",
        default=True,
        show_default=True,
        help="Whether each prompt gets the schema appended, with the words that ask for such an answer.",
    ),
    click.option("--limit", type=click.IntRange(min=1), help="Only the manifest's first N rows."),
    click.option(
        "--base-url",
        envvar="VIDBATCH_BASE_URL",
        default=DEFAULT_BASE_URL,
        show_default=True,
        callback=_base_url,
        help="The API's address.",
    ),
    click.option("--strict", is_flag=True, help="Stop at the first row that can't become a request."),
)


refresh = click.option(
    "--reuse/--refresh",
    "reuse",
    default=True,
    help="A request that OUT has answered before is not sent again but listed in reused.parquet; --refresh asks anew.",
)


def question_options(command: Command) -> Command:
    """Add the options that make up what is asked."""
    for option in reversed(_QUESTION):
        command = option(command)
    return command


def schema_of(given: Mapping[str, Any]) -> "AnswerSchema | None":
    """The schema that answers have to fit."""
    if given["schema"] is None:
        return None
    from pipeline.edges.schemas import read_schema  # noqa: PLC0415 - who gives no schema need not wait for the validator

    return read_schema(given["schema"])


def defaults_of(given: Mapping[str, Any], schema: "AnswerSchema | None" = None) -> Defaults:
    """What the command line fills in where the manifest leaves a cell out, and what each prompt gets appended."""
    names = ("model", "system_prompt", "temperature", "max_tokens", "reasoning")
    instruction = schema.instruction if schema is not None and given["schema_instruction"] else None
    return Defaults(**{name: given[name] for name in names}, instruction=instruction)


def prompts_of(given: Mapping[str, Any]) -> tuple[Prompt | None, ...]:
    """What rows are asked. SettingsError for more than one way to say it, or for what no row could be asked."""
    ways = [name for name in ("prompt", "prompt_file", "prompts") if given[name] is not None]
    if len(ways) > 1:
        raise SettingsError(f"{' and '.join(f'--{way}' for way in ways).replace('_', '-')}: found both; give one")
    if given["prompts"] is not None:
        return tuple(read_prompts(given["prompts"]))
    if given["prompt_file"] is not None:
        try:
            text = given["prompt_file"].read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"--prompt-file: {given['prompt_file']} can't be read: {error}") from error
        return (prompt_of(text, f"--prompt-file: {given['prompt_file']}"),)
    return tuple(NO_PROMPT) if given["prompt"] is None else (prompt_of(given["prompt"], "--prompt"),)
