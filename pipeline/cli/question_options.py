"""Options that make up what is asked: they alone make a command the same as an earlier one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipeline.cli import api_options
from pipeline.core.errors import SettingsError
from pipeline.core.modes import FOXAPI
from pipeline.core.prompts import NO_PROMPT, Prompt
from pipeline.core.requests import DEFAULT_MODEL, Defaults
from pipeline.edges.templates import prompt_of, read_prompts

if TYPE_CHECKING:
    from pipeline.edges.schemas import AnswerSchema

Command = TypeVar("Command", bound=Callable[..., Any])


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
    click.option(
        "--model",
        envvar="VIDBATCH_MODEL",
        help="Model for rows that name none [default: gemini-2.5-pro; none with --api openai].",
    ),
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
    api_options.api,
    api_options.base_url,
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
    fallback = DEFAULT_MODEL if given["api"] == FOXAPI else None
    return Defaults(**{name: given[name] for name in names}, instruction=instruction, fallback_model=fallback)


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
