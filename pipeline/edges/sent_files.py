"""Files that are about to be sent: opened and checked once more, against what was planned, and read while they go out.

Reading and hashing are done in threads, so that a slow disk holds up nobody else.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from hashlib import sha256

from pipeline.core.answers import Problem
from pipeline.core.containers import MEDIA_TYPES
from pipeline.core.other_sources import GoneVideo, UnfitVideo
from pipeline.core.references import FileVideo, InlineData
from pipeline.edges.inline_videos import InlineVideos
from pipeline.edges.media_files import MediaFiles, UnreadableNow, VideoFile
from pipeline.edges.media_length import length_of
from pipeline.edges.payload import PIECE, BrokenBodyError
from pipeline.edges.preflight import too_long
from pipeline.edges.video_hashes import VideoHashes, hash_of


class ChangedVideo(Exception):
    """A file is not what was planned any more; the message says what was planned, and what was found."""


class RefusedAhead(Exception):
    """A file is not worth its POST."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(slots=True)
class SentFile:
    """A video that was checked; `done` is called once, when it was read to its end or is closed."""

    planned: FileVideo | InlineData
    media_type: str
    file: VideoFile
    _open: ExitStack
    _done: Callable[[], None] = field(default=lambda: None)

    def on_done(self, done: Callable[[], None]) -> None:
        """Have this called then."""
        self._done = done

    async def pieces(self) -> AsyncIterator[bytes]:
        """Its bytes. The last ones are kept back until all of them are known to be those that were planned."""
        digest, at, held = sha256(), 0, b""

        def step(place: int) -> bytes:
            piece = os.pread(self.file.descriptor, PIECE, place)
            digest.update(piece)
            return piece

        while piece := await asyncio.to_thread(step, at):
            if held:
                yield held
            at += len(piece)
            held = piece
        if digest.hexdigest() != self.planned.sha256:
            raise BrokenBodyError("a file changed while it was sent")
        self.close()
        yield held

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._open.close()
        done, self._done = self._done, lambda: None
        done()


class SentFiles:
    """Opens the files of one run for one worker."""

    def __init__(self, files: MediaFiles, inline: InlineVideos, hashes: VideoHashes, longest_s: float = 0.0) -> None:
        self._files = files
        self._inline = inline
        self._hashes = hashes
        self._longest = longest_s

    async def opened(self, planned: FileVideo | InlineData, *, anew: bool) -> SentFile:
        """One that is what was planned; `anew` reads all of it even where it was read before and did not change since.

        UnfitVideo where it may not be sent, ChangedVideo where it is another, UnreadableNow where it may be read later.
        """
        opening = asyncio.ensure_future(asyncio.to_thread(self._opened, planned, anew=anew))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unneeded)
            raise

    def _opened(self, planned: FileVideo | InlineData, *, anew: bool) -> SentFile:
        with ExitStack() as stack:
            file, media_type, name = self._found(planned, stack)
            if file.size != planned.size:
                raise ChangedVideo(f"{name}: planned with {planned.size:,} bytes; found {file.size:,} bytes")
            digest = hash_of(file.descriptor) if anew else self._hashes.of(file)
            if digest != planned.sha256:
                raise ChangedVideo(f"{name}: planned with SHA-256 {planned.sha256}; found {digest}")
            if self._longest and (problem := too_long(_length(file), self._longest)):
                raise RefusedAhead(replace(problem, message=f"{name}: {problem.message}"))
            return SentFile(planned, media_type, file, stack.pop_all())

    def _found(self, planned: FileVideo | InlineData, stack: ExitStack) -> tuple[VideoFile, str, str]:
        try:
            match planned:
                case FileVideo(path=path):
                    file = stack.enter_context(self._files.opened(path))
                    if file.path != path:
                        raise ChangedVideo(f"{_shown(path)}: planned as a file; found a link to {_shown(file.path)}")
                    return file, MEDIA_TYPES[os.path.splitext(path)[1].lower()], _shown(path)  # noqa: PTH122
                case InlineData(media_type=media_type, sha256=digest):
                    return stack.enter_context(self._inline.opened(digest)), media_type, f"inline video {digest}"
        except GoneVideo as gone:
            raise ChangedVideo(f"{_named(planned)}: planned as {gone.allowed.partition(':')[0]}; found none") from None
        except UnfitVideo as unfit:
            raise UnfitVideo(f"{_named(planned)}: allowed is {unfit.allowed}") from None
        except UnreadableNow as error:
            raise UnreadableNow(f"{_named(planned)}: {error}") from None


def _length(file: VideoFile) -> float | None:
    """Seconds, as its header tells: read through a descriptor of its own, so that nobody's place in it moves."""
    with os.fdopen(os.dup(file.descriptor), "rb") as readable:
        return length_of(readable)


def _close_unneeded(opening: "asyncio.Future[SentFile]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _named(planned: FileVideo | InlineData) -> str:
    return _shown(planned.path) if isinstance(planned, FileVideo) else f"inline video {planned.sha256}"


def _shown(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
