"""The limits a minute: one that was given, and one that nobody told, which halves in mid-run."""

import time
from itertools import chain

from benchmarks.pacing_real.arrivals import (
    Arrival,
    inside_retry_after,
    longest_gap,
    overshoot,
    seconds_until,
    throttled,
    utilisation,
    within,
)
from benchmarks.pacing_real.findings import Finding, at_least, at_most, told
from benchmarks.pacing_real.simulators import Lateness, Simulator, eventually
from benchmarks.pacing_real.stage import Command, Stage

RPM = 600
A_SECOND = RPM / 60
SETTLING_S = 10.0
WINDOW_S = 10.0
LATENCY = "lognormal:2s,0.5"
LIMITED = {"submit_per_minute": RPM, "burst": 10, "retry_after": 2}

GIVEN_ROWS = 900
INJECTED = {"error_before_rate": 0.02, "error_after_rate": 0.01, "fail_rate": 0.02}

UNKNOWN_ROWS = 4_000
HALVED_AFTER_S = 180.0
GOES_ON_S = 60.0


def given(stage: Stage) -> list[Finding]:
    """`--rpm 600` against a limit of 600 a minute, with 5% of injected errors."""
    simulator = stage.simulate(seed=7, latency=LATENCY, **LIMITED, **INJECTED)
    command = stage.run("given", GIVEN_ROWS, simulator, "--rpm", RPM)
    code = command.ends(300)
    posts, polls = simulator.arrivals(), simulator.arrivals("polls")
    begin = posts[0].at
    # The manifest has not run out before so many POSTs: some of them were rows that went again.
    ran_out = begin + int(posts[min(GIVEN_ROWS, len(posts)) - 1].at - begin)
    return [
        at_least("used of the limit after 10 s", 0.98, utilisation(posts, A_SECOND, begin + SETTLING_S, ran_out)),
        told("longest gap between POSTs after 10 s", f"{longest_gap(posts, begin + SETTLING_S, ran_out):.2f} s"),
        at_most("above the limit in any 10 s", max(3, 0.02 * RPM / 6), overshoot(posts, A_SECOND, WINDOW_S), ".0f"),
        *_refusals(posts, polls, 0.001),
        *_inside(posts),
        told("the command", f"exit code {code}, {len(posts)} POSTs and {len(polls)} polls for {GIVEN_ROWS} rows"),
    ]


def unknown(stage: Stage) -> list[Finding]:
    """A limit of 600 a minute that nobody told; after three minutes it is 300."""
    simulator = stage.simulate(seed=7, latency=LATENCY, **LIMITED)
    command = stage.run("unknown", UNKNOWN_ROWS, simulator)
    begin = first_post(simulator)
    _wait_until(begin + HALVED_AFTER_S, command)
    halved = simulator.switch(submit_per_minute=RPM / 2)
    _wait_until(halved + GOES_ON_S, command)
    end = time.time()
    command.interrupt()
    posts, polls = simulator.arrivals(), simulator.arrivals("polls")
    return [
        *_found("", posts, A_SECOND, begin, halved, within_s=60),
        *_found(" of the halved limit", posts, A_SECOND / 2, halved, end, within_s=30),
        *_refusals(posts, polls, 0.01),
        *_inside(posts),
    ]


def _found(of: str, posts: list[Arrival], a_second: float, begin: float, end: float, within_s: float) -> list[Finding]:
    reached = seconds_until(posts, 0.9 * a_second, begin, calm=bool(of))
    name = f"used{of} from then on, {end - begin - (reached or 0):.0f} s"
    used = None if reached is None else utilisation(posts, a_second, begin + reached, end)
    return [
        at_most(f"seconds to 90%{of}", within_s, reached),
        at_least(name, 0.95, used),
        told(f"429s{of}", str(throttled(within(posts, begin, end)))),
    ]


def _refusals(posts: list[Arrival], polls: list[Arrival], most: float) -> list[Finding]:
    return [
        at_most("429s among POSTs", most, throttled(posts) / len(posts), ".2%"),
        at_most("429s among all requests", most, throttled([*posts, *polls]) / len([*posts, *polls]), ".2%"),
    ]


def _inside(posts: list[Arrival]) -> list[Finding]:
    inside = inside_retry_after(posts)
    return [
        at_most("POSTs inside a Retry-After", 0, inside.sent, ".0f"),
        told("on the wire when it was told", str(inside.on_the_wire)),
    ]


def first_post(simulator: Simulator) -> float:
    """Wait for the first POST; the unix time at which it came."""
    return next(iter(eventually(simulator.arrivals, "a POST", 60))).at


def _wait_until(instant: float, command: Command) -> None:
    while (left := instant - time.time()) > 0:
        if command.ended:
            raise Lateness(f"the command ended too early; it said:\n{command.said[-2000:]}")
        time.sleep(min(left, 0.5))


IN_FLIGHT = 50
TAKES_S = 10
IN_FLIGHT_A_SECOND = IN_FLIGHT / TAKES_S
IN_FLIGHT_ROWS = {"--max-in-flight 50": 450, "found": 900}


def in_flight(stage: Stage) -> list[Finding]:
    """50 in flight, 10 s each: once given, once not told, each with an account of its own, side by side."""
    simulators = {name: stage.simulate(seed=7, latency=TAKES_S, max_open=IN_FLIGHT) for name in IN_FLIGHT_ROWS}
    commands = [
        stage.run(name.split()[-1], IN_FLIGHT_ROWS[name], simulator, *(name.split() if " " in name else ()))
        for name, simulator in simulators.items()
    ]
    for command in commands:
        command.ends(400)
    posts = {name: simulator.arrivals() for name, simulator in simulators.items()}
    return list(chain(_kept(*_named(posts, 0)), _sought(*_named(posts, 1))))


def _named(posts: dict[str, list[Arrival]], place: int) -> tuple[str, list[Arrival], float]:
    """A run's name, its POSTs, and when its manifest ran out at the earliest."""
    name = list(IN_FLIGHT_ROWS)[place]
    return name, posts[name], posts[name][min(IN_FLIGHT_ROWS[name], len(posts[name])) - 1].at


def _kept(name: str, posts: list[Arrival], end: float) -> list[Finding]:
    # whole tens of seconds: generations that began together end together
    begin = posts[0].at + 2 * TAKES_S
    end = begin + (end - begin) // TAKES_S * TAKES_S
    return [
        at_least(f"{name}: of 50/10 s, from 20 s on", 0.95, utilisation(posts, IN_FLIGHT_A_SECOND, begin, end)),
        at_most(f"{name}: 429s among POSTs", 0.001, throttled(posts) / len(posts), ".2%"),
    ]


def _sought(name: str, posts: list[Arrival], end: float) -> list[Finding]:
    begin = posts[0].at
    reached = seconds_until(posts, 0.9 * IN_FLIGHT_A_SECOND, begin + TAKES_S, window_s=TAKES_S, calm=True)
    used = None if reached is None else utilisation(posts, IN_FLIGHT_A_SECOND, begin + TAKES_S + reached, end)
    return [
        at_most(f"{name}: seconds to 90%", 60, reached and reached + TAKES_S),
        at_least(f"{name}: of 50/10 s from then on", 0.95, used),
        at_most(f"{name}: 429s among POSTs", 0.01, throttled(posts) / len(posts), ".2%"),
    ]
