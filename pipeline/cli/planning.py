"""Planning a manifest into a run's folder, with what the plan sees of videos that are no URLs."""

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.cli.asking import Question
from pipeline.core.columns import SCHEMA_VERSION
from pipeline.core.errors import SettingsError
from pipeline.core.media_roots import lacking_roots
from pipeline.edges.inline_videos import InlineVideos
from pipeline.edges.manifests import read_rows
from pipeline.edges.planned_videos import PlannedVideos
from pipeline.edges.requests_file import RejectsWriter, RequestsWriter
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.flows.plan import PlanSummary, plan

MEDIA_ROOTS, INLINE = "media_roots", "inline"
"""What run.json says of a run whose videos are files, or stood in its manifest."""


def videos_of(question: Question, folder: LocalRunFolder | None = None) -> PlannedVideos:
    """What looks at a plan's videos; without a folder inline ones are not kept."""
    return PlannedVideos(question.manifests, question.roots, None if folder is None else InlineVideos(folder.path))


def videos_described(videos: PlannedVideos) -> dict[str, Any]:
    """What `run.json` keeps of them: which folders workers must read, and whether the run holds videos itself."""
    described: dict[str, Any] = {MEDIA_ROOTS: videos.roots} if videos.roots else {}
    return described | ({INLINE: True} if videos.has_inline else {})


def look_again(question: Question, described: Mapping[str, Any], *, finished: bool) -> bool:
    """Whether files may be others by now than a plan says, so that it is made again, and then compared.

    A finished plan without files is made again, too, where its rejections may be files that no root held.
    """
    if described.get(MEDIA_ROOTS):
        return True
    return finished and bool(question.roots) and bool(described.get("rejections"))


def check_roots(described: Mapping[str, Any], roots: tuple[str, ...], run_id: str) -> None:
    """SettingsError where a command that goes on with a run may not read its files."""
    if lacking := lacking_roots(roots, described.get(MEDIA_ROOTS, ())):
        raise SettingsError(
            f"--media-root: run {run_id} sends files of {', '.join(lacking)}; found "
            f"{', '.join(roots) or 'none'}; give --media-root {' --media-root '.join(lacking)}"
        )


def plan_into(
    question: Question,
    folder: LocalRunFolder,
    videos: PlannedVideos,
    *,
    strict: bool,
    progress: Callable[[int], None] | None,
) -> PlanSummary:
    """Plan the manifest into a run's folder."""
    metadata = {"vidbatch.run_id": folder.run_id, "vidbatch.schema_version": str(SCHEMA_VERSION)}
    with (
        RequestsWriter(folder.draft / "requests.parquet", metadata) as requests,
        RejectsWriter(folder.draft / "rejects.parquet") as rejects,
    ):
        return plan(
            read_rows(list(question.manifests)),
            question.defaults,
            prompts=question.prompts,
            requests_sink=requests,
            rejects_sink=rejects,
            limit=question.limit,
            strict=strict,
            progress=progress,
            sources=videos.sources,
        )
