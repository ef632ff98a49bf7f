"""Looks at videos before their rows are sent; what was seen of a URL is known for a while, for other rows of it."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from pipeline.core.answers import Problem
from pipeline.core.preflight import TOO_LONG, Looked, trouble_in
from pipeline.core.sources import YOUTUBE_HOSTS, host_of
from pipeline.edges.http_probe import Probe
from pipeline.edges.media_length import length_of

REMEMBERED = 10_000
FRESH_S = 300.0


class Preflight:
    """One for a process; `clock` tells unix seconds."""

    def __init__(self, probe: Probe, clock: Callable[[], float], max_duration_s: float = 0.0) -> None:
        self._probe = probe
        self._clock = clock
        self._longest = max_duration_s
        self._known: OrderedDict[str, tuple[float, asyncio.Future[Problem | None]]] = OrderedDict()

    async def trouble_of(self, url: str) -> Problem | None:
        """Why a URL is not worth its POST; nothing where it is, or where nobody can tell."""
        if not url.startswith(("http://", "https://", "HTTP", "Http")) or host_of(url) in YOUTUBE_HOSTS:
            return None
        since, look = self._known.get(url, (0.0, None))
        if look is None or look.cancelled() or self._clock() - since > FRESH_S:
            look = asyncio.ensure_future(self._looked(url))
            self._known[url] = self._clock(), look
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return await asyncio.shield(look)

    async def _looked(self, url: str) -> Problem | None:
        seen = await self._probe.look(url)
        return trouble_in(url, seen, self._clock()) or await self._too_long(seen)

    async def _too_long(self, seen: Looked) -> Problem | None:
        if not self._longest or not seen.head:
            return None
        return too_long(await asyncio.to_thread(length_of, seen.head), self._longest)


def too_long(seconds: float | None, longest: float) -> Problem | None:
    """Why a video of this length is not sent."""
    if seconds is None or seconds <= longest:
        return None
    return Problem(TOO_LONG, f"The video takes {seconds:,.1f} s; allowed are {longest:,g} s.")
