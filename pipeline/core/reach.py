"""Whether one process reaches an API: who does not holds itself back, and nobody else.

A host may have lost its way to the API while all others see it. So a connection that could not be made says nothing of
the account: the row waits for whoever comes first, and this process alone tries more and more rarely, a few rows at a
time, until somebody answers. Where no process reaches the API, each of them does so.
"""

from dataclasses import dataclass

from pipeline.core.answers import UNREACHABLE, Ambiguous, NothingSent, QueryAnswer, SubmitAnswer, Trouble

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 10.0
"""A few connections in so long cost nobody anything, and a host whose way is mended is soon back."""

FEW = 4
"""Rows that try whether there is a way again: each waits for a connection that may never come."""


@dataclass(slots=True)
class Reach:
    """What the last calls told. Times are seconds of one monotonic clock."""

    failures: int = 0
    until: float = 0.0
    trying: bool = False

    def heard(self, answer: SubmitAnswer | QueryAnswer, now: float, chance: float) -> None:
        """Learn from an answer. Rows that fail together are one failure; where nobody answered, nothing is learned."""
        match answer:
            case NothingSent(problem=problem) | Trouble(problem=problem) if problem.code == UNREACHABLE:
                if self.trying or not self.failures:
                    wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(self.failures, 16))
                    self.until = now + wait * (1 + chance / 2)
                    self.failures += 1
                    self.trying = False
            case NothingSent():
                pass
            case Trouble(problem=problem) | Ambiguous(problem=problem) if problem.http_status is None:
                pass
            case _:
                self.failures, self.until, self.trying = 0, 0.0, False

    def wait_s(self, now: float) -> float:
        """Seconds for which nothing is to be taken."""
        return max(0.0, self.until - now) if self.failures else 0.0

    def take(self, places: int, now: float) -> int:
        """How many rows to take now into so many free places; a few more when those that try were not heard of."""
        if not self.failures:
            return places
        self.until, self.trying = now + LONGEST_WAIT_S, True
        return min(places, FEW)

    def nothing_came(self, now: float) -> None:
        """There was no row to try with: another may come any moment, and is not to wait for those that try."""
        if self.trying:
            self.until, self.trying = now, False
