"""Print what each schedule costs on each service, and whether the adaptive one keeps its promises."""

import sys
from concurrent.futures import ProcessPoolExecutor
from time import monotonic

from benchmarks.polling.latencies import SERVICES
from benchmarks.polling.simulation import Fixed, Knowing, Learning, simulated

SEED = 1
POLL_COSTS = (1.0, 0.2, 5.0)
NEAR_OPTIMUM = 1.10
NEAR_OTHERS = 1.02


def schedules(service, poll_cost_s):
    """Every schedule, by its name."""
    return {
        "optimum": Knowing(service, poll_cost_s),
        "fixed 5 s": Fixed(5.0),
        "exponential": Fixed(1.0, 2.0, 4.0, 8.0, 16.0, 30.0),
        "adaptive": Learning(poll_cost_s),
    }


def measured(case):
    """All schedules on one service at one poll cost."""
    number, poll_cost_s, seed = case
    service = SERVICES[number]
    return {
        name: simulated(service, schedule, poll_cost_s, seed)
        for name, schedule in schedules(service, poll_cost_s).items()
    }


def main():
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else SEED
    begun = monotonic()
    cases = [(number, poll_cost_s, seed) for poll_cost_s in POLL_COSTS for number in range(len(SERVICES))]
    with ProcessPoolExecutor(2) as pool:
        found = list(zip(cases, pool.map(measured, cases), strict=True))
    for (number, poll_cost_s, _), by_schedule in found:
        print(f"\n{SERVICES[number].name}, a poll is worth {poll_cost_s:g} s")
        print(f"  {'schedule':12} {'polls':>6} {'lag':>8} {'lag p95':>8} {'cost':>8} {'/optimum':>8}")
        for name, one in by_schedule.items():
            ratio = one.cost / by_schedule["optimum"].cost
            print(f"  {name:12} {one.polls:6.2f} {one.lag:8.3f} {one.lag_95:8.3f} {one.cost:8.3f} {ratio:8.3f}")
    print()
    kept = [_judged(SERVICES[number].name, poll_cost_s, by) for (number, poll_cost_s, _), by in found]
    print(f"\n{sum(kept)} of {len(kept)} hold; {monotonic() - begun:.0f} s")
    sys.exit(not all(kept))


def _judged(name, poll_cost_s, by):
    """One line for both promises."""
    others = min(by["fixed 5 s"].cost, by["exponential"].cost)
    to_optimum, to_others = by["adaptive"].cost / by["optimum"].cost, by["adaptive"].cost / others
    holds = to_optimum <= NEAR_OPTIMUM and to_others <= NEAR_OTHERS
    print(
        f"{name:20} poll {poll_cost_s:3g} s  of the optimum <= {NEAR_OPTIMUM:.2f}: {to_optimum:.3f}  "
        f"of the better other <= {NEAR_OTHERS:.2f}: {to_others:.3f}  {'holds' if holds else 'DOES NOT HOLD'}"
    )
    return holds


if __name__ == "__main__":
    main()
