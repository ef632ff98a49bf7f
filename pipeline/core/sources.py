"""Which videos a row may name: the source rules of the FoxAPI contract (docs/foxapi.md, sections 1 and 5).

A plain URL is judged from its text alone, and nothing is looked up or downloaded. What is a file, or stands in the
manifest itself, is looked at by `other_sources`, and becomes a reference.
"""

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qs, urlsplit

import orjson

from pipeline.core.cells import UnfitError
from pipeline.core.models import MOST_VIDEOS_OF_MODEL
from pipeline.core.other_sources import (
    EXTENSIONS,
    NO_SOURCES,
    Sources,
    UnfitVideo,
    inline_video,
    local_video,
    store_video,
)

MOST_VIDEOS = 10
VIDEO_COLUMNS = ("video_url", "video_urls")
YOUTUBE_HOSTS = frozenset(
    {"youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com", "youtu.be", "www.youtu.be"}
)

# Nearly every row of a real manifest names one direct file in the characters of RFC 3986, on a plain host. One match
# decides it, without a full parse and, for speed, in lower case; all else takes the long way to the same rules.
_DIRECT_FILE = re.compile(
    r"https?://[a-z0-9][a-z0-9.-]*/[\w!$&'()*+,;=:@%/.~-]*\.(?:mp4|mpeg|mpg|mov|webm)"
    r"(?:\?[\w!$&'()*+,;=:@%/.~?-]*)?",
    re.ASCII,
)
_HOST = re.compile(r"[^\s/?#@\\<>\"^`{|}%]+")
_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_A_LIST = "one URL, a JSON list of URLs, or URLs separated by |"


def videos_of(raw: Mapping[str, object], model: str, file: str = "", sources: Sources = NO_SOURCES) -> tuple[str, ...]:
    """Return the row's 1 to 10 checked URLs and references, in order; raise `UnfitError` for anything else.

    `file` is the manifest that it stands in, and `sources` look at what is no URL.
    """
    first = raw.get("video_url")
    if isinstance(first, str) and _DIRECT_FILE.fullmatch(first) and not raw.get("video_urls"):
        return (first,)
    field, cell = _video_cell(raw)
    if isinstance(cell, str) and "|" not in cell and not cell.lstrip().startswith("["):
        return (_checked(field, cell.strip(), model, file, sources),)
    urls = _listed(field, cell)
    most = MOST_VIDEOS_OF_MODEL.get(model, MOST_VIDEOS)
    if not 1 <= len(urls) <= most:
        allowed = f"1 to {most} videos" if most > 1 else f"one video: {model} takes no more"
        raise UnfitError(field, f"{len(urls)} videos", allowed)
    return tuple([_checked(field, url.strip(), model, file, sources) for url in urls])


def _checked(field: str, video: str, model: str, file: str, sources: Sources) -> str:
    """What is sent for a video, or its reference where its bytes are told apart from it."""
    scheme = video[:5].lower()
    if scheme.startswith("http"):
        return checked_url(field, video, model)
    try:
        if scheme == "data:":
            return inline_video(video, sources)
        if scheme == "s3://":
            return store_video(video)
        if scheme == "file:" or not (_SCHEME.match(video) or _WINDOWS.match(video)):
            return local_video(video, file, sources)
    except UnfitVideo as unfit:
        found = video if unfit.found is None else unfit.found
        raise UnfitError(field, found, unfit.allowed) from None
    return checked_url(field, video, model)


def checked_url(field: str, url: str, model: str) -> str:
    """Return the URL as it is to be sent (a YouTube short becomes its watch page); raise `UnfitError` otherwise."""
    if not url.isprintable() or " " in url:
        raise UnfitError(field, url, "a URL without spaces or control characters (write %20 for a space)")
    parts = _web_address(field, url)
    if parts.hostname in YOUTUBE_HOSTS:
        return _youtube(field, url, parts, model)
    if parts.path.lower().endswith(EXTENSIONS):
        return url
    raise UnfitError(field, url, f"a URL whose path ends in {' '.join(EXTENSIONS)}, or a YouTube video")


def host_of(url: str) -> str:
    """The host of a URL; empty where it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _video_cell(raw: Mapping[str, object]) -> tuple[str, object]:
    """Return the one column that names the videos, and its cell."""
    one, several = raw.get("video_url"), raw.get("video_urls")
    if _is_empty(several):
        if _is_empty(one):
            field = "video_urls" if "video_urls" in raw and "video_url" not in raw else "video_url"
            raise UnfitError(field, "", "1 to 10 video URLs")
        return "video_url", one
    if not _is_empty(one):
        raise UnfitError("video_urls", several, "either video_url or video_urls, not both in one row")
    return "video_urls", several


def _is_empty(cell: object) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _listed(field: str, cell: object) -> list[str]:
    """Return the items of a list of URLs, however it was written."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            items = orjson.loads(cell)
        except orjson.JSONDecodeError:
            raise UnfitError(field, cell, _A_LIST) from None
    else:
        items = cell.split("|") if isinstance(cell, str) else cell
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise UnfitError(field, cell, _A_LIST)
    if not all(item.strip() for item in items):
        raise UnfitError(field, cell, "a URL in each place of the list, none of them empty")
    return items


def _web_address(field: str, url: str) -> SplitResult:
    """Return the parts of an http(s) URL that has a host and bears no credentials."""
    if url.partition(":")[0].lower() not in {"http", "https"}:
        raise UnfitError(
            field,
            url,
            "an http(s) URL, s3://bucket/name.mp4, data:video/mp4;base64,… or a file (/folder/name.mp4, file:///… or "
            "a name in the manifest's folder)",
        )
    try:
        parts = urlsplit(url)
        reachable = bool(parts.hostname and _HOST.fullmatch(parts.hostname)) and parts.port != 0
    except ValueError:
        reachable = False
    if not reachable:
        raise UnfitError(field, url, "an http(s) URL with a host, such as https://example.com/video.mp4")
    if "@" in parts.netloc:
        # What was found is printed and logged; the password is not.
        masked = url.replace(parts.netloc.rpartition("@")[0], "***", 1)
        raise UnfitError(field, masked, "a URL without a user name or password in it")
    return parts


def _youtube(field: str, url: str, parts: SplitResult, model: str) -> str:
    """Return the address under which the API takes this YouTube video."""
    video_id, is_short = _youtube_id(parts)
    if video_id is None or not _YOUTUBE_ID.fullmatch(video_id):
        allowed = "a YouTube video as youtube.com/watch?v=…, youtu.be/… or youtube.com/shorts/…"
        raise UnfitError(field, url, allowed)
    if not model.lower().startswith("gemini"):
        raise UnfitError(field, url, f"a direct video file: {model} takes no YouTube videos, Gemini models do")
    return f"https://www.youtube.com/watch?v={video_id}" if is_short else url


def _youtube_id(parts: SplitResult) -> tuple[str | None, bool]:
    """Return the video's id, if the address names one video, and whether it is a short."""
    steps = parts.path.strip("/").split("/")
    if parts.hostname in {"youtu.be", "www.youtu.be"}:
        return (steps[0] if len(steps) == 1 else None), False
    if steps == ["watch"]:
        return parse_qs(parts.query).get("v", [None])[0], False
    if len(steps) == 2 and steps[0] == "shorts":  # noqa: PLR2004 - shorts/<id>
        return steps[1], True
    return None, False
