"""Where settings come from: options, then the environment, then `vidbatch.toml`; the key only from the environment.

Read once, at the edge. A key in the file is refused rather than used, since such files are committed.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.core.account import Secret
from pipeline.core.errors import KeyMissing, SettingsError
from pipeline.edges.environment import key_from

FILE = "vidbatch.toml"
DEFAULT_BASE_URL = "https://api.foxapi.cc"

ENVIRONMENT = {
    "VIDBATCH_API_KEY": "the API key",
    "VIDBATCH_API_KEY_FILE": "a file that holds the API key",
    "VIDBATCH_BASE_URL": "the API's address",
    "VIDBATCH_REDIS": "a Redis server; without one a private server is used",
    "VIDBATCH_MODEL": "the model where the manifest names none",
    "VIDBATCH_PROMPT": "the prompt where the manifest has none",
    "VIDBATCH_WORKERS": "submit and poll shifts at a time",
    "VIDBATCH_ROLES": "what a worker does: submit, poll, write, control",
    "VIDBATCH_STATE": "the folder of the private server and the logs",
    "VIDBATCH_POLL": "the polling schedule",
    "VIDBATCH_ON_UNKNOWN": "what becomes of a row that may have been billed: resubmit or hold",
    "VIDBATCH_COORDINATOR_PID": "set by `run` for its own workers: the process to leave with",
    "VIDBATCH_SERVER_USE": "set by `run` for its own workers: how they use the private server",
}
"""Every variable that vidbatch reads, and what it gives."""


class PriceEntry(BaseModel):
    """One model's price: dollars, or your currency, per million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float
    output: float
    input_long: float | None = None
    output_long: float | None = None
    long_prompt_tokens: int | None = None


class FileSettings(BaseModel):
    """What `vidbatch.toml` may hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str | None = None
    redis: str | None = None
    model: str | None = None
    prompt: str | None = None
    workers: int | None = None
    poll: str | None = None
    on_unknown: Literal["resubmit", "hold"] | None = None
    api_key_file: str | None = None
    prices: dict[str, PriceEntry] = {}


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings file, with the shipped prices under the file's own."""

    file: FileSettings
    prices: Mapping[str, Mapping[str, Any]]

    def option_defaults(self) -> dict[str, object]:
        """Defaults for options that were given neither on the command line nor in the environment."""
        return self.file.model_dump(exclude_none=True, exclude={"prices", "api_key_file"})


def load(folder: Path) -> Configuration:
    """Read `vidbatch.toml` in this folder, if it is there. SettingsError names the file and the line's key."""
    shipped = tomllib.loads((resources.files("pipeline.cli") / "prices.toml").read_text())
    file = _file(folder / FILE)
    prices = {**shipped["prices"], **{model: price.model_dump() for model, price in file.prices.items()}}
    return Configuration(file, prices)


def _file(path: Path) -> FileSettings:
    if not path.exists():
        return FileSettings()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} can't be read: {error}") from error
    if "api_key" in content:
        raise SettingsError(
            f"{path}: api_key: the key is never read from this file; set VIDBATCH_API_KEY, or api_key_file to a file "
            "that holds it"
        )
    try:
        return FileSettings.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        allowed = ", ".join(FileSettings.model_fields)
        raise SettingsError(f"{path}: {where}: {first['msg'].lower()}; allowed are {allowed}") from None


def api_key(configuration: Configuration, environment: Mapping[str, str]) -> Secret:
    """The key from the environment, or the file that it or `vidbatch.toml` names. KeyMissing says where to put it."""
    named = configuration.file.api_key_file
    told = dict(environment)
    if named and not (told.get("VIDBATCH_API_KEY") or told.get("VIDBATCH_API_KEY_FILE")):
        told["VIDBATCH_API_KEY_FILE"] = named
    key = key_from(told)
    if key is None:
        raise KeyMissing(
            "no API key: set VIDBATCH_API_KEY, or VIDBATCH_API_KEY_FILE to a file that holds it, and run the same "
            "command again"
        )
    return key
