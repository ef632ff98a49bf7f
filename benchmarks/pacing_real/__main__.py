"""Pace, caps and control with real parts: one server, one worker of 8 + 8 processes, simulated APIs, real commands.

python -m benchmarks.pacing_real [SCENARIO ...]
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import NoReturn

from benchmarks.pacing_real.budget import budget
from benchmarks.pacing_real.control import control
from benchmarks.pacing_real.findings import Finding, table
from benchmarks.pacing_real.kills import kills
from benchmarks.pacing_real.rates import given, in_flight, unknown
from benchmarks.pacing_real.simulators import Lateness
from benchmarks.pacing_real.stage import Stage

SCENARIOS: dict[str, Callable[[Stage], list[Finding]]] = {
    "given": given,
    "unknown": unknown,
    "in-flight": in_flight,
    "control": control,
    "budget": budget,
    "kills": kills,
}


SIDE_BY_SIDE = (("given",), ("unknown", "in-flight"), ("control",), ("budget",), ("kills",))
"""What is played at once on one fleet, as a fleet is used: each account's limits are its own. It saves minutes."""


def played(name: str, stage: Stage) -> tuple[str, bool]:
    """What a scenario found, as a table, and whether all of its bars hold; one that broke off found that."""
    began = time.monotonic()
    try:
        findings = SCENARIOS[name](stage)
    except Lateness as late:
        findings = [Finding("broken off", "", str(late), holds=False)]
    reason = (SCENARIOS[name].__doc__ or "").strip()
    told = table(f"{name} ({time.monotonic() - began:.0f} s): {reason}", findings)
    return told, all(one.holds is not False for one in findings)


def play(names: Sequence[str], workers: int) -> Iterator[tuple[str, bool]]:
    """Play these side by side; each one's table, and whether its bars hold.

    The stage ends before anybody waits for who still plays, so that Ctrl-C ends all at once.
    """
    with ThreadPoolExecutor(len(names)) as players, Stage(workers) as stage:
        playing = [players.submit(played, name, stage) for name in names]
        yield from [one.result() for one in playing]


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """End like Ctrl-C does, so that whatever was started is ended first."""
    raise KeyboardInterrupt


def main(words: Sequence[str]) -> int:
    """Play scenarios; 1 when a bar does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pacing_real", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=", ".join(SCENARIOS))
    parser.add_argument("--workers", type=int, default=8, help="submit shifts, and poll shifts, at a time")
    given_words = parser.parse_args(words)
    unknown_words = [name for name in given_words.scenario if name not in SCENARIOS]
    if unknown_words:
        parser.error(f"found {', '.join(unknown_words)}; allowed are {', '.join(SCENARIOS)}")
    signal.signal(signal.SIGTERM, _leave)
    holds = True
    for names in [(name,) for name in given_words.scenario] or SIDE_BY_SIDE:
        for told, held in play(names, given_words.workers):
            print(told, flush=True)
            holds = holds and held
    return 0 if holds else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
