"""What a file's first bytes say of it: whether they are those of a video that the API takes, and of which kind."""

from collections.abc import Mapping
from types import MappingProxyType

HEADER = 4096
"""So many bytes tell it."""

MP4, WEBM, MPEG = "mp4", "webm", "mpeg"

KINDS: Mapping[str, str] = MappingProxyType({".mp4": MP4, ".mov": MP4, ".webm": WEBM, ".mpeg": MPEG, ".mpg": MPEG})
"""By the ending of a name."""

MEDIA_TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".mp4": "video/mp4",
        ".mov": "video/quicktime",
        ".webm": "video/webm",
        ".mpeg": "video/mpeg",
        ".mpg": "video/mpeg",
    }
)
ENDINGS: Mapping[str, str] = MappingProxyType(
    {"video/mp4": ".mp4", "video/quicktime": ".mov", "video/mov": ".mov", "video/webm": ".webm"}
    | {"video/mpeg": ".mpeg", "video/mpg": ".mpg", "video/x-m4v": ".mp4"}
)
"""By the type in a data URI."""

NAMES: Mapping[str, str] = MappingProxyType({MP4: "an MP4 or MOV video", WEBM: "a WebM video", MPEG: "an MPEG video"})

_BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"moof", b"styp", b"sidx"))
_LEAST_BOX = 8
_NO_VIDEO = frozenset((b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis", b"crx ", b"M4A ", b"M4B ", b"M4P "))
"""Pictures and sound, in boxes of the same form."""

_EBML = b"\x1a\x45\xdf\xa3"
_DOCTYPE = b"\x42\x82"
_PACK, _SEQUENCE = b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3"
_SYNC, _PACKET = 0x47, 188
_SHOWN = 16


def kind_of(header: bytes) -> str | None:
    """The kind of video that begins so; nothing where it is none that the API takes."""
    if _is_box(header):
        return MP4
    if header.startswith(_EBML):
        at = header.find(_DOCTYPE)
        return WEBM if at >= 0 and b"webm" in header[at : at + 16] else None
    if header.startswith((_PACK, _SEQUENCE)) or _is_stream(header):
        return MPEG
    return None


def told_of(header: bytes) -> str:
    """What a file that is no video begins with, for people: a few bytes, and what they look like."""
    start = header[:_SHOWN]
    text = start.decode("ascii", "replace")
    if text.isprintable() and "\ufffd" not in text:
        return repr(text)
    return start.hex(" ")


def _is_box(header: bytes) -> bool:
    """A first box of ISO or QuickTime files, of a length that can be one."""
    if header[4:8] not in _BOXES:
        return False
    if header[4:8] == b"ftyp" and header[8:12] in _NO_VIDEO:
        return False
    length = int.from_bytes(header[:4], "big")
    return length in {0, 1} or length >= _LEAST_BOX


def _is_stream(header: bytes) -> bool:
    """A transport stream: its packets begin alike, as far as they are here."""
    places = range(0, min(len(header), 4 * _PACKET), _PACKET)
    return len(header) >= _PACKET and all(header[place] == _SYNC for place in places)
