"""The order of planning: every row of the manifest is judged, written down and counted, and nothing is spent.

The core judges; the sinks keep. No row is ever dropped here: requests and rejections together are the rows.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from typing import Protocol

import orjson

from pipeline.core.errors import UsageError
from pipeline.core.estimates import DURATION, Lengths
from pipeline.core.fingerprints import Fingerprints, RowIds
from pipeline.core.models import Thinking
from pipeline.core.other_sources import EXTENSIONS, NO_ROOT, NO_SOURCES, Sources
from pipeline.core.prompts import NO_COLUMN, NO_PROMPT, Prompt
from pipeline.core.requests import NO_MODEL, Defaults, RawRow, Rejection, Request, reject, to_request

FIRST_REJECTIONS = 10  # what fits a screen; rejects.parquet has them all
PROGRESS_ROWS = 1024
ENOUGH_WITHOUT = 100
"""When so many rows from the first on lack a column that the prompt uses, it is not the rows' fault."""


class RequestsSink(Protocol):
    """Keeps requests, in the order in which they come."""

    def add(self, request: Request, request_hash: str) -> None:
        """Keep one request and its hash."""


class RejectsSink(Protocol):
    """Keeps rejections, in the order in which they come."""

    def add(self, rejection: Rejection) -> None:
        """Keep one rejection."""


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What a manifest asks for.

    `requests_digest` is the SHA-256, as hex digits, of all rows, in order: what each asks, and what else its annotation
    will say of it, or why it was rejected. `repeated` tells that two of them may ask the same.
    """

    rows: int
    requests: int
    rejections: int
    rejections_by_field: Mapping[str, int]
    first_rejections: tuple[Rejection, ...]
    carried_columns: tuple[str, ...]
    requests_digest: str
    models: Mapping[str, int]
    prompt_characters: int
    videos: int
    lengths: Lengths
    repeated: bool = False
    thinking: Thinking = field(default_factory=Thinking)


def plan(
    manifest: Iterable[RawRow],
    defaults: Defaults,
    *,
    requests_sink: RequestsSink,
    rejects_sink: RejectsSink,
    prompts: Sequence[Prompt | None] = NO_PROMPT,
    limit: int | None = None,
    strict: bool = False,
    progress: Callable[[int], None] | None = None,
    sources: Sources = NO_SOURCES,
) -> PlanSummary:
    """Judge each row, keep it in its sink and return the counts.

    Each row is asked each of the `prompts`. `limit` plans only the first so many rows. `strict` raises `UsageError` at
    the first rejection. `progress` hears the number of rows so far, now and then and at the end. UsageError where no
    row has a column that the prompt uses. `sources` look at videos that are files, or that stand in the manifest.
    """
    tally = Tally()
    lacking = _Lacking()
    for row_index, judged in enumerate(_judged(islice(manifest, limit), defaults, prompts, sources)):
        lacking.look_at(judged)
        if isinstance(judged, Request):
            request_hash = judged.request_hash
            requests_sink.add(judged, request_hash)
            tally.count_request(judged, request_hash)
        elif strict:
            raise UsageError(_sentence(judged))
        else:
            rejects_sink.add(judged)
            tally.count_rejection(judged)
        if progress is not None and row_index % PROGRESS_ROWS == PROGRESS_ROWS - 1:
            progress(row_index + 1)
    lacking.conclude()
    summary = tally.summary()
    _refuse_without_option(summary)
    if progress is not None:
        progress(summary.rows)
    return summary


def _refuse_without_option(summary: PlanSummary) -> None:
    """UsageError where no row became a request, and one option that was left out explains it."""
    first = summary.first_rejections
    reasons = {rejection.allowed for rejection in first}
    files = all(rejection.found.lower().endswith(EXTENSIONS) for rejection in first)
    if not summary.requests and (reasons == {NO_MODEL} or (reasons == {NO_ROOT} and files)):
        raise UsageError(f"no row can be asked, the first being {_sentence(summary.first_rejections[0])}")


def _judged(
    manifest: Iterable[RawRow], defaults: Defaults, prompts: Sequence[Prompt | None], sources: Sources
) -> Iterator[Request | Rejection]:
    known = RowIds()
    for place, raw in enumerate(manifest):
        for row_index, prompt in enumerate(prompts, place * len(prompts)):
            if raw.fault is not None:
                yield reject(raw, raw.fault, row_index=row_index, prompt_name=None if prompt is None else prompt.name)
                continue
            yield to_request(
                raw.values,
                row_index=row_index,
                line=raw.line,
                file=raw.file,
                defaults=defaults,
                prompt=prompt,
                place=place,
                known=known,
                sources=sources,
            )


@dataclass(slots=True)
class _Lacking:
    """Notices that the manifest, and not one of its rows, lacks a column that a prompt uses."""

    rows: Counter[str | None] = field(default_factory=Counter)
    first: dict[str | None, Rejection] = field(default_factory=dict)
    fine: set[str | None] = field(default_factory=set)
    """Prompts, by name, for which a row had all that they use; of the others, rows so far, and the first of them."""

    def look_at(self, judged: Request | Rejection) -> None:
        """Look at one row more; UsageError when enough of them lack a column, and none before had it."""
        name = judged.prompt_name
        if name in self.fine:
            return
        if isinstance(judged, Request) or judged.found != NO_COLUMN:
            self.fine.add(name)
            return
        self.first.setdefault(name, judged)
        self.rows[name] += 1
        if self.rows[name] == ENOUGH_WITHOUT:
            self.conclude()

    def conclude(self) -> None:
        """Nothing comes after; UsageError as above."""
        for name, lacking in self.first.items():
            if name not in self.fine:
                prompt = "the prompt" if name is None else f"the prompt {name!r}"
                raise UsageError(
                    f"{lacking.file}: {prompt} uses {{{{ {lacking.field} }}}}, and no row has a column of that name; "
                    f"allowed is {lacking.allowed}"
                )


def _sentence(rejection: Rejection) -> str:
    return (
        f"{rejection.file}, line {rejection.line}, field {rejection.field}: "
        f"found {rejection.found!r}; allowed is {rejection.allowed}."
    )


@dataclass(slots=True)
class Tally:
    """The counts of a plan so far; a few totals, never a list that grows with the manifest."""

    requests: int = 0
    prompt_characters: int = 0
    videos: int = 0
    models: Counter[str] = field(default_factory=Counter)
    by_field: Counter[str] = field(default_factory=Counter)
    first_rejections: list[Rejection] = field(default_factory=list)
    carried: dict[str, None] = field(default_factory=dict)
    carried_by_rejected: dict[str, None] = field(default_factory=dict)
    lengths: Lengths = field(default_factory=Lengths)
    hashes: Fingerprints = field(default_factory=Fingerprints)
    repeated: bool = False
    thinking: Thinking = field(default_factory=Thinking)
    digest: "_Digest" = field(default_factory=sha256)

    def count_request(self, request: Request, request_hash: str) -> None:
        """Count one request; what it asks and is called goes into the digest."""
        self.requests += 1
        self.prompt_characters += len(request.prompt)
        self.videos += len(request.video_urls)
        self.models[request.model] += 1
        self.thinking.add(request.model, request.reasoning, request.max_tokens)
        named = (request_hash, request.row_id, request.prompt_name, request.carried)
        self.digest.update(orjson.dumps(named, option=orjson.OPT_SORT_KEYS))
        # a run goes on with the files that it was planned with: the same ones elsewhere are another plan
        for video in request.video_urls:
            if video.startswith("file:"):
                self.digest.update(video.encode())
        if not self.repeated:
            self.repeated = not self.hashes.add_mark(int(request_hash[:16], 16))
        if not self.carried.keys() >= request.carried.keys():
            self.carried |= dict.fromkeys(request.carried)
        if seconds := request.carried.get(DURATION):
            self.lengths.add(request.model, seconds)

    def count_rejection(self, rejection: Rejection) -> None:
        """Count one rejection, and keep the first ones; a row that was rejected makes a manifest another one, too."""
        named = (rejection.row_index, rejection.field, rejection.row)
        self.digest.update(orjson.dumps(named))
        self.by_field[rejection.field] += 1
        if not self.requests:
            self.carried_by_rejected |= dict.fromkeys(rejection.carried_columns)
        if len(self.first_rejections) < FIRST_REJECTIONS:
            self.first_rejections.append(rejection)

    def summary(self) -> PlanSummary:
        """The counts as a value."""
        rejections = self.by_field.total()
        return PlanSummary(
            rows=self.requests + rejections,
            requests=self.requests,
            rejections=rejections,
            rejections_by_field=dict(self.by_field.most_common()),
            first_rejections=tuple(self.first_rejections),
            carried_columns=tuple(self.carried if self.requests else self.carried_by_rejected),
            requests_digest=self.digest.hexdigest(),
            models=dict(self.models.most_common()),
            prompt_characters=self.prompt_characters,
            videos=self.videos,
            lengths=self.lengths,
            repeated=self.repeated,
            thinking=self.thinking,
        )


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...
