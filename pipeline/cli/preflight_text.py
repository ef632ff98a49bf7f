"""What `vidbatch plan --preflight` found, for people and for programs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.edges.planned_preflight import Preflown

WORDS = {
    "preflight_dead": "gone",
    "preflight_expired_url": "with a signature that has expired",
    "preflight_not_a_video": "no videos",
    "preflight_too_large": "too large",
    "preflight_too_long": "too long",
}


def preflight_lines(found: "Preflown") -> Iterator[str]:
    """A line of counts, and one for each of the first bad ones."""
    bad = ", ".join(f"{count:,} {WORDS.get(code, code)}" for code, count in found.by_code.most_common())
    yield f"preflight: {found.videos:,} videos looked at, {bad or 'none of them bad'}"
    for one in found.first:
        yield f"  row {one['row_id']}: {_shown(one['video'])}: {one['message']} ({one['code']})"
    if (rest := found.by_code.total() - len(found.first)) > 0:
        yield f"  and {rest:,} more"


def _shown(video: str) -> str:
    """A file without its size and hash, which nobody wrote."""
    return video.partition("#size=")[0] if video.startswith("file:") else video


def preflight_object(found: "Preflown | None") -> dict[str, Any]:
    """The same as JSON; nothing where nobody looked."""
    if found is None:
        return {}
    return {"preflight": {"videos": found.videos, "by_code": dict(found.by_code), "first": found.first}}
