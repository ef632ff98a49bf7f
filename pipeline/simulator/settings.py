"""Every switch of the simulator, as data in one place.

The command line, the admin endpoint and the documentation are all derived from these fields; nobody lists them again.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pipeline.core.errors import SettingsError
from pipeline.simulator.latency import Latency, parse_latency, seconds

Parse = Callable[[object], object]

# Chosen like a video model on a good day: a median of 8 s, one in ten above 17 s.
USUAL_LATENCY = parse_latency("lognormal:8s,0.6")
NO_DELAY = parse_latency("0s")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise SettingsError(f"expected text, not {value!r}.")
    return value


def _flag(value: object) -> bool:
    words = {True: True, False: False, "true": True, "false": False, "on": True, "off": False}
    if not isinstance(value, bool | str) or value not in words:
        raise SettingsError(f"expected true or false, not {value!r}.")
    return words[value]


def _number(value: object) -> float:
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        number = math.nan
    if isinstance(value, bool) or math.isnan(number) or number < 0:
        raise SettingsError(f"expected a number of 0 or more, not {value!r}.")
    return number


def _whole(value: object) -> int:
    number = _number(value)
    if number != int(number):
        raise SettingsError(f"expected a whole number, not {value!r}.")
    return int(number)


def _rate(value: object) -> float:
    number = _number(value)
    if number > 1:
        raise SettingsError(f"expected a share between 0 and 1, not {value!r}.")
    return number


def _seconds(value: object) -> float:
    return seconds(value) if isinstance(value, str) else _number(value)


def _latency(value: object) -> Latency:
    return parse_latency(value if isinstance(value, str) else f"{_number(value)}s")


def _names(value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise SettingsError(f"expected names separated by commas, not {value!r}.")
    return tuple(part.strip() for part in parts if part.strip())


def _numbers(value: object) -> tuple[float, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or len(parts) != len(LIST_PRICES):
        raise SettingsError(f"expected {len(LIST_PRICES)} numbers separated by commas, not {value!r}.")
    return tuple(_number(part) for part in parts)


def _folder(value: object) -> Path:
    return value if isinstance(value, Path) else Path(_text(value))


def _optional(parse: Parse) -> Parse:
    return lambda value: None if value is None or value in ("", "none") else parse(value)


_FOLDER_OR_NONE = _optional(_folder)
_WHOLE_OR_NONE = _optional(_whole)
_NUMBER_OR_NONE = _optional(_number)
_SECONDS_OR_NONE = _optional(_seconds)

# Dollars a million tokens: input, output, and both for prompts above 200k tokens (docs/foxapi.md §6).
LIST_PRICES = (1.25, 10.0, 2.5, 15.0)


def _option(default: Any, parse: Parse, explanation: str, *, live: bool = True, secret: bool = False) -> Any:  # noqa: ANN401 - a dataclass field is of any type
    metadata = {"parse": parse, "help": explanation, "live": live, "secret": secret}
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """One simulator: where it listens, how long it takes, what goes wrong. Rates are shares between 0 and 1."""

    host: str = _option("127.0.0.1", _text, "address to listen on", live=False)
    port: int = _option(0, _whole, "port to listen on; 0 takes a free one", live=False)
    fast: bool = _option(False, _flag, "download and decode nothing; tokens come from the URL's hash", live=False)
    seed: int | None = _option(None, _WHOLE_OR_NONE, "makes chance repeatable", live=False)
    media_folder: Path | None = _option(  # noqa: RUF009 - a dataclass field
        None, _FOLDER_OR_NONE, "folder whose files /media/ serves besides the shipped clips", live=False
    )
    max_body_bytes: int = _option(32 << 20, _whole, "longest request body; above it 413 with HTML", live=False)
    max_video_bytes: int = _option(256 << 20, _whole, "longest video that is downloaded", live=False)

    latency: Latency = _option(  # noqa: RUF009 - a dataclass field
        USUAL_LATENCY, _latency, "how long a generation takes, like 2s or lognormal:8s,0.6"
    )
    submit_delay: Latency = _option(  # noqa: RUF009 - a dataclass field
        NO_DELAY, _latency, "time before a POST is answered"
    )
    query_delay: Latency = _option(  # noqa: RUF009 - a dataclass field
        NO_DELAY, _latency, "time before a GET of a task is answered"
    )

    keys: tuple[str, ...] = _option((), _names, "API keys accepted; none given: any sk-…", secret=True)
    auth_error_status: int = _option(401, _whole, "status for a key that is not accepted: 401 or 403")
    balance: float | None = _option(None, _NUMBER_OR_NONE, "dollars until 402; 0 is empty, none is endless")
    models: tuple[str, ...] = _option(
        ("gemini-2.5-pro=10", "nemotron-3-nano-omni=1"), _names, "models, each with the most videos that it takes"
    )
    unknown_fields_refused: bool = _option(True, _flag, "a field beyond the nine gets 422")
    strict_urls: bool = _option(True, _flag, "a file's URL must end in .mp4, .mpeg, .mpg, .mov or .webm")
    cost_reported: bool = _option(True, _flag, "answers carry usage.cost")
    credits_reported: bool = _option(False, _flag, "tasks carry usage.credits_reserved")
    prices: tuple[float, ...] = _option(
        LIST_PRICES,
        _numbers,
        "dollars a million tokens: input, output, and both above 200k prompt tokens",
        live=False,  # what was billed is never billed again at another price
    )
    failed_are_billed: bool = _option(False, _flag, "a failed generation bills its prompt tokens")
    fixed_content: str = _option("", _text, "text that every answer consists of, instead of the facts")
    answered_model: str = _option("", _text, "model that answers name, instead of the one asked for")
    refresh_hides_results: bool = _option(False, _flag, "with sync_upstream=true a completed task has no results")

    fail_rate: float = _option(0.0, _rate, "generations that end as failed")
    fail_codes: tuple[str, ...] = _option(
        ("generation_failed",), _names, "codes of failed generations, drawn with equal chance"
    )
    stuck_rate: float = _option(0.0, _rate, "generations that never end")
    submit_throttle_rate: float = _option(0.0, _rate, "POSTs answered with 429")
    query_throttle_rate: float = _option(0.0, _rate, "GETs of a task answered with 429")
    submit_per_minute: float | None = _option(None, _NUMBER_OR_NONE, "POSTs a minute before 429")
    query_per_minute: float | None = _option(None, _NUMBER_OR_NONE, "GETs of tasks a minute before 429")
    burst: int = _option(10, _whole, "requests that may come at once under a limit a minute")
    max_open: int | None = _option(None, _WHOLE_OR_NONE, "generations open at once before 429")
    retry_after: float | None = _option(None, _SECONDS_OR_NONE, "Retry-After that a 429 carries, in seconds")
    retry_after_as_date: bool = _option(False, _flag, "Retry-After is an HTTP date")
    error_before_rate: float = _option(0.0, _rate, "POSTs answered with a server error, nothing created")
    error_after_rate: float = _option(0.0, _rate, "POSTs answered with a server error, the generation created")
    error_status: int = _option(500, _whole, "status of server errors; 502 has an HTML body")
    hangup_before_rate: float = _option(0.0, _rate, "POSTs whose connection is closed unanswered, nothing created")
    hangup_after_rate: float = _option(
        0.0, _rate, "POSTs whose connection is closed unanswered, the generation created"
    )
    no_channel_rate: float = _option(0.0, _rate, "POSTs answered with 422 service_unavailable_error")
    query_error_rate: float = _option(0.0, _rate, "GETs of a task answered with a server error")
    query_missing_rate: float = _option(0.0, _rate, "GETs of a task answered with an untrue 404")


@dataclass(frozen=True, slots=True)
class Option:
    """One switch, for whoever builds a command line: `parse` takes text or JSON and raises SettingsError."""

    name: str
    flag: str
    default: object
    parse: Parse
    help: str
    live: bool
    secret: bool

    @property
    def is_switch(self) -> bool:
        """Whether the option is on or off and needs no value."""
        return isinstance(self.default, bool)


def _as_option(spec: "Field[Any]") -> Option:
    return Option(spec.name, "--" + spec.name.replace("_", "-"), spec.default, **spec.metadata)


OPTIONS: tuple[Option, ...] = tuple(_as_option(spec) for spec in fields(SimulatorSettings))
_BY_NAME = {option.name: option for option in OPTIONS}


def changed(settings: SimulatorSettings, changes: Mapping[str, object]) -> SimulatorSettings:
    """Return the settings with these switches set from text or JSON; raises SettingsError and names the switch."""
    parsed: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in _BY_NAME:
            raise SettingsError(f"The simulator has no setting {name!r}.")
        try:
            parsed[name] = _BY_NAME[name].parse(value)
        except SettingsError as error:
            raise SettingsError(f"{name}: {error}") from None
    return replace(settings, **parsed)


def changed_live(settings: SimulatorSettings, changes: Mapping[str, object]) -> SimulatorSettings:
    """Like `changed`, for a simulator that runs: what was needed at its start stays as it is."""
    fixed = sorted(name for name in changes if name in _BY_NAME and not _BY_NAME[name].live)
    if fixed:
        raise SettingsError(f"{', '.join(fixed)} can only be set when the simulator starts.")
    return changed(settings, changes)


def shown(settings: SimulatorSettings) -> dict[str, object]:
    """Return the settings as plain JSON values; accepted keys are only counted."""
    return {option.name: _shown_value(option, getattr(settings, option.name)) for option in OPTIONS}


def _shown_value(option: Option, value: object) -> object:
    if option.secret and isinstance(value, tuple):
        return ["***"] * len(value)
    if isinstance(value, Latency):
        return value.text
    return str(value) if isinstance(value, Path) else value
