"""Where settings come from: options, then the environment, then `vidbatch.toml`; the key only from the environment.

Read once, at the edge. A key in the file is refused rather than used, since such files are committed.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import click

from pipeline.core.account import Secret
from pipeline.core.errors import KeyMissing, SettingsError
from pipeline.edges.environment import KEY, KEY_COMMAND, KEY_FILE, key_from, open_to_others

FILE = "vidbatch.toml"
SHIPPED_PRICES = Path(__file__).with_name("prices.toml")

ENVIRONMENT = {
    "VIDBATCH_API_KEY": "the API key",
    "VIDBATCH_API_KEY_FILE": "a file that holds the API key; workers look at it again every 5 s",
    "VIDBATCH_API_KEY_COMMAND": "a command, such as a secret store's, that prints the API key; it gets no shell",
    "VIDBATCH_API": "which API is spoken there: foxapi or openai",
    "VIDBATCH_BASE_URL": "the API's address",
    "VIDBATCH_NOTIFY_SECRET": "what control workers sign webhooks with",
    "VIDBATCH_NOTIFY_SECRET_FILE": "a file that holds it; several, with blanks between, while they are exchanged",
    "VIDBATCH_OFFLINE": "whether a plan asks the API nothing",
    "VIDBATCH_REDIS": "a Redis server; without one a private server is used",
    "VIDBATCH_REDIS_USER": "who is to be let in there, by its ACL",
    "VIDBATCH_REDIS_PASSWORD": "that user's password",
    "VIDBATCH_REDIS_PASSWORD_FILE": "a file that holds the password",
    "VIDBATCH_REDIS_CA_FILE": "who signs its certificate, for rediss://; without it the system's certificates are used",
    "VIDBATCH_REDIS_CERT_FILE": "our own certificate, where it wants one",
    "VIDBATCH_REDIS_KEY_FILE": "the private key of that certificate",
    "VIDBATCH_MODEL": "the model where the manifest names none",
    "VIDBATCH_PROMPT": "the prompt where the manifest has none",
    "VIDBATCH_WORKERS": "submit and poll shifts at a time",
    "VIDBATCH_ROLES": "what a worker does: submit, poll, write, control, with numbers as submit=4",
    "VIDBATCH_MEDIA_ROOT": "folders whose video files may be read and sent, separated as in PATH",
    "VIDBATCH_STATE": "the folder of the private server and the logs",
    "VIDBATCH_LOG_FORMAT": "how workers and `metrics` log: text or json",
    "VIDBATCH_LOG_LEVEL": "from which level on they do: debug, info, warning or error",
    "VIDBATCH_MODE": "how answers come",
    "VIDBATCH_POLL": "the polling schedule",
    "VIDBATCH_POLL_COST": "seconds that an answer may wait to save one poll",
    "VIDBATCH_ON_UNKNOWN": "what becomes of a row that may have been billed: resubmit or hold",
    "VIDBATCH_REPAIR": "how often an answer that is not fit is asked for again",
    "VIDBATCH_RPM": "most POSTs a minute of the account",
    "VIDBATCH_POLL_RPM": "most polls a minute of the account",
    "VIDBATCH_TPM": "most tokens a minute of the account",
    "VIDBATCH_MAX_IN_FLIGHT": "most generations of the account at a time",
    "VIDBATCH_PRIORITY": "a run's share of its account's limits against other runs",
    "VIDBATCH_ACCOUNT": "whose limits count",
    "VIDBATCH_METRICS_HOST": "the address that the exporter of metrics listens on",
    "VIDBATCH_METRICS_PORT": "its port",
    "VIDBATCH_HEALTH_FILE": "a file that a worker touches at each registration, for checks of its health",
    "VIDBATCH_COORDINATOR_PID": "set by `run` for its own workers: the process to leave with",
    "VIDBATCH_WORKER_CALL": "set by `run` for its own workers: how they are told to begin",
    "VIDBATCH_FIRING": "set by a control worker for a schedule's command: which firing gives it",
    "VIDBATCH_SERVER_USE": "set by `run` for its own workers: how they use the private server",
}
"""Every variable that vidbatch reads, and what it gives."""

OTHERS_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "the key of an object store; it is looked for as the AWS tools look, in their files too",
    "AWS_SECRET_ACCESS_KEY": "its secret",
    "AWS_SESSION_TOKEN": "the token of credentials that end",
    "AWS_REGION": "the region of the store",
    "AWS_DEFAULT_REGION": "the region, where `AWS_REGION` says none",
    "AWS_ENDPOINT_URL_S3": "the address of a store of your own that speaks S3",
    "AWS_ENDPOINT_URL": "that address, where `AWS_ENDPOINT_URL_S3` says none",
    "TZ": "this machine's time zone, which a schedule has where `--tz` names none",
    "XDG_STATE_HOME": "where the folder of the private server and the logs is, where `VIDBATCH_STATE` says nothing",
    "TMPDIR": "where files of an object store are kept while they are read or made",
}
"""Variables of other programs' families that change what vidbatch does."""


_NO_OPTIONS = {"api_key_file", "tokens_per_second"}
"""Settings that are no option's default."""

PARAMETERS = {"redis": "redis_url", "repair": "repairs"}
"""Options whose value bears another name in the commands than in the file."""


@dataclass(frozen=True, slots=True)
class FileSettings:
    """What a file says: settings by their names, and prices by model."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    prices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def api_key_file(self) -> str | None:
        """The file that holds the key."""
        named: str | None = self.settings.get("api_key_file")
        return named

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens that a second of video takes, for estimates."""
        tokens: float | None = self.settings.get("tokens_per_second")
        return tokens


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings file, with the shipped prices under the file's own."""

    file: FileSettings
    prices: Mapping[str, Mapping[str, Any]]

    def option_defaults(self) -> dict[str, object]:
        """Defaults for options that were given neither on the command line nor in the environment."""
        settings = self.file.settings.items()
        return {PARAMETERS.get(name, name): value for name, value in settings if name not in _NO_OPTIONS}


def load(folder: Path) -> Configuration:
    """Read `vidbatch.toml` in this folder, if it is there. SettingsError names the file and the line's key."""
    shipped = tomllib.loads(SHIPPED_PRICES.read_text(encoding="utf-8"))
    file = _file(folder / FILE)
    prices = {
        model: {name: _plain(value) for name, value in price.items()} for model, price in shipped["prices"].items()
    }
    return Configuration(file, prices | dict(file.prices))


def _plain(value: object) -> object:
    """A value as `run.json` keeps it."""
    return value.isoformat() if isinstance(value, date) else value


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
    from pipeline.cli.settings_file import settings_of  # noqa: PLC0415 - who has no such file need not wait for it

    return FileSettings(*settings_of(content, path))


def known_key(configuration: Configuration, environment: Mapping[str, str]) -> Secret | None:
    """The key, where there is one."""
    named = configuration.file.api_key_file
    told = dict(environment)
    if named and not any(told.get(name) for name in (KEY, KEY_FILE, KEY_COMMAND)):
        told[KEY_FILE] = named
    if said := open_to_others(told):
        click.echo(f"warning: {said}", err=True)
    return key_from(told)


def api_key(configuration: Configuration, environment: Mapping[str, str]) -> Secret:
    """The key from the environment, or the file that it or `vidbatch.toml` names. KeyMissing says where to put it."""
    key = known_key(configuration, environment)
    if key is None:
        raise KeyMissing(
            "no API key: set VIDBATCH_API_KEY, or VIDBATCH_API_KEY_FILE to a file that holds it, and run the same "
            "command again"
        )
    return key
