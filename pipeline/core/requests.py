"""Rows and requests: what the user wrote, and exactly what will be asked of the API.

A row becomes a `Request` or a `Rejection` here, once, before a cent is spent; there is no third way. Nothing here
reads a file or a clock. This code runs for every row of the largest manifests, so it works on plain mappings.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import NamedTuple

import orjson

from pipeline.core import cells
from pipeline.core.cells import Fault, UnfitError
from pipeline.core.errors import SettingsError
from pipeline.core.fingerprints import RowIds
from pipeline.core.instructing import instructed
from pipeline.core.other_sources import NO_SOURCES, Sources, without_payloads
from pipeline.core.prompts import Prompt
from pipeline.core.references import asked_digest
from pipeline.core.sources import VIDEO_COLUMNS, videos_of

DEFAULT_MODEL = "gemini-2.5-pro"
_OPTIONS = frozenset(("system_prompt", "temperature", "max_tokens", "reasoning"))
COLUMNS = frozenset((*VIDEO_COLUMNS, "id", "prompt", "model", *_OPTIONS))
NO_MODEL = "a model in the row, or one for all rows with --model: this API has no default"
FOUND_CHARACTERS = 200
ROW_BYTES = 64_000

_Options = tuple[str | None, float | None, int | None, bool | None]


class RawRow(NamedTuple):
    """One row as the user wrote it. Where it can't even be read, `fault` says why and `text` is what stands there.

    `line` counts from 1: the line on which the row begins in its file, or the row's number in a Parquet file. A tuple
    and not a dataclass, since every row passes through one for a moment and it costs a third.
    """

    file: str
    line: int
    values: Mapping[str, object] = MappingProxyType({})
    fault: Fault | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A validated row.

    `row_index` counts the manifest's data rows over all its files from 0, rejected ones too; where each is asked
    several prompts, a row once for each. `row_id` is the manifest's id, else the row's place in it as text. `carried`
    holds all columns that the API does not know, as text.
    """

    row_index: int
    row_id: str
    line: int
    model: str
    prompt: str
    video_urls: tuple[str, ...]
    system_prompt: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    reasoning: bool | None = None
    carried: Mapping[str, str | None] = field(default_factory=dict)
    prompt_name: str | None = None

    def body(self) -> bytes:
        """Return the API's JSON body: the fields that are set, in a fixed order, nothing else."""
        asked: dict[str, object] = {"model": self.model, "prompt": self.prompt, "video_urls": self.video_urls}
        if self.max_tokens is not None:
            asked["max_tokens"] = self.max_tokens
        if self.temperature is not None:
            asked["temperature"] = self.temperature
        if self.system_prompt is not None:
            asked["system_prompt"] = self.system_prompt
        if self.reasoning is not None:
            asked["reasoning"] = self.reasoning
        return orjson.dumps(asked)

    @property
    def size(self) -> int:
        """About how long the body is, in characters."""
        return len(self.prompt) + len(self.system_prompt or "") + sum(map(len, self.video_urls))

    @property
    def request_hash(self) -> str:
        """SHA-256 of the body, 64 hex digits, computed at each call; the same wherever a file lies."""
        return asked_digest(self.body(), self.video_urls)


def asked_in(body: bytes) -> tuple[str, int]:
    """The model that a body asks, and its `max_tokens`; empty and 0 where there is none, as in one of no request."""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "", 0
    return (str(asked.get("model", "")), asked.get("max_tokens") or 0) if isinstance(asked, dict) else ("", 0)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that can't become a request.

    `field` is the column, or `row` where the fault lies in the row as a whole. `found` is cut to 200 characters.
    `row` is JSON, cut to 64 kB: an object of the row's cells, or the text of a line that could not be read as such.
    """

    file: str
    row_index: int
    line: int
    row_id: str | None
    field: str
    found: str
    allowed: str
    row: str
    prompt_name: str | None = None

    @property
    def carried_columns(self) -> list[str]:
        """The row's columns that the API does not know; none where it was damaged or cut."""
        try:
            held = orjson.loads(self.row)
        except orjson.JSONDecodeError:
            return []
        return [name for name in held if name not in COLUMNS] if isinstance(held, dict) else []


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the command line fills in where a row leaves a cell out or empty; `SettingsError` outside the limits."""

    model: str | None = None
    system_prompt: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    reasoning: bool | None = None
    instruction: str | None = None
    """What every prompt gets appended, wherever it comes from."""

    fallback_model: str | None = DEFAULT_MODEL
    """The model where nobody named one; an API that has none of its own asks to name one."""

    def __post_init__(self) -> None:
        for default in fields(self)[:-2]:
            given = getattr(self, default.name)
            if isinstance(given, str) and not given.strip():
                raise SettingsError(f"The default for {default.name} is blank; leave it out or give a value.")
            try:
                checked = getattr(cells, default.name)(given)
            except UnfitError as unfit:
                found = _shown(unfit.fault.found)
                raise SettingsError(
                    f"The default for {default.name} is {found!r}; allowed is {unfit.fault.allowed}."
                ) from None
            object.__setattr__(self, default.name, checked)


def to_request(
    raw: Mapping[str, object],
    *,
    row_index: int,
    line: int,
    file: str,
    defaults: Defaults,
    prompt: Prompt | None = None,
    place: int | None = None,
    known: RowIds | None = None,
    sources: Sources = NO_SOURCES,
) -> Request | Rejection:
    """Turn one row's cells into a request, or say why not.

    `prompt` is what it is asked, `place` the row's in the manifest where that is not its index. `known` holds the ids
    of the rows before, so that a second use of an id is a rejection; it learns this row's. `sources` look at videos
    that are no URLs.
    """
    place = row_index if place is None else place
    given_id: str | None = None
    try:
        given_id = cells.row_id(raw.get("id"))
        carried = _carried(raw)
        row_id = _claimed(str(place) if given_id is None else given_id, place, known)
        return _request(raw, row_index, row_id, line, defaults, prompt, carried, file, sources)
    except UnfitError as unfit:
        name = None if prompt is None else prompt.name
        return reject(RawRow(file, line, raw), unfit.fault, row_index=row_index, row_id=given_id, prompt_name=name)


def reject(
    raw: RawRow, fault: Fault, *, row_index: int, row_id: str | None = None, prompt_name: str | None = None
) -> Rejection:
    """Return the record of a row that can't become a request."""
    written = raw.values if raw.text is None else raw.text
    return Rejection(
        file=raw.file,
        row_index=row_index,
        line=raw.line,
        row_id=row_id,
        field=fault.field,
        found=_shown(fault.found),
        allowed=fault.allowed,
        row=without_payloads(cells.as_json(written)).encode()[:ROW_BYTES].decode("utf-8", "ignore"),
        prompt_name=prompt_name,
    )


def _request(
    raw: Mapping[str, object],
    row_index: int,
    row_id: str,
    line: int,
    defaults: Defaults,
    prompt: Prompt | None,
    carried: Mapping[str, str | None],
    file: str,
    sources: Sources,
) -> Request:
    """Check every field that the API knows; raise `UnfitError` at the first that it would not take."""
    get = raw.get
    model = cells.model(get("model")) or defaults.model or defaults.fallback_model
    if model is None:
        raise UnfitError("model", "", NO_MODEL)
    videos = videos_of(raw, model, file, sources)
    text = _prompt(raw, prompt)
    if defaults.instruction is not None:
        text = _instructed(text, defaults.instruction)
    if _OPTIONS.isdisjoint(raw):  # most manifests: not a cell to read
        options = (defaults.system_prompt, defaults.temperature, defaults.max_tokens, defaults.reasoning)
    else:
        options = _options(get, defaults)
    name = None if prompt is None else prompt.name
    return Request(row_index, row_id, line, model, text, videos, *options, carried, name)


def _prompt(raw: Mapping[str, object], prompt: Prompt | None) -> str:
    """What the row is asked: a prompt that has a name, else its own, else the one for all rows."""
    own = None if prompt is not None and prompt.name is not None else cells.prompt(raw.get("prompt"))
    if own is not None:
        return own
    text = None if prompt is None else cells.prompt(prompt.of(raw))
    if text is None:
        raise UnfitError("prompt", "", "a prompt in the row, or one for all rows on the command line")
    return text


def _instructed(prompt: str, instruction: str) -> str:
    """A prompt with what is appended to it, where the API takes so much."""
    whole = instructed(prompt, instruction)
    if len(whole) > cells.LONGEST_PROMPT:
        allowed = f"text of at most {cells.LONGEST_PROMPT:,} characters together with what the schema appends"
        raise UnfitError("prompt", f"{len(prompt):,} and {len(whole) - len(prompt):,} characters", allowed)
    return whole


def _options(get: Callable[[str], object], defaults: Defaults) -> _Options:
    temperature = cells.temperature(get("temperature"))
    max_tokens = cells.max_tokens(get("max_tokens"))
    reasoning = cells.reasoning(get("reasoning"))
    return (
        cells.system_prompt(get("system_prompt")) or defaults.system_prompt,
        defaults.temperature if temperature is None else temperature,
        defaults.max_tokens if max_tokens is None else max_tokens,
        defaults.reasoning if reasoning is None else reasoning,
    )


def _claimed(row_id: str, row_index: int, known: RowIds | None) -> str:
    if known is not None and not known.claim(row_id, row_index):
        raise UnfitError("id", row_id, "an id that no earlier row has: this one is already used")
    return row_id


def _carried(raw: Mapping[str, object]) -> dict[str, str | None]:
    """Return the columns that the API does not know, as text; a NUL in any cell is a fault."""
    carried: dict[str, str | None] = {}
    for name, value in raw.items():
        if isinstance(value, str):
            if "\0" in value:
                raise UnfitError(name, value, "text without NUL characters")
            if name not in COLUMNS:
                carried[name] = value
        elif name not in COLUMNS:
            carried[name] = None if value is None else cells.as_text(value)
    return carried


def _shown(found: object) -> str:
    text = without_payloads(found if isinstance(found, str) else cells.as_json(found))
    return text[:FOUND_CHARACTERS].encode("utf-8", "backslashreplace").decode()
