"""Looks at all videos of a plan, each once, many at a time and few at one host."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from pipeline.core.answers import Problem
from pipeline.core.fingerprints import Fingerprints
from pipeline.core.other_sources import UnfitVideo
from pipeline.core.references import FileVideo, InlineData, StoreVideo, read_reference
from pipeline.edges.clock import unix_seconds
from pipeline.edges.http_probe import Probe
from pipeline.edges.media_files import MediaFiles, UnreadableNow
from pipeline.edges.media_length import length_of
from pipeline.edges.object_signing import signed
from pipeline.edges.preflight import Preflight, too_long
from pipeline.edges.requests_reader import RequestsFile

FIRST = 10
_WINDOW = 256


@dataclass(slots=True)
class Preflown:
    """What was found: how many videos, of them bad ones by their code, and the first of those."""

    videos: int = 0
    by_code: Counter[str] = field(default_factory=Counter)
    first: list[dict[str, str]] = field(default_factory=list)


def look_at(requests: RequestsFile, roots: Sequence[str], max_duration_s: float) -> Preflown:
    """Look at the videos of all requests."""
    return asyncio.run(_look_at(requests, MediaFiles(roots), max_duration_s))


async def _look_at(requests: RequestsFile, files: MediaFiles, longest: float) -> Preflown:
    probe, found = Probe(bytes_too=longest > 0), Preflown()
    ahead = Preflight(probe, unix_seconds, longest)
    try:
        videos = _each_once(requests)
        while window := [video for _, video in zip(range(_WINDOW), videos, strict=False)]:
            problems = await asyncio.gather(*(_trouble_of(video, ahead, files, longest) for _, video in window))
            for (row_id, video), problem in zip(window, problems, strict=True):
                found.videos += 1
                if problem is not None:
                    found.by_code[problem.code] += 1
                    if len(found.first) < FIRST:
                        told = {"row_id": row_id, "video": video, "code": problem.code, "message": problem.message}
                        found.first.append(told)
    finally:
        await probe.close()
    return found


def _each_once(requests: RequestsFile) -> Iterator[tuple[str, str]]:
    known = Fingerprints()
    for start in range(0, requests.total, _WINDOW):
        for request in requests.read(start, _WINDOW):
            for video in request.video_urls:
                if known.add(video.encode("utf-8", "surrogatepass")):
                    yield request.row_id, video


async def _trouble_of(video: str, ahead: Preflight, files: MediaFiles, longest: float) -> Problem | None:
    match read_reference(video):
        case FileVideo(path=path):
            return too_long(await asyncio.to_thread(_length, path, files), longest) if longest else None
        case InlineData():
            return None
        case StoreVideo() as stored:
            try:
                return await ahead.trouble_of(await asyncio.to_thread(signed, stored))
            except (UnreadableNow, UnfitVideo):  # this machine may sign nothing, and the workers all the same
                return None
    return await ahead.trouble_of(video)


def _length(path: str, files: MediaFiles) -> float | None:
    try:
        with files.opened(path) as video:
            readable: BinaryIO
            with open(video.descriptor, "rb", closefd=False) as readable:
                return length_of(readable)
    except (UnreadableNow, UnfitVideo):
        return None
