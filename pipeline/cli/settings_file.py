"""What `vidbatch.toml` may hold. Loaded only where there is such a file: pydantic takes longer to load than a help."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from pipeline.core.errors import SettingsError

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Price(BaseModel):
    """One model's price: dollars, or your currency, per million tokens; who told it, and on which day."""

    model_config = _STRICT

    input: float = Field(ge=0, description="of the prompt's tokens; required")
    output: float = Field(ge=0, description="of the answer's tokens, thinking included; required")
    input_long: float | None = Field(default=None, ge=0, description="of the prompt's tokens, where the prompt is long")
    output_long: float | None = Field(
        default=None, ge=0, description="of the answer's tokens, where the prompt is long"
    )
    long_prompt_tokens: int | None = Field(default=None, ge=0, description="tokens above which a prompt is long")
    source: str = Field(default="vidbatch.toml", description="who told the price; plans show it")
    as_of: Annotated[date, Field(strict=False)] | None = Field(
        default=None, description="the day on which it was told; a price older than a year is called old"
    )


class Settings(BaseModel):
    """The options of these names look at most of them again, closer."""

    model_config = _STRICT

    base_url: str | None = None
    api: Literal["foxapi", "openai"] | None = None
    redis: str | None = None
    model: str | None = None
    prompt: str | None = None
    workers: int | None = None
    mode: Literal["async", "sync", "stream", "sync-stream"] | None = None
    poll: str | None = None
    poll_cost: float | None = Field(default=None, ge=0.001, le=86_400)
    on_unknown: Literal["resubmit", "hold"] | None = None
    repair: int | None = None
    api_key_file: str | None = None
    rpm: float | None = None
    poll_rpm: float | None = None
    tpm: float | None = None
    max_in_flight: int | None = None
    priority: int | None = None
    account: str | None = None
    max_cost: float | None = None
    max_total_tokens: int | None = None
    by: str | None = None
    tokens_per_second: float | None = Field(default=None, gt=0)
    prices: dict[str, Price] = {}


SETTINGS = {
    "api_key_file": "a file that holds the API key, where the environment names none; no key stands here",
    "tokens_per_second": "tokens that a second of video takes, for estimates",
}
"""Settings that are no option's default, and what they are."""


def settings_of(content: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Settings by name and prices by model. SettingsError names the setting, what was found and what is allowed."""
    try:
        read = Settings.model_validate(dict(content))
    except ValidationError as error:
        raise SettingsError(f"{path}: {_told(error.errors(include_url=False)[0])}") from None
    prices = {model: price.model_dump(mode="json", exclude_none=True) for model, price in read.prices.items()}
    return read.model_dump(exclude_none=True, exclude={"prices"}), prices


def _told(error: ErrorDetails) -> str:
    """A sentence for one thing that is wrong."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        names = Settings.model_fields if len(error["loc"]) == 1 else Price.model_fields
        return f"{where}: is no setting; allowed are {', '.join(names)}"
    if error["type"] == "missing":
        return f"{where}: is missing"
    allowed = error["msg"].removeprefix("Input should be ")
    number = "a number " if allowed.startswith(("greater", "less")) else ""
    return f"{where}: found {error['input']!r}; allowed is {number}{allowed}"
