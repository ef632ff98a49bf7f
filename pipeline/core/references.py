"""How a video that is no plain URL is named wherever its bytes must not be: in bodies, Redis and the dataset.

    file:///films/a%20b.mp4#size=1048576&sha256=<64 hex>     a file, by its real path
    data:video/mp4;size=1048576;sha256=<64 hex>              a video that stood in the manifest; the run keeps its bytes
    s3://bucket/key.mp4                                      an object, as it was written

What is sent instead is made when the row is sent.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import quote, unquote_to_bytes

import orjson

VIDEO_CHANGED = "video_changed"
"""The error code of a row whose file is another, or gone, when it is sent."""

_FILE = re.compile(r"file://(/[^#?]*)#size=(\d{1,15})&sha256=([0-9a-f]{64})")
_INLINE = re.compile(r"data:(video/[a-z0-9.+-]+);size=(\d{1,15});sha256=([0-9a-f]{64})")
_STORE = re.compile(r"s3://([^/]+)/(.+)", re.DOTALL)
_BEGINNINGS = (b'"file:///', b'"data:video/', b'"s3://')
_KEPT = ("file:", "data:")


@dataclass(frozen=True, slots=True)
class FileVideo:
    """A file, with what it held when the row was planned."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class InlineData:
    """Bytes that stood in the manifest; a file of the run, named by their hash, holds them."""

    media_type: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StoreVideo:
    """An object of a store."""

    bucket: str
    key: str


Reference = FileVideo | InlineData | StoreVideo


def file_reference(path: bytes, size: int, digest: str) -> str:
    """The reference of a file, by its real path."""
    return f"file://{quote(path, safe='/')}#size={size}&sha256={digest}"


def inline_reference(media_type: str, size: int, digest: str) -> str:
    """The reference of a video that stood in the manifest."""
    return f"data:{media_type};size={size};sha256={digest}"


def read_reference(text: str) -> Reference | None:
    """What a reference names; nothing for a plain URL."""
    if found := _FILE.fullmatch(text):
        path = unquote_to_bytes(found[1]).decode("utf-8", "surrogateescape")
        return FileVideo(path, int(found[2]), found[3])
    if found := _INLINE.fullmatch(text):
        return InlineData(found[1], int(found[2]), found[3])
    if found := _STORE.fullmatch(text):
        return StoreVideo(found[1], found[2])
    return None


def has_references(body: bytes) -> bool:
    """Whether a body may name such a video: a cheap look that never misses one."""
    return any(beginning in body for beginning in _BEGINNINGS)


def videos_in(body: bytes) -> list[str]:
    """The videos that a body names, each once."""
    return list(dict.fromkeys(orjson.loads(body)["video_urls"]))


def asked_digest(body: bytes, videos: tuple[str, ...]) -> str:
    """SHA-256 of what a body asks: of a file or inline video it is the content that counts, wherever it lies."""
    for video in videos:  # this runs for every row, so without a generator
        if video.startswith(_KEPT):
            body = orjson.dumps({**orjson.loads(body), "video_urls": [_by_content(each) for each in videos]})
            break
    return sha256(body).hexdigest()


def _by_content(video: str) -> str:
    match read_reference(video):
        case FileVideo(sha256=digest) | InlineData(sha256=digest):
            return f"sha256:{digest}"
    return video
