"""SHA-256 of whole videos, read in pieces; of a file that did not change only once."""

import os
from collections import OrderedDict
from hashlib import sha256
from threading import Lock

from pipeline.edges.media_files import UnreadableNow, VideoFile, identity_of

REMEMBERED = 50_000
_PIECE = 1 << 20


class VideoHashes:
    """What was hashed last, by the file's identity."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, ...], str] = OrderedDict()
        self._lock = Lock()

    def of(self, video: VideoFile) -> str:
        """The hash, 64 hex digits. UnreadableNow where the disk refuses, or somebody writes to the file meanwhile."""
        with self._lock:
            if video.identity in self._known:
                self._known.move_to_end(video.identity)
                return self._known[video.identity]
        digest = hash_of(video.descriptor)
        if identity_of(os.fstat(video.descriptor)) != video.identity:
            raise UnreadableNow("the file is being written to")
        with self._lock:
            self._known[video.identity] = digest
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return digest


def hash_of(descriptor: int) -> str:
    """SHA-256 of all of an open file. UnreadableNow where the disk refuses."""
    digest, at = sha256(), 0
    try:
        while piece := os.pread(descriptor, _PIECE, at):
            digest.update(piece)
            at += len(piece)
    except OSError as error:
        raise UnreadableNow(f"the file can't be read: {error.strerror}") from None
    return digest.hexdigest()
