"""Runs that are made from another run: a retry asks some of its rows again, a collection fetches answers by their ids.

Both are ordinary runs with a plan of their own, so that a crash, a second command and a recovery are those of any run.
A collection is a run whose rows are known to be sent: from there on the ordinary recovery from disk polls them.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import orjson

from pipeline.cli.family import Family, family, the_run
from pipeline.cli.planning import INLINE, MEDIA_ROOTS
from pipeline.cli.preparing import Prepared, asked_before, new_run_id, origin, refuse_when_busy
from pipeline.cli.wording import SELECTION, cancel_words
from pipeline.core.columns import SCHEMA_VERSION
from pipeline.core.errors import RunConflict
from pipeline.core.rows import Rows
from pipeline.core.standing import COLLECTS, RETRY_OF, TURN, End, Remains, Selection
from pipeline.edges.clock import time_of_day_us
from pipeline.edges.embedded import new_token
from pipeline.edges.inline_videos import InlineVideos
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.requests_file import RejectsWriter, RequestsWriter
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.flows.plan import PlanSummary
from pipeline.flows.repeat import repeat

IDS_A_FILE = 20_000


@dataclass(frozen=True, slots=True)
class Nothing:
    """No row of the run is to be asked or collected; what is left of it, for the person."""

    run: LocalRunFolder
    remains: Remains


def prepare_retry(out: OutFolder, run_id: str, selection: Selection) -> Prepared | Nothing:
    """Find the unfinished retry of this selection, or plan one. RunConflict when OUT is busy or RUN unfinished."""
    extra = {RETRY_OF: run_id, SELECTION: selection.described()}

    def note(folder: LocalRunFolder, _chosen: Sequence[End]) -> None:
        run = the_run(out, run_id)
        if run.described().get(INLINE):
            InlineVideos(run.path).copy_to(InlineVideos(folder.path))

    return _prepare(out, run_id, extra, selection.takes, note)


def prepare_collection(out: OutFolder, run_id: str, make_sure: Callable[[], object]) -> Prepared | Nothing:
    """Find the unfinished collection of this run, or plan a new one; errors as for a retry.

    `make_sure` is called before a new one is planned, and may raise: a collection keeps OUT busy once it is planned.
    """

    def note(folder: LocalRunFolder, chosen: Sequence[End]) -> None:
        make_sure()
        _note_ids(folder, chosen)

    return _prepare(out, run_id, {COLLECTS: run_id}, _collectable, note)


def _collectable(end: End) -> bool:
    return end.collectable


def _prepare(
    out: OutFolder,
    run_id: str,
    extra: Mapping[str, Any],
    takes: Callable[[End], bool],
    note: Callable[[LocalRunFolder, Sequence[End]], None],
) -> Prepared | Nothing:
    run = the_run(out, run_id)
    if run.summary() is None:
        raise RunConflict(
            f"run {run_id} is not finished: repeat the command of {origin(run)} to finish it, or end it with "
            f"`{cancel_words(run)}`, first"
        )
    ask = hashlib.sha256(orjson.dumps(extra, option=orjson.OPT_SORT_KEYS)).hexdigest()
    out.make()
    with out.planning():
        if (before := asked_before(out, ask)) is not None and not before.finished:
            return before
        refuse_when_busy(out)
        relatives = family(out, run)
        chosen = sorted((end for end in relatives.ends() if takes(end)), key=_row_index)
        if not chosen:
            return Nothing(run, relatives.remains())
        return _planned(out, relatives, chosen, {**extra, "ask": ask}, note)


def _row_index(end: End) -> int:
    return end.row_index


def _planned(
    out: OutFolder,
    relatives: Family,
    chosen: Sequence[End],
    extra: Mapping[str, Any],
    note: Callable[[LocalRunFolder, Sequence[End]], None],
) -> Prepared:
    """A new run's folder; its description comes last, so that a crash leaves no half of a run."""
    fresh = out.run(new_run_id())
    try:
        summary, duplicates = _copy_plan(relatives.run, fresh, Rows(end.row_index for end in chosen))
        note(fresh, chosen)
        described = _description(relatives, fresh, summary, {"duplicates": duplicates, **extra})
        fresh.describe(described)
    except BaseException:
        fresh.discard()
        raise
    return Prepared(fresh, described, resumed=False, finished=False)


def _copy_plan(source: LocalRunFolder, fresh: LocalRunFolder, chosen: Rows) -> tuple[PlanSummary, int]:
    """The chosen requests, just as they were, and with them their duplicates; how many these are."""
    metadata = {"vidbatch.run_id": fresh.run_id, "vidbatch.schema_version": str(SCHEMA_VERSION)}
    with (
        RequestsWriter(fresh.draft / "requests.parquet", metadata) as requests,
        RejectsWriter(fresh.draft / "rejects.parquet"),
    ):
        summary = repeat(source.requests(), chosen, requests)
    return summary, source.duplicates().copy_of(chosen, fresh.duplicates().path, metadata)


def _note_ids(fresh: LocalRunFolder, chosen: Sequence[End]) -> None:
    """Say on disk that every row was sent, and under which id: what a recovery polls, and never sends."""
    epoch = f"e{time_of_day_us():016}"
    for start in range(0, len(chosen), IDS_A_FILE):
        some = chosen[start : start + IDS_A_FILE]
        lines = [orjson.dumps([e.row_index, e.generation_id, e.accepted_at, 1, int(e.doubtful)]) for e in some]
        fresh.save_ids(epoch, start, start + len(some), lines)
    fresh.mark_fed(len(chosen))


def _description(
    relatives: Family, fresh: LocalRunFolder, summary: PlanSummary, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """The description of the run that it comes from, with another plan."""
    inherited = {name: relatives.described[name] for name in ("base_url", "manifests", "carried")}
    asked = ("api", "answer_schema", "schema_digest", "answer_shape", MEDIA_ROOTS, INLINE)
    inherited |= {name: relatives.described[name] for name in asked if name in relatives.described}
    prices = relatives.described["prices"]
    return {
        **inherited,
        "run_id": fresh.run_id,
        "token": new_token(),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "vidbatch": version("vidbatch"),
        "schema_version": SCHEMA_VERSION,
        "requests_digest": summary.requests_digest,
        "rows": summary.rows + extra["duplicates"],
        "requests": summary.requests,
        "rejections": 0,
        "rejections_by_field": {},
        "models": dict(summary.models),
        "videos": summary.videos,
        "prompt_characters": summary.prompt_characters,
        "prices": {model: prices[model] for model in summary.models if model in prices},
        TURN: relatives.turn,
        **extra,
    }
