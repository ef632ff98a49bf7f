"""What a plan sees of videos that are no URLs: files become references, and those of the manifest files of the run."""

import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.other_sources import NO_ROOT, Sources, UnfitVideo
from pipeline.core.references import file_reference
from pipeline.edges.inline_videos import InlineVideos
from pipeline.edges.media_files import MediaFiles, UnreadableNow
from pipeline.edges.stored_manifest import ManifestPlace
from pipeline.edges.texts import shown_path
from pipeline.edges.video_hashes import VideoHashes


class PlannedVideos:
    """Looks at the videos of manifests for one plan, and remembers which roots and whether inline videos it met."""

    def __init__(
        self, manifests: Sequence[ManifestPlace], roots: Sequence[str], inline: InlineVideos | None = None
    ) -> None:
        files = [path for path in manifests if isinstance(path, Path)]
        self._folders = {shown_path(path): Path(os.path.abspath(path)).parent for path in files}  # noqa: PTH100
        self._stored = {shown_path(path) for path in manifests} - self._folders.keys()
        self._files = MediaFiles(roots)
        self._hashes = VideoHashes()
        self._inline = inline
        self._used: set[str] = set()
        self.has_inline = False

    @property
    def sources(self) -> Sources:
        """For the core."""
        return Sources(local=self._local, keep=self._keep)

    @property
    def roots(self) -> list[str]:
        """The roots in which files of the plan lie."""
        return sorted(self._used)

    def _local(self, written: str, manifest: str) -> str:
        if not self._files.roots:
            raise UnfitVideo(NO_ROOT)
        if written.startswith("~/"):
            raise UnfitVideo("a file's path in full: ~ does not stand for a home folder here")
        if manifest in self._stored and not written.startswith("/"):
            raise UnfitVideo("a file's path in full: the manifest is in a store, so there is no folder beside it")
        folder = self._folders.get(manifest, Path.cwd())
        try:
            with self._files.opened(os.path.join(folder, written)) as video:  # noqa: PTH118 - `..` is resolved later
                digest = self._hashes.of(video)
        except UnreadableNow as error:
            raise UnfitVideo(f"a file that can be read: {error}") from None
        self._used.update(root for root in self._files.roots if video.path.startswith(root.rstrip("/") + "/"))
        return file_reference(os.fsencode(video.path), video.size, digest)

    def _keep(self, digest: str, video: bytes) -> None:
        self.has_inline = True
        if self._inline is not None:
            self._inline.keep(digest, video)
