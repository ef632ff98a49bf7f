"""Before a cent is spent: which run this command is, and its plan.

The same question for the same OUT is the same run, whatever the operational options: it is resumed. A different one
has to wait until the unfinished one is finished.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from pipeline.core.account import account_id
from pipeline.core.columns import SCHEMA_VERSION
from pipeline.core.errors import RunConflict
from pipeline.core.requests import Defaults
from pipeline.edges.embedded import new_token
from pipeline.edges.manifests import digest_of, read_rows
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.requests_file import RejectsWriter, RequestsWriter
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.flows.plan import PlanSummary, plan


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: it alone makes a command the same as an earlier one."""

    manifests: tuple[Path, ...]
    defaults: Defaults
    base_url: str
    limit: int | None

    def digest(self) -> str:
        """SHA-256 over the manifests' bytes and everything else that is asked."""
        asked = {"manifest": digest_of(self.manifests), "limit": self.limit, "api": account_id(self.base_url, "")}
        whole = orjson.dumps({**asked, "defaults": asdict(self.defaults)}, option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(whole).hexdigest()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run with its plan on disk; `resumed` when it was there before, `finished` when it is done."""

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
) -> Prepared:
    """Find this command's run in OUT, or plan a new one. RunConflict when OUT is busy with another."""
    out.make()
    ask = question.digest()
    for folder in out.runs():
        described = folder.described()
        if described["ask"] == ask:
            return Prepared(folder, described, resumed=True, finished=folder.summary() is not None)
    fresh = out.run(new_run_id())
    try:
        summary = plan_into(question, fresh, strict=strict, progress=progress)
        if same := _same_requests(out, summary, question):
            shutil.rmtree(fresh.path)
            return same
        _refuse_when_busy(out)
        names = out.columns_of(summary.carried_columns)
        described = _description(question, fresh, summary, ask, names, prices)
        out.fix_columns(names)
        fresh.describe(described)
    except BaseException:
        shutil.rmtree(fresh.path, ignore_errors=True)
        raise
    return Prepared(fresh, described, resumed=False, finished=False)


def plan_into(
    question: Question, folder: LocalRunFolder, *, strict: bool, progress: Callable[[int], None] | None
) -> PlanSummary:
    """Plan the manifest into a run's folder."""
    folder.path.mkdir(parents=True, exist_ok=True)
    metadata = {"vidbatch.run_id": folder.run_id, "vidbatch.schema_version": str(SCHEMA_VERSION)}
    with (
        RequestsWriter(folder.path / "requests.parquet", metadata) as requests,
        RejectsWriter(folder.path / "rejects.parquet") as rejects,
    ):
        return plan(
            read_rows(list(question.manifests)),
            question.defaults,
            requests_sink=requests,
            rejects_sink=rejects,
            limit=question.limit,
            strict=strict,
            progress=progress,
        )


def new_run_id() -> str:
    """An id that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{new_token()[:6]}"


def _same_requests(out: OutFolder, summary: PlanSummary, question: Question) -> Prepared | None:
    """A run of the very same requests, though the manifest's bytes are others: another order of columns, say."""
    for folder in out.runs():
        described = folder.described()
        same_api = account_id(described["base_url"], "") == account_id(question.base_url, "")
        if described["requests_digest"] == summary.requests_digest and same_api and not folder.summary():
            return Prepared(folder, described, resumed=True, finished=False)
    return None


def _refuse_when_busy(out: OutFolder) -> None:
    for folder in out.runs():
        if folder.summary() is None:
            manifests = " ".join(folder.described()["manifests"])
            raise RunConflict(
                f"{out.path} holds the unfinished run {folder.run_id} of {manifests}: repeat its command to finish "
                "it, or give another --out"
            )


def _description(
    question: Question,
    folder: LocalRunFolder,
    summary: PlanSummary,
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
        "base_url": question.base_url,
        "manifests": [str(path) for path in question.manifests],
        "rows": summary.rows,
        "requests": summary.requests,
        "rejections": summary.rejections,
        "rejections_by_field": dict(summary.rejections_by_field),
        "models": dict(summary.models),
        "videos": summary.videos,
        "prompt_characters": summary.prompt_characters,
        "carried": dict(names),
        "prices": {model: dict(price) for model, price in prices.items() if model in summary.models},
    }


def first_rejections(folder: LocalRunFolder, count: int) -> Sequence[Mapping[str, Any]]:
    """Some rejections of a planned run, for people."""
    from pipeline.edges.rejects_file import read_rejects  # noqa: PLC0415 - only where there are some

    return read_rejects(folder.path / "rejects.parquet", count)
