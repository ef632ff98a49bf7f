"""What a person changes while a run is at work, and how soon the API sees it."""

import time

from benchmarks.pacing_real.arrivals import Arrival, busiest, within
from benchmarks.pacing_real.findings import Finding, at_least, at_most
from benchmarks.pacing_real.rates import first_post
from benchmarks.pacing_real.simulators import Simulator
from benchmarks.pacing_real.stage import Stage

ROWS = 2_000
RPM = 600
LOWER_RPM = 180
WITHIN_S = 1.0
STEADY_S = 5.0
LOOK_S = 5.0


def control(stage: Stage) -> list[Finding]:
    """`pause`, `resume` and `limits --rpm`: from the command's end to the first and last POST."""
    simulator = stage.simulate(seed=7, latency="1s")
    command = stage.run("control", ROWS, simulator, "--rpm", RPM)
    first_post(simulator)
    time.sleep(STEADY_S)
    run_id = command.run_id
    paused, _ = stage.type("pause", run_id)
    time.sleep(LOOK_S)
    resumed, _ = stage.type("resume", run_id)
    time.sleep(LOOK_S)
    lowered, _ = stage.type("limits", "--rpm", LOWER_RPM, run_id)
    time.sleep(LOOK_S)
    raised, _ = stage.type("limits", "--rpm", RPM, run_id)
    time.sleep(LOOK_S)
    posts = _after(simulator, command.interrupt())
    last = max((one.at for one in within(posts, paused - STEADY_S, paused + LOOK_S - 1)), default=paused)
    first = next((one.at for one in posts if one.at > max(paused, last)), None)
    slow = within(posts, lowered + WITHIN_S, lowered + LOOK_S)
    fast = within(posts, raised + WITHIN_S, raised + LOOK_S)
    seconds = LOOK_S - WITHIN_S
    return [
        at_most("pause: seconds to the last POST", WITHIN_S, max(0.0, last - paused), ".2f"),
        at_most("resume: seconds to the first POST", WITHIN_S, first and max(0.0, first - resumed), ".2f"),
        at_most(f"--rpm {LOWER_RPM}, 1 s later: POSTs in any second", LOWER_RPM / 60 + 1, busiest(slow, 1.0), ".0f"),
        at_least(f"--rpm {LOWER_RPM}, 1 s later: used", 0.8, len(slow) / (LOWER_RPM / 60 * seconds)),
        at_least(f"--rpm {RPM}, 1 s later: used", 0.9, len(fast) / (RPM / 60 * seconds)),
    ]


def _after(simulator: Simulator, _code: int) -> list[Arrival]:
    """The POSTs of a run whose command has ended, however it did."""
    return simulator.arrivals()
