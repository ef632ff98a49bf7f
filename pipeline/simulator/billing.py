"""The simulator's own books: every POST that it accepted and what it billed for it.

They are what a run's receipt is checked against, so they are kept apart from everything that answers clients. Packed
records and one blob of URLs: a million generations fit into some 200 MB.
"""

import heapq
import math
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

OPEN = "open"
COMPLETED = "completed"

ASYNC, SYNC, STREAM, SYNC_STREAM = MODES = ("async", "sync", "stream", "sync-stream")

# Above this many prompt tokens both prices change (docs/foxapi.md §6).
_LONG_PROMPT = 200_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What a POST asked for, as far as it is kept; `max_tokens` 0 means no limit, hashes are 32 bytes.

    `mode` is one of `MODES`, by what the POST said of sync and stream.
    """

    model: str
    prompt_sha256: bytes
    video_urls: tuple[str, ...]
    max_tokens: int = 0
    reasoning: bool = False
    mode: str = ASYNC


@dataclass(frozen=True, slots=True)
class Charge:
    """Tokens of one generation; `prompt` includes video and audio, `completion` includes reasoning."""

    prompt: int = 0
    completion: int = 0
    video: int = 0
    audio: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Post:
    """One accepted POST, read back. Times are unix seconds; `outcome` is open, completed or an error code.

    `answered`: the whole task with this generation's id went out, and as far as can be told the client took it.
    """

    sequence: int
    asked: Asked
    received_at: float
    latency_s: float
    outcome: str
    charge: Charge
    cost: float
    polls: int
    digest: bytes
    answered: bool


@dataclass(slots=True)
class Totals:
    """Sums over the generations that have ended; `cost` in dollars."""

    completed: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    audio_tokens: int = 0
    video_tokens: int = 0
    cost: float = 0.0


def cost_of(charge: Charge, prices: Sequence[float]) -> float:
    """Return dollars; `prices` are per million tokens: input, output, and both for long prompts."""
    per_input, per_output = prices[2:4] if charge.prompt > _LONG_PROMPT else prices[:2]
    return (charge.prompt * per_input + charge.completion * per_output) / 1e6


# One record: what was asked, what is planned, what has happened, whether it was answered. Four layouts, so that each
# part is written alone.
_ASKED = struct.Struct("<dHQ?B32s")
_PLANNED = struct.Struct("<dH5L32s")
_HAPPENED = struct.Struct("<HL")
_ANSWERED = struct.Struct("<?")
_ACCEPTED_AT = struct.Struct("<d")
_PLANNED_AT = _ASKED.size
_HAPPENED_AT = _PLANNED_AT + _PLANNED.size
_ANSWERED_AT = _HAPPENED_AT + _HAPPENED.size
_RECORD = _ANSWERED_AT + _ANSWERED.size
_UNPLANNED = _PLANNED.pack(math.inf, 0, 0, 0, 0, 0, 0, bytes(32)) + _HAPPENED.pack(0, 0) + _ANSWERED.pack(0)


class Books:
    """Append-only records; a generation ends by itself once its time has come, seen by the next `settle`.

    Times given are seconds of one monotonic clock; `epoch` is that clock's zero in unix seconds.
    """

    def __init__(self, prices: tuple[float, ...], epoch: float) -> None:
        self.totals = Totals()
        self.accepted = 0
        self.answered = 0
        self.most_open = 0
        self.polls = 0
        self.prices = prices
        self.epoch = epoch
        self._words = [OPEN, COMPLETED]  # outcomes and, apart from them, models are kept as indexes of words
        self._models: list[str] = []
        self._ends: list[tuple[float, int]] = []
        self._records = bytearray()
        self._urls = bytearray()
        self._url_ends = array("Q")

    @property
    def open(self) -> int:
        """Generations that have not ended, as of the last `settle`."""
        return self.accepted - self.totals.completed - self.totals.failed

    def accept(self, asked: Asked, now: float) -> int:
        """Record a POST before it is answered; return its sequence number. It stays open until `plan`."""
        self.settle(now)
        model = _index(self._models, asked.model)
        more = (asked.max_tokens, asked.reasoning, MODES.index(asked.mode), asked.prompt_sha256)
        self._records += _ASKED.pack(now, model, *more) + _UNPLANNED
        self._urls += "\n".join(asked.video_urls).encode()
        self._url_ends.append(len(self._urls))
        self.accepted += 1
        self.most_open = max(self.most_open, self.open)
        return self.accepted - 1

    def plan(self, sequence: int, ends_at: float, outcome: str, charge: Charge, digest: bytes) -> None:
        """Say how and when the generation will end and what it will bill then."""
        tokens = (charge.prompt, charge.completion, charge.video, charge.audio, charge.reasoning)
        at = sequence * _RECORD + _PLANNED_AT
        _PLANNED.pack_into(self._records, at, ends_at, _index(self._words, outcome), *tokens, digest)
        heapq.heappush(self._ends, (ends_at, sequence))

    def settle(self, now: float) -> None:
        """End what is due by now, and bill it."""
        while self._ends and self._ends[0][0] <= now:
            self._end(heapq.heappop(self._ends)[1])

    def _end(self, sequence: int) -> None:
        _, planned, *tokens, _ = self._planned(sequence)
        self._happen(sequence, planned, self._happened(sequence)[1])
        if self._words[planned] == COMPLETED:
            self.totals.completed += 1
        else:
            self.totals.failed += 1
        charge = Charge(*tokens)
        self.totals.prompt_tokens += charge.prompt
        self.totals.completion_tokens += charge.completion
        self.totals.reasoning_tokens += charge.reasoning
        self.totals.audio_tokens += charge.audio
        self.totals.video_tokens += charge.video
        self.totals.cost += cost_of(charge, self.prices)

    def poll(self, sequence: int) -> None:
        """Count one GET of this generation."""
        self.polls += 1
        outcome, polls = self._happened(sequence)
        self._happen(sequence, outcome, polls + 1)

    def was_answered(self, sequence: int) -> bool:
        """Whether the whole task with this generation's id went out."""
        return bool(self._records[sequence * _RECORD + _ANSWERED_AT])

    def answer(self, sequence: int, answered: bool) -> None:
        """Record that the answer went out whole, or that after all it never arrived."""
        at = sequence * _RECORD + _ANSWERED_AT
        self.answered += answered - self._records[at]
        self._records[at] = answered

    def accepted_at(self, sequence: int) -> float:
        """Return when the POST was accepted, in the clock's seconds."""
        return _ACCEPTED_AT.unpack_from(self._records, sequence * _RECORD)[0]  # type: ignore[no-any-return]

    def created(self, sequence: int) -> int:
        """Return the unix second of acceptance."""
        return int(self.accepted_at(sequence) + self.epoch)

    def progress(self, sequence: int, now: float) -> float | None:
        """Return the share of its time that a generation has behind it, below 1; None once it has ended."""
        if self._happened(sequence)[0]:
            return None
        accepted_at = self.accepted_at(sequence)
        return _share(now - accepted_at, self._planned(sequence)[0] - accepted_at)

    def ends_at(self, sequence: int) -> float:
        """Return when the generation will end, in the clock's seconds; never, while that is not planned."""
        return self._planned(sequence)[0]  # type: ignore[no-any-return]

    def read(self, sequence: int, *, foreseen: bool = False) -> Post:
        """Return one accepted POST with what it has billed, nothing while it is open; or, foreseen, as it will end."""
        asked = _ASKED.unpack_from(self._records, sequence * _RECORD)
        accepted_at, model, max_tokens, reasoning, mode, prompt_sha256 = asked
        ends_at, planned, *tokens, digest = self._planned(sequence)
        outcome, polls = self._happened(sequence)
        outcome = planned if foreseen else outcome
        urls = self._urls_of(sequence)
        charge = Charge(*tokens) if outcome else Charge()
        return Post(
            sequence=sequence,
            asked=Asked(self._models[model], prompt_sha256, urls, max_tokens, reasoning, MODES[mode]),
            received_at=accepted_at + self.epoch,
            latency_s=ends_at - accepted_at,
            outcome=self._words[outcome],
            charge=charge,
            cost=cost_of(charge, self.prices),
            polls=polls,
            digest=digest,
            answered=self.was_answered(sequence),
        )

    def _urls_of(self, sequence: int) -> tuple[str, ...]:
        first = self._url_ends[sequence - 1] if sequence else 0
        return tuple(self._urls[first : self._url_ends[sequence]].decode().split("\n"))

    def _planned(self, sequence: int) -> tuple[Any, ...]:
        return _PLANNED.unpack_from(self._records, sequence * _RECORD + _PLANNED_AT)

    def _happen(self, sequence: int, outcome: int, polls: int) -> None:
        _HAPPENED.pack_into(self._records, sequence * _RECORD + _HAPPENED_AT, outcome, polls)

    def _happened(self, sequence: int) -> tuple[Any, ...]:
        return _HAPPENED.unpack_from(self._records, sequence * _RECORD + _HAPPENED_AT)


def _share(age: float, whole: float) -> float:
    return min(age / whole, 0.99) if 0 < whole < math.inf else 0.5 if age > 1 else 0.0


def _index(words: list[str], word: str) -> int:
    if word not in words:
        words.append(word)
    return words.index(word)
