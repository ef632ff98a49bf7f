"""Videos that stood in the manifest, as files of their run: `runs/<id>/inline/<sha256>`."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

from pipeline.core.errors import StorageError
from pipeline.core.other_sources import GoneVideo
from pipeline.edges.files import replaced, write_bytes
from pipeline.edges.media_files import UnreadableNow, VideoFile, identity_of
from pipeline.edges.places import ObjectPlace, Place, listed

_PIECE = 1 << 20


class InlineVideos:
    """The inline videos of one run, whose folder is `run`."""

    def __init__(self, run: Place) -> None:
        self._folder = run / "inline"
        self._kept: set[str] = set()

    def keep(self, digest: str, video: bytes) -> None:
        """Keep a video, durably. StorageError when the disk or the store refuses."""
        if digest not in self._kept:
            write_bytes(self._folder / digest, video)
            self._kept.add(digest)

    def copy_to(self, other: "InlineVideos") -> None:
        """Let another run have them, too. StorageError as above."""
        for kept in listed(self._folder, "*"):
            with replaced(other.path_of(kept.name)) as temporary, kept.open("rb") as source, temporary.open("wb") as to:
                shutil.copyfileobj(source, to, _PIECE)

    def path_of(self, digest: str) -> Place:
        """Where a video is kept."""
        return self._folder / digest

    @contextmanager
    def opened(self, digest: str) -> Iterator[VideoFile]:
        """One that is open; of a store a copy that passes. UnfitVideo where it is gone."""
        place = self._folder / digest
        try:
            with place.open("rb") if not isinstance(place, ObjectPlace) else TemporaryFile() as file:
                if isinstance(place, ObjectPlace):
                    with place.open("rb") as source:
                        shutil.copyfileobj(source, file, _PIECE)
                    file.flush()
                seen = os.fstat(file.fileno())
                yield VideoFile(str(place), file.fileno(), seen.st_size, identity_of(seen))
        except FileNotFoundError:
            raise GoneVideo(f"the inline video that the plan kept as {place}: it is gone") from None
        except (OSError, StorageError) as error:
            raise UnreadableNow(f"{place} can't be read: {error}") from None
