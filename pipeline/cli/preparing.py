"""Before a cent is spent: which run this command is, and its plan.

The same question for the same OUT is the same run, whatever the operational options: it is resumed. A different one
has to wait until the unfinished one is finished.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from pipeline.cli.asking import Question, identity_in, schema_described
from pipeline.cli.estimating import estimate_of
from pipeline.cli.planning import look_again, plan_into, videos_described, videos_of
from pipeline.cli.reusing import answered, collections_of, sifted
from pipeline.cli.wording import again_words, cancel_words
from pipeline.core.columns import SCHEMA_VERSION
from pipeline.core.errors import RunConflict
from pipeline.core.lead import moved
from pipeline.core.sifting import Sifted
from pipeline.core.standing import COLLECTS, DEFAULT_OUTCOMES, parent_of
from pipeline.edges.embedded import new_token
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.flows.plan import PlanSummary


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run with its plan on disk; `resumed` when rows may have been sent before, `finished` when it is done."""

    folder: LocalRunFolder
    described: Mapping[str, Any]
    resumed: bool
    finished: bool


def prepare(
    question: Question,
    out: OutFolder,
    *,
    prices: Mapping[str, Mapping[str, Any]],
    strict: bool,
    progress: Callable[[int], None] | None,
    tokens_per_second: float | None = None,
    refresh: bool = False,
    firing: str = "",
) -> Prepared:
    """Find this command's run in OUT, or plan a new one. RunConflict when OUT is busy with another.

    What OUT has answered is not asked again, unless to `refresh` it. A plan of which nothing was sent is made again
    when prices or the dataset were changed since. Where nothing is left to be sent, the newest run of these rows is
    the command's. A `firing` of a schedule has one run, however often its command is given.
    """
    ask = question.digest()
    out.make()
    with out.planning():
        if firing and (begun := begun_by(out, firing)):
            return begun
        if (same := asked_before(out, ask)) and _goes_on(same, question, out, prices, refresh=refresh):
            return same
        fresh = out.run(new_run_id())
        try:
            videos = videos_of(question, fresh)
            summary = plan_into(question, fresh, videos, strict=strict, progress=progress)
            asked = _still_the_same(asked_before(out, ask), summary) or _same_requests(out, summary, question)
            if asked and not asked.finished and _still_goes_on(asked, out, prices, refresh=refresh):
                fresh.discard()
                return asked
            refuse_when_busy(out)
            names, shape = out.columns_of(summary.carried_columns, question.schema.shape if question.schema else None)
            unsent = sifted(summary, fresh, {} if refresh else answered(out, question), collections_of(out))
            if asked and asked.finished and not unsent.requests:
                fresh.discard()
                return asked
            described = _description(question, fresh, summary, unsent, ask, names, prices)
            described |= schema_described(question.schema, shape)
            described |= videos_described(videos)
            described |= {"refresh": True} if refresh else {}
            described |= {"firing": firing} if firing else {}
            described["estimate"] = estimate_of(unsent, described["prices"], out.path, tokens_per_second)
            fresh.describe(described)
        except BaseException:
            fresh.discard()
            raise
    return Prepared(fresh, described, resumed=False, finished=False)


def _still_the_same(asked: Prepared | None, summary: PlanSummary) -> Prepared | None:
    """A run of the same manifest, unless its files hold something else by now."""
    if asked is None or (asked.resumed and not asked.finished):
        return asked
    return asked if asked.described["requests_digest"] == summary.requests_digest else None


def asked_before(out: OutFolder, ask: str) -> Prepared | None:
    """The newest run with the same ask, or nothing."""
    for folder in out.runs():
        if folder.described()["ask"] == ask:
            return found(folder)
    return None


def begun_by(out: OutFolder, firing: str) -> Prepared | None:
    """The run that a schedule's firing began, by its name and id; nothing while it began none."""
    for folder in out.runs():
        if folder.described().get("firing") == firing and folder.begun:
            return found(folder)
    return None


def found(folder: LocalRunFolder) -> Prepared:
    """A run whose plan is on disk, as far as it got."""
    return Prepared(folder, folder.described(), resumed=folder.begun, finished=folder.summary() is not None)


def _goes_on(
    planned: Prepared,
    question: Question,
    out: OutFolder,
    prices: Mapping[str, Mapping[str, Any]],
    *,
    refresh: bool,
) -> bool:
    """Whether a command of these rows goes on with a run that there is, without looking at the manifest again."""
    under_way = planned.resumed and not planned.finished
    if not under_way and look_again(question, planned.described, finished=planned.finished):
        return False
    return _still_goes_on(planned, out, prices, refresh=refresh)


def _still_goes_on(
    planned: Prepared, out: OutFolder, prices: Mapping[str, Mapping[str, Any]], *, refresh: bool
) -> bool:
    """The same where the rows are known to be these.

    A finished one is all that is left to tell where none of its rows is to be asked again.
    """
    if planned.finished:
        return not refresh and _is_answered(planned)
    if planned.resumed:
        return True
    now = {model: price for model, price in prices.items() if model in planned.described["models"]}
    newest = next(out.runs()).run_id
    same_reuse = bool(planned.described.get("refresh")) == refresh
    return planned.described["prices"] == now and newest == planned.folder.run_id and same_reuse


def _is_answered(finished: Prepared) -> bool:
    summary = finished.folder.summary() or {}
    return not any(summary["outcomes"].get(outcome, 0) for outcome in DEFAULT_OUTCOMES)


def begin(prepared: Prepared, place: str, identity: str) -> None:
    """Note that rows may be sent from here on, by this ledger, and fix the dataset's columns.

    RunConflict when the plan is gone, or when another ledger has the run: what it has under way would be sent twice.
    """
    out = OutFolder(prepared.folder.out)
    with out.planning():
        if not prepared.folder.holds(prepared.described["token"]):
            raise RunConflict(f"another command has planned something else in {out.path} meanwhile; nothing was sent")
        out.fix_columns(prepared.described["carried"], prepared.described.get("answer_shape"))
        begun = prepared.folder.begun_in()
        if moved(begun, place, identity):
            raise RunConflict(
                f"run {prepared.folder.run_id} was begun with the ledger at {begun['place']}, and this command uses "
                f"{place}: what is under way there would be sent twice. Use that one; if it is gone for good, remove "
                f"{prepared.folder.path / 'begun'} first"
            )
        prepared.folder.begin(place, identity)


def new_run_id() -> str:
    """An id that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{new_token()[:6]}"


def _same_requests(out: OutFolder, summary: PlanSummary, question: Question) -> Prepared | None:
    """A run of the very same requests, though the manifest's bytes are others: another order of columns, say."""
    for folder in out.runs():
        described = folder.described()
        if described.get(COLLECTS):
            continue  # it sends nothing, whatever its requests are
        same_api = identity_in(described) == question.identity
        same_schema = described.get("schema_digest") == (question.schema.digest if question.schema else None)
        if described["requests_digest"] == summary.requests_digest and same_api and same_schema:
            return found(folder)
    return None


def unfinished_of(question: Question, out: OutFolder, summary: PlanSummary) -> LocalRunFolder | None:
    """The unfinished run with which a command of this plan would go on; nothing where it would be a new one.

    RunConflict where OUT would not take it. Nothing is changed there.
    """
    same = asked_before(out, question.digest()) or _same_requests(out, summary, question)
    if same is not None and same.resumed and not same.finished:
        return same.folder
    refuse_when_busy(out, discard=False)
    out.columns_of(summary.carried_columns, question.schema.shape if question.schema else None)
    return None


def refuse_when_busy(out: OutFolder, *, discard: bool = True) -> None:
    """A plan of which nothing was sent gives way; a run that has begun does not."""
    for folder in out.runs():
        if not folder.begun:
            if discard:
                folder.discard()
        elif folder.summary() is None:
            raise RunConflict(
                f"{out.path} holds the unfinished run {folder.run_id} of {origin(folder)}, and this command asks "
                f"something else: repeat its command to finish it, end it with `{cancel_words(folder)}`, or give "
                "another --out"
            )


def origin(folder: LocalRunFolder) -> str:
    """What a run was made from, for people: its manifests, or the command that derived it from another run."""
    described = folder.described()
    return f"`{again_words(folder, described)}`" if parent_of(described) else " ".join(described["manifests"])


def _description(
    question: Question,
    folder: LocalRunFolder,
    summary: PlanSummary,
    unsent: Sifted,
    ask: str,
    names: Mapping[str, str],
    prices: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    return {
        "run_id": folder.run_id,
        "token": new_token(),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "vidbatch": version("vidbatch"),
        "schema_version": SCHEMA_VERSION,
        "ask": ask,
        "requests_digest": summary.requests_digest,
        "api": question.api,
        "base_url": question.base_url,
        "manifests": [str(path) for path in question.manifests],
        "rows": summary.rows,
        **counts_of(unsent),
        "rejections": summary.rejections,
        "rejections_by_field": dict(summary.rejections_by_field),
        "models": dict(unsent.models.most_common()),
        "videos": unsent.videos,
        "prompt_characters": unsent.prompt_characters,
        "prompt_names": question.names,
        "carried": dict(names),
        "prices": {model: dict(price) for model, price in prices.items() if model in unsent.models},
    }


def counts_of(sifted: Sifted) -> dict[str, Any]:
    """What becomes of the rows that are no rejections, as `run.json` keeps it."""
    thinking = sifted.thinking.described()
    return {
        "requests": sifted.requests,
        "duplicates": sifted.duplicates,
        "reused": sifted.reused.total(),
        "reused_outcomes": dict(sifted.reused),
        **({"thinking": thinking} if thinking else {}),
    }


def first_rejections(folder: LocalRunFolder, count: int) -> Sequence[Mapping[str, Any]]:
    """Some rejections of a planned run, for people."""
    from pipeline.edges.rejects_file import read_rejects  # noqa: PLC0415 - only where there are some

    return read_rejects(folder.path / "rejects.parquet", count)
