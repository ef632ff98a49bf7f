"""Files that `/media/<name>` serves: the shipped clips, and those of one more folder. Nothing above either."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from pipeline.simulator.files import bytes_answer, file_answer
from pipeline.simulator.messages import Answer

CONTENT_TYPES = {
    ".mp4": "video/mp4",
    ".mpeg": "video/mpeg",
    ".mpg": "video/mpeg",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
}
# Small clips are asked for again and again; what goes beyond this is read from disk each time.
_CACHE_BYTES = 64 << 20
_LARGE = 4 << 20


class Shelf:
    """Finds files by their bare name, first folder first."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._cache: dict[Path, tuple[int, bytes]] = {}
        self._cached_bytes = 0

    def find(self, name: str, asked: str = "") -> Answer | None:
        """Return the file of this percent-encoded name, or a range of it; None when there is none of a plain name."""
        plain = unquote(name)
        if not plain or plain.startswith(".") or any(character in plain for character in "/\\\0"):
            return None
        for folder in self._folders:
            path = folder / plain
            content_type = CONTENT_TYPES.get(path.suffix.lower())
            if content_type is not None and path.is_file():
                if path.stat().st_size > _LARGE:
                    return file_answer(path, asked, content_type)
                return bytes_answer(self._read(path), asked, content_type)
        return None

    def _read(self, path: Path) -> bytes:
        changed = path.stat().st_mtime_ns
        known = self._cache.get(path)
        if known is not None and known[0] == changed:
            return known[1]
        data = path.read_bytes()
        self._cached_bytes += len(data) - (len(known[1]) if known else 0)
        if self._cached_bytes > _CACHE_BYTES:
            self._cache.clear()
            self._cached_bytes = len(data)
        self._cache[path] = (changed, data)
        return data
