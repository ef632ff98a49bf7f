"""What is known of models, each fact with how sure it is; a model that is not here is one of which nothing is known.

The list of models is open, and no row is refused for what stands here but for the number of its videos.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import orjson


@dataclass(frozen=True, slots=True)
class Facts:
    """One model. `most_videos` in a request (DOC); `thinks` before it answers, within `max_tokens` (DOC, its maker's).

    `needs_reasoning`: the API may ask for `reasoning: true` (DOC: "may require").
    """

    most_videos: int | None = None
    thinks: bool = False
    needs_reasoning: bool = False


MODELS: Final[Mapping[str, Facts]] = MappingProxyType(
    {
        "gemini-2.5-pro": Facts(thinks=True, needs_reasoning=True),
        "gemini-2.5-flash": Facts(thinks=True),
        "nemotron-3-nano-omni": Facts(most_videos=1),
    }
)

MOST_VIDEOS_OF_MODEL: Final[Mapping[str, int]] = MappingProxyType(
    {name: facts.most_videos for name, facts in MODELS.items() if facts.most_videos is not None}
)

TIGHT_CAP: Final = 1024
"""A `max_tokens` below this is tight for a model that thinks: what it thinks of one video takes some hundreds of tokens
and counts, so that an answer may be cut before its first word."""

_NOTHING_KNOWN = Facts()


@lru_cache(maxsize=256)
def facts_of(model: str) -> Facts:
    """What is known of a model; `google/gemini-2.5-pro`, as some providers have it, is the same one."""
    return MODELS.get(model.rpartition("/")[2].lower(), _NOTHING_KNOWN)


def switches_on(body: bytes) -> bool:
    """Whether the API is to be told `reasoning: true` with this planned body: its model needs it, and it says nothing.

    It is added when it is sent: what is asked is the same, and nothing is asked anew for it.
    """
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(asked, dict) or "reasoning" in asked or not isinstance(model := asked.get("model"), str):
        return False
    return facts_of(model).needs_reasoning


@dataclass(slots=True)
class Thinking:
    """Rows of models that think, by model: for which it is switched on, which ask not to, which leave little room."""

    on: Counter[str] = field(default_factory=Counter)
    off: Counter[str] = field(default_factory=Counter)
    tight: Counter[str] = field(default_factory=Counter)

    def add(self, model: str, reasoning: bool | None, max_tokens: int | None, rows: int = 1) -> None:
        """Count rows that ask alike."""
        facts = facts_of(model)
        if facts.needs_reasoning and reasoning is not True:
            (self.on if reasoning is None else self.off)[model] += rows
        if facts.thinks and reasoning is not False and max_tokens is not None and max_tokens < TIGHT_CAP:
            self.tight[model] += rows

    def described(self) -> dict[str, dict[str, int]]:
        """As `run.json` keeps it; nothing where there is nothing to tell."""
        counts = {"on": self.on, "off": self.off, "tight": self.tight}
        return {name: dict(rows) for name, rows in counts.items() if rows}
