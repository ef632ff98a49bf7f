"""Every switch of the simulator, as data in one place.

The command line, the admin endpoint and the documentation are all derived from these fields; nobody lists them again.
"""

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pipeline.core.errors import SettingsError
from pipeline.simulator.latency import Latency, parse_latency
from pipeline.simulator.parsing import (
    Parse,
    a_base,
    a_choice,
    a_duration,
    a_flag,
    a_folder,
    a_header,
    a_latency,
    a_number,
    a_rate,
    a_status,
    a_text,
    a_whole_number,
    an_offset,
    names,
    optional,
    prices,
)

# Chosen like a video model on a good day: a median of 8 s, one in ten above 17 s.
USUAL_LATENCY = parse_latency("lognormal:8s,0.6")
NO_DELAY = parse_latency("0s")
# Above what any client should hold of one answer.
_A_FLOOD = 60_000_000
GARBLED_KINDS = ("html", "truncated", "invalid", "empty")

_FOLDER_OR_NONE = optional(a_folder)
_WHOLE_OR_NONE = optional(a_whole_number)
_NUMBER_OR_NONE = optional(a_number)
_DURATION_OR_NONE = optional(a_duration)
_GARBLED_KIND = a_choice(*GARBLED_KINDS)
_SYNC_ERRORS = a_choice("status", "task", "error")
_FRAMING = a_choice("named", "bare")
_STREAM_USAGE = a_choice("off", "last", "extra")
_CREDITS_SHAPE = a_choice("flat", "nested", "none")

# Dollars a million tokens: input, output, and both for prompts above 200k tokens (docs/foxapi.md §6).
LIST_PRICES = (1.25, 10.0, 2.5, 15.0)


def _option(default: Any, parse: Parse, explanation: str, *, live: bool = True, secret: bool = False) -> Any:  # noqa: ANN401 - a dataclass field is of any type
    metadata = {"parse": parse, "help": explanation, "live": live, "secret": secret}
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """One simulator: where it listens, how long it takes, what goes wrong. Rates are shares between 0 and 1."""

    host: str = _option("127.0.0.1", a_text, "address to listen on", live=False)
    port: int = _option(0, a_whole_number, "port to listen on; 0 takes a free one", live=False)
    fast: bool = _option(False, a_flag, "download and decode nothing; tokens come from the URL's hash", live=False)
    seed: int | None = _option(None, _WHOLE_OR_NONE, "makes chance repeatable", live=False)
    media_folder: Path | None = _option(  # noqa: RUF009 - a dataclass field
        None, _FOLDER_OR_NONE, "folder whose files /media/ serves besides the shipped clips", live=False
    )
    max_body_bytes: int = _option(32 << 20, a_whole_number, "longest request body; above it 413 with HTML", live=False)
    max_video_bytes: int = _option(256 << 20, a_whole_number, "longest video that is downloaded", live=False)

    latency: Latency = _option(  # noqa: RUF009 - a dataclass field
        USUAL_LATENCY,
        a_latency,
        "how long a generation takes: 2s, uniform:1s,5s, lognormal:MEDIAN,SIGMA, exponential:MEAN, "
        "bimodal:5s,60s[,SHARE] or pareto:LEAST,INDEX",
    )
    submit_delay: Latency = _option(  # noqa: RUF009 - a dataclass field
        NO_DELAY, a_latency, "time before a POST is answered"
    )
    query_delay: Latency = _option(  # noqa: RUF009 - a dataclass field
        NO_DELAY, a_latency, "time before a GET of a task is answered"
    )

    keys: tuple[str, ...] = _option((), names, "API keys accepted; none given: any sk-…", secret=True)
    auth_error_status: int = _option(401, a_status, "status for a key that is not accepted: 401 or 403")
    balance: float | None = _option(None, _NUMBER_OR_NONE, "dollars until 402; 0 is empty, none is endless")
    models: tuple[str, ...] = _option(
        ("gemini-2.5-pro=10", "nemotron-3-nano-omni=1"), names, "models, each with the most videos that it takes"
    )
    unknown_fields_refused: bool = _option(True, a_flag, "a field beyond the nine gets 422")
    strict_urls: bool = _option(True, a_flag, "a file's URL must end in .mp4, .mpeg, .mpg, .mov or .webm")
    cost_reported: bool = _option(True, a_flag, "answers carry usage.cost")
    credits_reported: bool = _option(False, a_flag, "tasks carry usage.credits_reserved")
    prices: tuple[float, ...] = _option(
        LIST_PRICES,
        prices,
        "dollars a million tokens: input, output, and both above 200k prompt tokens",
        live=False,  # what was billed is never billed again at another price
    )
    failed_are_billed: bool = _option(False, a_flag, "a failed generation bills its prompt tokens")
    fixed_content: str = _option("", a_text, "text that every answer consists of, instead of the facts")
    answered_model: str = _option("", a_text, "model that answers name, instead of the one asked for")
    refresh_hides_results: bool = _option(False, a_flag, "with sync_upstream=true a completed task has no results")

    reasoning_required: tuple[str, ...] = _option((), names, "models that get 422 unless reasoning is true")
    sync_limit: float | None = _option(
        None,
        _DURATION_OR_NONE,
        "seconds after which a sync POST gets 504, or its stream is cut, the generation going on",
    )
    sync_errors: str = _option(
        "task",
        _SYNC_ERRORS,
        "how a sync POST tells of a failed generation: HTTP 500, a failed task, or an error with 200",
    )
    sync_task: bool = _option(False, a_flag, "a sync POST is answered with a task and not with a bare ChatCompletion")
    sync_stream_framing: str = _option(
        "named", _FRAMING, "events of a stream that answers a POST: named, or bare with [DONE] at the end"
    )
    stream_named: bool = _option(True, a_flag, "events of a task's stream are named")
    stream_offset_base: int = _option(0, a_base, "what offset counts a stream's first chunk as: 0 or 1")
    stream_chunks: int = _option(0, a_whole_number, "chunks of an answer's content; 0 is one for 8 characters")
    stream_usage: str = _option(
        "off", _STREAM_USAGE, "usage in streams: off, in the last chunk, or in an extra one without choices"
    )
    stream_kept: float = _option(900.0, a_duration, "seconds for which a stream is kept after its generation's end")
    stream_gone_status: int = _option(410, a_status, "status of a stream that is kept no longer")
    stream_url_absolute: bool = _option(False, a_flag, "a task names its stream by a whole URL and not by its path")
    upload_kept: float = _option(72 * 3600.0, a_duration, "seconds for which an uploaded file is kept")
    upload_url_relative: bool = _option(False, a_flag, "an upload's url is a path and not a whole URL")
    credits_shape: str = _option("flat", _CREDITS_SHAPE, "body of the balance: flat, nested, or none (404)")

    invalid_answers: float = _option(0.0, a_rate, "answers that fit no schema, once for each video and prompt")
    stubborn_answers: float = _option(0.0, a_rate, "of the invalid answers, those that stay so however often one asks")
    truncated_answers: float = _option(
        0.0, a_rate, "answers cut in the middle, until one asks with a max_tokens that is enough for all of it"
    )
    refused_answers: float = _option(0.0, a_rate, "answers that are a refusal, or stopped by a filter")
    empty_answers: float = _option(0.0, a_rate, "answers without a word")

    fail_rate: float = _option(0.0, a_rate, "generations that end as failed")
    fail_codes: tuple[str, ...] = _option(
        ("generation_failed",), names, "codes of failed generations, drawn with equal chance"
    )
    failing_videos: str = _option("", a_text, "generations of videos whose URL holds this text end as failed, too")
    stuck_rate: float = _option(0.0, a_rate, "generations that never end")
    submit_throttle_rate: float = _option(0.0, a_rate, "POSTs answered with 429")
    query_throttle_rate: float = _option(0.0, a_rate, "GETs of a task answered with 429")
    submit_per_minute: float | None = _option(None, _NUMBER_OR_NONE, "POSTs a minute before 429")
    query_per_minute: float | None = _option(None, _NUMBER_OR_NONE, "GETs of tasks a minute before 429")
    burst: int = _option(10, a_whole_number, "requests that may come at once under a limit a minute")
    max_open: int | None = _option(None, _WHOLE_OR_NONE, "generations open at once before 429")
    retry_after: float | None = _option(None, _DURATION_OR_NONE, "Retry-After that a 429 carries, in seconds")
    retry_after_as_date: bool = _option(False, a_flag, "Retry-After is an HTTP date")
    retry_after_text: str = _option("", a_header, "Retry-After of a 429 as raw text, whatever retry_after says")
    error_before_rate: float = _option(0.0, a_rate, "POSTs answered with a server error, nothing created")
    error_after_rate: float = _option(0.0, a_rate, "POSTs answered with a server error, the generation created")
    error_status: int = _option(500, a_status, "status of server errors; 502 has an HTML body")
    hangup_before_rate: float = _option(0.0, a_rate, "POSTs whose connection is closed unanswered, nothing created")
    hangup_after_rate: float = _option(
        0.0, a_rate, "POSTs whose connection is closed unanswered, the generation created"
    )
    no_channel_rate: float = _option(0.0, a_rate, "POSTs answered with 422 service_unavailable_error")
    query_error_rate: float = _option(0.0, a_rate, "GETs of a task answered with a server error")
    query_missing_rate: float = _option(0.0, a_rate, "GETs of a task answered with an untrue 404")

    submit_cut_rate: float = _option(0.0, a_rate, "POSTs reset in the middle of the answer, the generation created")
    submit_silence_rate: float = _option(0.0, a_rate, "POSTs never answered, connection open, the generation created")
    submit_garbled_rate: float = _option(0.0, a_rate, "POSTs answered 200 and garbled, the generation created")
    submit_flood_rate: float = _option(0.0, a_rate, "POSTs answered after a flood, the generation created")
    duplicate_id_rate: float = _option(0.0, a_rate, "POSTs answered with another's id, their own generation created")
    query_cut_rate: float = _option(0.0, a_rate, "GETs of a task reset in the middle of the answer")
    query_silence_rate: float = _option(0.0, a_rate, "GETs of a task never answered, the connection left open")
    query_garbled_rate: float = _option(0.0, a_rate, "GETs of a task answered 200 and garbled")
    flood_rate: float = _option(0.0, a_rate, "GETs of a task answered after a flood")
    garbled_kind: str = _option("html", _GARBLED_KIND, f"what garbled answers are: {', '.join(GARBLED_KINDS)}")
    flood_bytes: int = _option(_A_FLOOD, a_whole_number, "spaces, in chunks, that a flooded answer begins with")
    unknown_status_rate: float = _option(0.0, a_rate, "GETs of a task answered with a status that nobody knows")
    null_results_rate: float = _option(
        0.0, a_rate, "GETs of a completed task without its results; the next may have them"
    )
    lost_results_rate: float = _option(0.0, a_rate, "generations that complete, are billed and never have results")
    stream_missing_rate: float = _option(0.0, a_rate, "GETs of a stream answered with an untrue 404")
    stream_silence_rate: float = _option(0.0, a_rate, "streams that stop in the middle, the connection left open")
    stream_cut_rate: float = _option(0.0, a_rate, "streams reset in the middle")
    stream_error_rate: float = _option(0.0, a_rate, "streams that end in an error, the generation completing")
    stream_cut_after_bytes: int = _option(
        0, a_whole_number, "bytes of its body after which every connection to a stream is reset; 0 is never"
    )
    stream_cuts: int | None = _option(
        None, _WHOLE_OR_NONE, "connections of one generation that are reset, and then no more; none is all"
    )
    stream_piece_bytes: int = _option(0, a_whole_number, "bytes of each piece that a stream is written in; 0 is any")
    stream_comments: bool = _option(False, a_flag, "streams have comments between events, and CRLF line ends")
    upload_throttle_rate: float = _option(0.0, a_rate, "uploads answered with 429")
    upload_error_rate: float = _option(0.0, a_rate, "uploads answered with a server error, no file kept")
    created_skew_s: int = _option(0, an_offset, "seconds by which `created` is wrong; negative is the past")


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
