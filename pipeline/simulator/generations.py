"""Generations from acceptance to end.

Nothing ticks: when a POST is accepted its end is drawn, and whoever asks compares it with the clock. Only in real mode
does a generation do something in between, namely look at its videos.
"""

import asyncio
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, Protocol

from pipeline.simulator import completions, faults
from pipeline.simulator.billing import COMPLETED, STREAM, Asked, Books, Charge, Post
from pipeline.simulator.chunks import Script, script_of, silent_script
from pipeline.simulator.digest import digest_of_hashes
from pipeline.simulator.facts import Facts, invented
from pipeline.simulator.identifiers import Identifiers
from pipeline.simulator.modes import Streaming, mode_of
from pipeline.simulator.settings import SimulatorSettings
from pipeline.simulator.validation import Submission
from pipeline.simulator.written import Writer, Written


class VideoTrouble(Exception):
    """A video that can't be fetched or decoded; the message is for the one who asked."""


class Viewer(Protocol):
    """Looks at a video: what real mode needs of the world."""

    def store(self, url: str) -> str:
        """Put an inline video aside; return the word under which `look` finds it, which is any other URL itself."""
        ...

    async def look(self, url: str) -> tuple[bytes, Facts]:
        """Return the SHA-256 of the video's bytes, and its facts; raises VideoTrouble."""
        ...


_INLINE_HASH = ";sha256="
_HASHED_AT_ONCE = 1 << 20


def _reference(url: str) -> str:
    """Return what is kept of a URL: an inline video by its hash, never its bytes."""
    if not url.startswith("data:"):
        return url
    found = sha256()
    for at in range(0, len(url), _HASHED_AT_ONCE):  # never a second copy of all of it
        found.update(url[at : at + _HASHED_AT_ONCE].encode())
    return f"{url[: url.index(',')].removesuffix(';base64')}{_INLINE_HASH}{found.hexdigest()}"


def _url_hash(reference: str) -> bytes:
    """Return the SHA-256 of the URL that a reference stands for."""
    if reference.startswith("data:"):
        return bytes.fromhex(reference.rpartition(_INLINE_HASH)[2])
    return sha256(reference.encode()).digest()


class Generations:
    """Every generation that this simulator accepted, and how each will end."""

    def __init__(
        self, settings: SimulatorSettings, clock: Callable[[], float], wall: Callable[[], float], viewer: Viewer | None
    ) -> None:
        """`clock` is monotonic, `wall` unix seconds; without a viewer nothing is downloaded (fast mode)."""
        self.settings = settings
        self.rng = random.Random(settings.seed)
        self._clock = clock
        self._viewer = viewer
        self._jobs: set[asyncio.Task[None]] = set()
        self._seen: dict[int, tuple[Facts, ...]] = {}
        self._messages: dict[int, str] = {}
        self._written: dict[int, Written] = {}
        self.writer = Writer()
        self._without_results: set[int] = set()
        self._unplanned: dict[int, list[Callable[[], None]]] = {}
        self.streaming: dict[int, Streaming] = {}
        # Chance that moves no other: a part of its own for whatever is named.
        self._salt = settings.seed if settings.seed is not None else random.SystemRandom().random()
        self._identifiers = Identifiers(self.rng)
        self.books = Books(settings.prices, wall() - clock())

    def now(self) -> float:
        """Return the clock's seconds, with all that is due by then ended."""
        now = self._clock()
        self.books.settle(now)
        return now

    def accept(self, submission: Submission) -> tuple[int, dict[str, Any]]:
        """Record the POST, draw its end, and return its sequence number and the task that answers it."""
        now = self._clock()
        asked = Asked(
            model=submission.model,
            prompt_sha256=sha256(submission.prompt.encode()).digest(),
            video_urls=tuple(_reference(url) for url in submission.video_urls),
            max_tokens=submission.max_tokens or 0,
            reasoning=submission.reasoning,
            mode=mode_of(submission),
        )
        sequence = self.books.accept(asked, now)
        if submission.stream:
            sizes = (self.settings.stream_chunks, self.settings.stream_usage)
            self.streaming[sequence] = Streaming(*sizes, sync=submission.sync)
        self._unplanned[sequence] = []
        end = faults.ending(self.settings, self.rng, submission.video_urls)
        if end.results_lost:
            self._without_results.add(sequence)
        if self._viewer is None:
            self._plan_unseen(sequence, submission, asked, end)
        else:
            stored = replace(submission, video_urls=tuple(map(self._viewer.store, submission.video_urls)))
            job = asyncio.get_running_loop().create_task(self._view(sequence, stored, end, self._viewer))
            self._jobs.add(job)
            job.add_done_callback(self._jobs.discard)
        return sequence, self._task(sequence, asked, "pending", 0)

    def _task(self, sequence: int, asked: Asked, status: str, progress: int) -> dict[str, Any]:
        """The task without an end; `stream` is true where it has one, for whoever knows the address."""
        created = self.books.created(sequence)
        generation_id = self._identifiers.encode(sequence, created)
        task = completions.task(generation_id, self._told(created), asked.model, status, progress)
        task["stream"] = True if asked.mode == STREAM else None
        return task

    def dice(self, name: str) -> faults.Dice:
        """Chance of its own for everything of this name, so that none moves another."""
        return lambda part: random.Random(f"{self._salt}/{name}/{part}")

    def _told(self, created: int) -> int:
        return created + self.settings.created_skew_s

    def another_id(self, sequence: int) -> str | None:
        """Return the id of an earlier generation that was told to whoever asked for it, drawn; None without one.

        An id that was told to nobody else could not be recognised by any client.
        """
        if sequence == 0:
            return None
        drawn = self.rng.randrange(sequence)
        turns = (*range(drawn, -1, -1), *range(sequence - 1, drawn, -1))
        earlier = next((one for one in turns if self.books.was_answered(one)), None)
        return None if earlier is None else self.id_of(earlier)

    def _plan_unseen(self, sequence: int, submission: Submission, asked: Asked, end: faults.Ending) -> None:
        hashes = [_url_hash(reference) for reference in asked.video_urls]
        self._plan(sequence, submission, end, [invented(video) for video in hashes], hashes)

    async def _view(self, sequence: int, submission: Submission, end: faults.Ending, viewer: Viewer) -> None:
        try:
            seen = [await viewer.look(url) for url in submission.video_urls]
        except VideoTrouble as trouble:
            self._messages[sequence] = str(trouble)
            self._plan(sequence, submission, faults.Ending("generation_failed", end.stuck, end.latency_s), (), [])
            return
        self._seen[sequence] = tuple(facts for _, facts in seen)
        self._plan(sequence, submission, end, self._seen[sequence], [video for video, _ in seen])

    def _plan(
        self,
        sequence: int,
        submission: Submission,
        end: faults.Ending,
        facts: Sequence[Facts],
        hashes: Sequence[bytes],
    ) -> None:
        digest = digest_of_hashes(hashes, submission.prompt)
        written = None
        if end.outcome == COMPLETED and not self.settings.fixed_content:
            asked = (hashes, submission.prompt, digest.hex(), submission.max_tokens)
            written = self.writer.write(*asked, self.settings)
        if written is not None:
            self._written[sequence] = written
        charge = completions.charge_for(
            facts,
            len(submission.prompt) + len(submission.system_prompt or ""),
            submission.max_tokens or 0,
            self.settings,
            reasoning=submission.reasoning,
            written=written,
        )
        if end.outcome != COMPLETED:
            charge = Charge(prompt=charge.prompt) if self.settings.failed_are_billed else Charge()
        accepted_at = self.books.accepted_at(sequence)
        ends_at = math.inf if end.stuck else max(accepted_at + end.latency_s, self._clock() if self._viewer else 0)
        self.books.plan(sequence, ends_at, end.outcome, charge, digest)
        if sequence in self.streaming:
            now = self._clock() if self._viewer else accepted_at
            begins = ends_at if end.stuck else accepted_at + (ends_at - accepted_at) * _PENDING_SHARE
            self.streaming[sequence].begins = max(begins, now)
        for call in self._unplanned.pop(sequence):
            call()

    def when_planned(self, sequence: int, call: Callable[[], None]) -> None:
        """Call once it is known how and when a generation ends: at once, or when its videos were looked at."""
        waiting = self._unplanned.get(sequence)
        if waiting is None:
            call()
        else:
            waiting.append(call)

    def times(self, sequence: int) -> tuple[float, float]:
        """Return when a stream begins to speak and when it ends, in the clock's seconds."""
        return self.streaming[sequence].begins, self.books.ends_at(sequence)

    def accepted_at(self, sequence: int) -> float:
        """Return when the POST was accepted, in the clock's seconds."""
        return self.books.accepted_at(sequence)

    def script(self, sequence: int) -> Script:
        """Return what a stream says from its beginning to its end, which may be still to come."""
        post, streaming = self.books.read(sequence, foreseen=True), self.streaming[sequence]
        generation_id = self.id_of(sequence)
        if sequence in self._messages:
            return silent_script(self._messages[sequence])
        completion = self._completion(generation_id, self._told(self.books.created(sequence)), post)
        error = None if post.outcome == COMPLETED else completions.task_error(post.outcome, None)["message"]
        return script_of(completion, streaming.content_chunks, streaming.usage, error)

    def id_of(self, sequence: int) -> str:
        """Return a generation's id."""
        return self._identifiers.encode(sequence, self.books.created(sequence))

    def find(self, generation_id: str) -> int | None:
        """Return the sequence number behind an id; None when no such generation was accepted."""
        decoded = self._identifiers.decode(generation_id)
        if decoded is None or decoded[0] >= self.books.accepted:
            return None
        sequence, created = decoded
        return sequence if self.books.created(sequence) == created else None

    def query(self, generation_id: str, *, results_hidden: bool = False) -> dict[str, Any] | None:
        """Return the task as it stands now, and count the poll; None when there is no such task."""
        sequence = self.find(generation_id)
        if sequence is None:
            return None
        self.books.poll(sequence)
        return self.task(sequence, results_hidden=results_hidden)

    def task(self, sequence: int, *, results_hidden: bool = False) -> dict[str, Any]:
        """Return the task as it stands now."""
        progress = self.books.progress(sequence, self.now())
        post = self.books.read(sequence)
        if progress is not None:
            status = "processing" if progress >= _PENDING_SHARE else "pending"
            return self._task(sequence, post.asked, status, int(100 * progress))
        status = "completed" if post.outcome == COMPLETED else "failed"
        found = self._task(sequence, post.asked, status, 100)
        if post.outcome != COMPLETED:
            found["error"] = completions.task_error(post.outcome, self._messages.get(sequence))
        elif not (results_hidden or sequence in self._without_results):
            completion = self._completion(found["id"], found["created"], post)
            if sequence in self.streaming:
                # What was thought comes with a stream alone (docs/foxapi.md).
                completion["choices"][0]["message"].pop("reasoning_content", None)
            found["results"] = [completion]
        return found

    def _completion(self, generation_id: str, created: int, post: Post) -> dict[str, Any]:
        facts = self._seen.get(post.sequence) or [invented(_url_hash(reference)) for reference in post.asked.video_urls]
        written = self._written.get(post.sequence)
        return completions.chat_completion(generation_id, created, post, facts, self.settings, written)

    def rows(self, offset: int, limit: int) -> list[dict[str, Any]]:
        """Return accepted POSTs in their order, as the admin endpoint shows them."""
        self.now()
        chosen = range(offset, min(offset + limit, self.books.accepted))
        return [completions.post_row(self.books.read(at), self.id_of(at)) for at in chosen]

    async def close(self) -> None:
        """Stop looking at videos."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)


# A generation counts as pending for the first part of its time and as processing for the rest.
_PENDING_SHARE = 0.1
