"""What a limit's bars are counted by. Times in seconds."""

from bisect import bisect_left
from collections.abc import Sequence

WINDOW_S = 10.0


def most_in_a_window(times: Sequence[float], seconds: float = WINDOW_S) -> int:
    """The most requests in any window of so many seconds, wherever it begins."""
    return max((bisect_left(times, at + seconds) - index for index, at in enumerate(times)), default=0)


def a_second(times: Sequence[float], begins: float, ends: float) -> float:
    """Requests a second from one moment to another."""
    return (bisect_left(times, ends) - bisect_left(times, begins)) / (ends - begins)


def until(times: Sequence[float], rate: float, begins: float, ends: float, share: float = 0.9) -> float | None:
    """Seconds from `begins` until ten of them in a row had this share of the rate; nothing where that never came."""
    at = begins
    while at + WINDOW_S <= ends:
        if a_second(times, at, at + WINDOW_S) >= share * rate:
            return at - begins
        at += 1.0
    return None


def open_on_average(times: Sequence[float], takes_s: float, begins: float, ends: float) -> float:
    """How many generations of `takes_s` each were open between two moments, on average.

    Generations that began together end together, so counting how many began in a window tells where it was cut.
    """
    parts = (min(at + takes_s, ends) - max(at, begins) for at in times)
    return sum(part for part in parts if part > 0) / (ends - begins)
