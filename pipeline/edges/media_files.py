"""The door to videos that are files: only inside the media roots, only regular files, only what begins as a video.

A path is resolved, and then opened folder by folder from its root without following a link, so that nothing that is
moved meanwhile leads out. What is refused is refused before more than its first bytes are read.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.containers import HEADER
from pipeline.core.errors import SettingsError
from pipeline.core.other_sources import EXTENSIONS, LARGEST_FILE, NO_ROOT, GoneVideo, UnfitVideo, check_kind
from pipeline.edges.texts import shown_path

NO_FILE = "a regular file: this is a folder, a pipe, a socket or a device"
_GONE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG))
_LINKS = frozenset((errno.ELOOP, errno.EMLINK))
_REFUSED = frozenset((errno.EACCES, errno.EPERM))
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class UnreadableNow(Exception):
    """The disk, or a mount that is not there: later it may be read."""


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A video that is open: `descriptor` is its own, at its beginning; `identity` changes when the file does."""

    path: str
    descriptor: int
    size: int
    identity: tuple[int, ...]


class MediaFiles:
    """Opens videos inside `roots`; they are real paths, and need not be there yet."""

    def __init__(self, roots: Sequence[str]) -> None:
        self.roots = tuple(roots)

    @contextmanager
    def opened(self, path: str) -> Iterator[VideoFile]:
        """The video at an absolute path. `UnfitVideo` says why it is none, `UnreadableNow` why it may be one later."""
        if not self.roots:
            raise UnfitVideo(NO_ROOT)
        root, steps = self._inside(path)
        descriptor = _descend(root, steps)
        try:
            yield _checked(os.path.join(root, *steps), descriptor)  # noqa: PTH118 - names that need not be UTF-8
        finally:
            os.close(descriptor)

    def _inside(self, path: str) -> tuple[str, list[str]]:
        """The root that a path is in, and the names from there on, without a link among them."""
        try:
            real = os.path.realpath(path)
        except (OSError, ValueError):
            raise UnfitVideo("the path of a file") from None
        for root in self.roots:
            if real.startswith(root.rstrip("/") + "/"):
                steps = real[len(root.rstrip("/")) + 1 :].split("/")
                if not real.lower().endswith(EXTENSIONS):
                    raise UnfitVideo(f"a file whose name ends in {' '.join(EXTENSIONS)}")
                return root, steps
        if real in self.roots:
            raise UnfitVideo(NO_FILE)
        shown = os.path.abspath(path)  # noqa: PTH100 - without resolving links, which is the point
        roots = ", ".join(self.roots)
        if any(shown.startswith(root.rstrip("/") + "/") for root in self.roots):
            raise UnfitVideo(f"a file inside the media roots ({roots}): a link leads out of them")
        raise UnfitVideo(f"a file inside the media roots ({roots}): this one is outside, at {shown_path(Path(shown))}")


def real_roots(folders: Sequence[str | Path], option: str) -> tuple[str, ...]:
    """The real paths of folders, each once. SettingsError for what is no folder."""
    real = []
    for folder in folders:
        path = os.path.realpath(folder)
        if not os.path.isdir(path):  # noqa: PTH112
            raise SettingsError(f"{option}: found {folder}; allowed is a folder that is there")
        real.append(path)
    return tuple(dict.fromkeys(real))


def media_roots(text: str) -> tuple[str, ...]:
    """Folders as `VIDBATCH_MEDIA_ROOT` names them; one that is not there may be mounted later."""
    return tuple(dict.fromkeys(os.path.realpath(folder) for folder in text.split(os.pathsep) if folder))


def _descend(root: str, steps: Sequence[str]) -> int:
    """The open file; only it stays open."""
    try:
        folder = os.open(root, _FOLDER)
    except OSError as error:
        raise UnreadableNow(f"the media root {root} can't be read: {error.strerror}") from None
    try:
        for name in steps[:-1]:
            below = os.open(name, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        # looked at before it is opened: to open a device may do something
        if not stat.S_ISREG(os.stat(steps[-1], dir_fd=folder, follow_symlinks=False).st_mode):
            raise UnfitVideo(NO_FILE)
        return os.open(steps[-1], _FILE, dir_fd=folder)
    except OSError as error:
        raise _meaning(error) from None
    finally:
        with suppress(OSError):
            os.close(folder)


def _meaning(error: OSError) -> Exception:
    if error.errno in _GONE:
        return GoneVideo("a file that is there: there is none of this name")
    if error.errno in _LINKS:
        return UnfitVideo("a file that stays where it is: a link took its place meanwhile")
    if error.errno in _REFUSED:
        return UnfitVideo(f"a file that may be read: {error.strerror}")
    return UnreadableNow(f"the file can't be read: {error.strerror}")


def _checked(path: str, descriptor: int) -> VideoFile:
    try:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode):
            raise UnfitVideo(NO_FILE)
        if not seen.st_size:
            raise UnfitVideo("a file that is not empty")
        if seen.st_size > LARGEST_FILE:
            raise UnfitVideo(f"a file of at most {LARGEST_FILE:,} bytes: this one has {seen.st_size:,}")
        header = os.pread(descriptor, HEADER, 0)
    except OSError as error:
        raise _meaning(error) from None
    ending = os.path.splitext(path)[1].lower()  # noqa: PTH122
    check_kind(header, ending, f"{ending} file")
    return VideoFile(path, descriptor, seen.st_size, identity_of(seen))


def identity_of(seen: os.stat_result) -> tuple[int, ...]:
    """What stays the same while nobody writes to a file."""
    return (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
