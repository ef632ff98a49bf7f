"""Videos that are no plain URLs: files, objects of a store, and videos that stand in the manifest itself.

Which of them a text names is decided here; a disk is looked at only through `Sources`, which the caller gives.
"""

import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import unquote_to_bytes

from pipeline.core.containers import ENDINGS, HEADER, KINDS, NAMES, kind_of, told_of
from pipeline.core.references import inline_reference

EXTENSIONS = (".mp4", ".mpeg", ".mpg", ".mov", ".webm")
LARGEST_FILE = 2_000_000_000
"""Bytes of a video: what the models' own stores take of one file."""

LARGEST_INLINE = 20_000_000
"""Bytes of a video that stands in the manifest: the manifest is read line by line, and a line is held as a whole."""

NO_ROOT = (
    "a file inside a folder that --media-root names, and none is given; or an http(s) URL, such as "
    "https://example.com/video.mp4"
)
_INLINE = re.compile(r"data:(video/[\w.+-]+);base64,([A-Za-z0-9+/]+={0,2})", re.ASCII | re.IGNORECASE)
_STORE = re.compile(r"s3://([A-Za-z0-9][A-Za-z0-9._-]{1,62})/(\S.*)", re.ASCII | re.IGNORECASE)
_FILE_URL = re.compile(r"file:(?://(?:localhost)?(?=/[^/])|(?=/[^/]))(/[^?#]*)(?:#.*)?", re.IGNORECASE)
_PAYLOAD = re.compile(r"(data:[\w.+/-]{0,80};base64,)([^\s\"|,\]]{64,})", re.ASCII | re.IGNORECASE)


class UnfitVideo(Exception):
    """What is allowed instead; `found` where it is not what was written."""

    def __init__(self, allowed: str, found: str | None = None) -> None:
        super().__init__(allowed)
        self.allowed = allowed
        self.found = found


class GoneVideo(UnfitVideo):
    """A file that is not there, or not where it was."""


def _no_root(_path: str, _manifest: str) -> str:
    raise UnfitVideo(NO_ROOT)


def _only_looked_at(_digest: str, _video: bytes) -> None:
    """A plan that keeps nothing keeps no video either."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What looks at videos for a plan.

    `local` returns the reference of a file, by its path and the manifest that names it, or raises `UnfitVideo`. `keep`
    is given the bytes of a video that stands in the manifest, under their SHA-256.
    """

    local: Callable[[str, str], str] = _no_root
    keep: Callable[[str, bytes], None] = _only_looked_at


NO_SOURCES = Sources()


def local_video(written: str, manifest: str, sources: Sources) -> str:
    """The reference of a file; raise `UnfitVideo` where it is not to be read, or is no video."""
    if written[:5].lower() != "file:":
        return sources.local(written, manifest)
    found = _FILE_URL.fullmatch(written)
    if found is None:
        raise UnfitVideo("a file of this machine as file:///folder/name.mp4")
    path = unquote_to_bytes(found[1])
    if b"\0" in path:
        raise UnfitVideo("a file's name without %00")
    return sources.local(path.decode("utf-8", "surrogateescape"), manifest)


def store_video(written: str) -> str:
    """An object of a store as it was written; it is signed when the row is sent."""
    found = _STORE.fullmatch(written)
    if found is None or not written.isprintable():
        raise UnfitVideo("an object as s3://bucket/name.mp4")
    if not found[2].lower().endswith(EXTENSIONS):
        raise UnfitVideo(f"an object whose name ends in {' '.join(EXTENSIONS)}")
    return f"s3://{found[1]}/{found[2]}"


def inline_video(written: str, sources: Sources) -> str:
    """The reference of a video that stands in the manifest; its bytes are kept."""
    found = _INLINE.fullmatch(written)
    shown = without_payloads(written)
    if found is None:
        raise UnfitVideo("an inline video as data:video/mp4;base64,… with nothing but base64 after the comma", shown)
    media_type, payload = found[1].lower(), found[2]
    size = len(payload) * 3 // 4
    if size > LARGEST_INLINE:
        allowed = f"an inline video of at most {LARGEST_INLINE:,} bytes: give a larger one as a file"
        raise UnfitVideo(allowed, f"{size:,} bytes")
    if len(payload) % 4:
        raise UnfitVideo("an inline video in whole base64: groups of four characters, = at the end", shown)
    check_kind(b64decode(payload[: HEADER // 3 * 4]), ENDINGS.get(media_type, ""), media_type, shown)
    video = b64decode(payload)
    digest = sha256(video).hexdigest()
    sources.keep(digest, video)
    return inline_reference(media_type, len(video), digest)


def check_kind(header: bytes, ending: str, named: str, found: str | None = None) -> None:
    """Raise `UnfitVideo` where a video does not begin as one, or is another kind than it is called."""
    kind, expected = kind_of(header), KINDS.get(ending)
    if kind is None:
        raise UnfitVideo(f"a video: this begins with {told_of(header)}", found)
    if expected is not None and kind != expected:
        raise UnfitVideo(f"a {named} that is one: this is {NAMES[kind]}", found)


def without_payloads(text: str) -> str:
    """A text in which inline videos are cut to their head, their length and a hash of the rest."""
    return _PAYLOAD.sub(_cut, text) if ";base64," in text.lower() else text


def _cut(found: re.Match[str]) -> str:
    digest = sha256(found[2].encode()).hexdigest()[:16]
    return f"{found[1]}[{len(found[2]):,} characters, SHA-256 {digest}]"
