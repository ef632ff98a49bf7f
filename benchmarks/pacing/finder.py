"""Limits that nobody gave, in the small model: how soon they are found, how well used, and what that costs."""

from collections.abc import Callable
from dataclasses import replace

from benchmarks.pacing.measures import a_second, until
from benchmarks.pacing.model import Account, FixedWindow, TokenBucket, World, always, between
from benchmarks.pacing_real.findings import Finding, at_least, at_most, table, told

FIND_S = 60.0
LASTS_S = 900.0
CHANGED_S = 300.0
AFTER_S = 400.0
SEEDS = 12


def unknown(per_minute: int, burst: int, post_s: float) -> list[Finding]:
    """A token bucket: used from the second minute on."""
    account = Account(World(TokenBucket(per_minute, burst), post=always(post_s))).run(LASTS_S)
    rate = per_minute / 60
    name = f"{per_minute} a minute, burst {burst}, POST {post_s:g} s"
    after = sum(at >= FIND_S for at in account.refused)
    share = after / (after + sum(at >= FIND_S for at in account.accepted))
    total = len(account.refused) / (len(account.refused) + len(account.accepted))
    return [
        at_most(f"{name}: seconds until 90% over 10 s", FIND_S, until(account.accepted, rate, 0.0, LASTS_S), ".0f"),
        at_least(f"{name}: used, second minute on", 0.95, a_second(account.accepted, FIND_S, LASTS_S) / rate),
        at_most(f"{name}: 429s, second minute on", 0.01, share, ".2%"),
        told(f"{name}: 429s, all of {LASTS_S / 60:.0f} minutes", f"{total:.2%}"),
    ]


def waits(per_minute: int, burst: int, retry_after: float) -> list[Finding]:
    """A bucket that can't take what a Retry-After refills: the worst and the middle of several seeds."""
    shares = []
    for seed in range(1, SEEDS + 1):
        world = World(TokenBucket(per_minute, burst), seed, retry_after=retry_after, post=between(0.005, 0.04))
        account = Account(replace(world, generation=lambda rng: rng.lognormvariate(0.69, 0.5))).run(CHANGED_S)
        shares.append(a_second(account.accepted, FIND_S, CHANGED_S) / (per_minute / 60))
    shares.sort()
    name = f"{per_minute} a minute, burst {burst}, Retry-After {retry_after:g} s: used, second minute on"
    return [
        at_least(f"{name}, middle of {SEEDS} seeds", 0.95, shares[SEEDS // 2]),
        told(f"{name}, worst", f"{shares[0]:.1%}"),
    ]


def changed(per_minute: int, factor: float) -> list[Finding]:
    """A token bucket that changes in mid-run."""
    limiter = TokenBucket(per_minute, 10)
    account = Account(World(limiter)).run(CHANGED_S)
    limiter.per_minute *= factor
    account.run(AFTER_S)
    found = until(account.accepted, per_minute * factor / 60, CHANGED_S + 1, CHANGED_S + AFTER_S)
    refused = sum(at >= CHANGED_S for at in account.refused)
    name = f"{per_minute} a minute becomes {per_minute * factor:g}"
    if factor > 1:
        return [told(f"{name}: seconds until 90%", "never" if found is None else f"{found:.0f}")]
    settled = a_second(account.accepted, CHANGED_S + 20, CHANGED_S + 40) / (per_minute * factor / 60)
    return [
        at_least(f"{name}: used in the 20th to 40th second", 0.9, settled),
        told(f"{name}: 429s in {AFTER_S / 60:.0f} minutes after", str(refused)),
    ]


def window(per_minute: int) -> list[Finding]:
    """A limiter that counts by the minute of the clock, and can't be met smoothly."""
    account = Account(World(FixedWindow(per_minute))).run(LASTS_S)
    used = a_second(account.accepted, FIND_S, LASTS_S) / (per_minute / 60)
    share = len(account.refused) / (len(account.refused) + len(account.accepted))
    return [told(f"{per_minute} in each minute of the clock: used, 429s", f"{used:.1%}, {share:.2%}")]


def scenarios() -> dict[str, Callable[[], list[Finding]]]:
    """By title."""
    buckets = [(rate, burst) for rate in (60, 600, 6000) for burst in (10, 60)]
    strict = [(rate, 1) for rate in (60, 600, 6000)]
    return {
        "Unknown limits (model; 8 claimers that wake up to 10 ms late)": lambda: [
            finding for rate, burst in buckets for finding in unknown(rate, burst, 0.05)
        ],
        "Unknown limits without any burst": lambda: [
            finding for rate, burst in strict for finding in unknown(rate, burst, 0.05)
        ],
        "Unknown limits, slow answers": lambda: [
            *unknown(600, 10, 0.005),
            *unknown(600, 60, 1.0),
            *unknown(600, 60, 2.0),
        ],
        "Unknown limits that tell when to come back": lambda: [
            *waits(600, 10, 2.0),
            *waits(600, 60, 2.0),
            *waits(3000, 10, 2.0),
        ],
        "A limit that changes": lambda: [
            finding for rate in (60, 600, 6000) for factor in (0.5, 2.0) for finding in changed(rate, factor)
        ],
        "Fixed windows": lambda: [finding for rate in (60, 600) for finding in window(rate)],
    }


def main() -> None:
    for title, found in scenarios().items():
        print(table(title, found()))


if __name__ == "__main__":
    main()
