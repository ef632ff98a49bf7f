"""A hundred random runs with caps: the ledger's spending against the simulator's bill, and what was spent too much."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from benchmarks.pacing_real.bills import MICRO, Amount, Ledgered, billed, by_run, ledgered
from benchmarks.pacing_real.findings import Finding, at_least, at_most, told
from benchmarks.pacing_real.simulators import Lateness, Simulator
from benchmarks.pacing_real.stage import Command, Stage, prompt_of, videos_of
from pipeline.simulator.billing import cost_of
from pipeline.simulator.completions import charge_for
from pipeline.simulator.facts import invented
from pipeline.simulator.settings import SimulatorSettings

SEED = 20
RUNS = 100
POLL = "fixed:300ms"
"""Often, so that a run of a minute's work takes seconds; how polling is timed is no matter here."""
AT_ONCE = 10
LONGEST_S = 120.0
REACHED = 3


@dataclass(frozen=True, slots=True)
class Account:
    """An API of its own: what it charges a million tokens, in and out, how long it takes, whether it tells costs."""

    prices: tuple[float, float]
    latency: str
    cost_reported: bool
    fail_rate: float

    @property
    def settings(self) -> str:
        """`vidbatch.toml` with these prices."""
        return f'[prices."gemini-2.5-pro"]\ninput = {self.prices[0]}\noutput = {self.prices[1]}\n'

    @property
    def list_prices(self) -> tuple[float, ...]:
        """As the simulator takes them: long prompts cost the same."""
        return self.prices * 2


@dataclass(frozen=True, slots=True)
class Draw:
    """One run: rows, the account that it uses, and a cap, in tokens or in millionths."""

    name: str
    rows: int
    account: int
    in_tokens: bool
    cap: int

    @property
    def options(self) -> tuple[object, ...]:
        """The cap as a person gives it."""
        return ("--max-total-tokens", self.cap) if self.in_tokens else ("--max-cost", f"{self.cap / MICRO:.6f}")


def accounts(rng: random.Random) -> list[Account]:
    """Four of them: cheap and dear, quick and slow, one in two with costs in its answers, one in two with failures."""
    return [
        Account(
            prices=(round(rng.uniform(0.1, 5), 2), round(rng.uniform(1, 20), 2)),
            latency=f"lognormal:{median_s}s,0.5",
            cost_reported=number % 2 == 0,
            fail_rate=0.02 if number < 2 else 0.0,
        )
        for number, median_s in enumerate((0.1, 0.4, 0.8, 1.5))
    ]


def worth(name: str, row: int, account: Account) -> Amount:
    """What the simulator will bill for a row: known beforehand, since it makes the video's length of the URL."""
    facts = [invented(sha256(video.encode()).digest()) for video in videos_of(name, row)]
    charge = charge_for(facts, len(prompt_of(name)), 0, SimulatorSettings(), reasoning=False)
    return Amount(charge.prompt + charge.completion, round(cost_of(charge, account.list_prices) * MICRO))


def drawn(number: int, among: Sequence[Account], rng: random.Random) -> Draw:
    """A run with a cap between a few rows and a little more than everything."""
    rows, account, in_tokens = rng.randint(20, 80), rng.randrange(len(among)), number % 2 == 0
    name = f"budget-{number}"
    whole = sum(worth(name, row, among[account]).of(in_tokens) for row in range(rows))
    return Draw(name, rows, account, in_tokens, max(1, round(whole * rng.uniform(3 / rows, 1.1))))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, and both sides' sums."""

    draw: Draw
    code: int
    ledger: Ledgered
    bill: Amount

    @property
    def exact(self) -> bool:
        """Whether the ledger's spending is the bill, to the token and the millionth."""
        return self.ledger.spent == self.bill

    @property
    def overshoot(self) -> int:
        """What was billed above the cap, in the cap's unit."""
        return max(0, self.bill.of(self.draw.in_tokens) - self.draw.cap)

    @property
    def bound(self) -> int:
        """What rows in flight cost beyond their reservations, as the run itself told it."""
        return self.ledger.over.of(self.draw.in_tokens)

    @property
    def unused(self) -> float:
        """The share of the cap that was left."""
        return max(0.0, 1 - self.bill.of(self.draw.in_tokens) / self.draw.cap)


def budget(stage: Stage) -> list[Finding]:
    """100 random runs with caps, ten at a time, each to its end or to its cap."""
    rng = random.Random(SEED)
    among = accounts(rng)
    simulators = [
        stage.simulate(
            seed=number,
            latency=one.latency,
            cost_reported=one.cost_reported,
            fail_rate=one.fail_rate,
            prices=",".join(map(str, one.list_prices)),
        )
        for number, one in enumerate(among)
    ]
    draws = [drawn(number, among, rng) for number in range(RUNS)]
    codes, commands = _played(stage, draws, among, simulators)
    posts = by_run((post for simulator in simulators for post in simulator.posts()), commands)
    outcomes = [
        Outcome(draw, codes[draw.name], ledgered(commands[draw.name]), billed(posts[draw.name])) for draw in draws
    ]
    return _judged(outcomes)


def _played(
    stage: Stage, draws: Sequence[Draw], among: Sequence[Account], simulators: Sequence[Simulator]
) -> tuple[dict[str, int], dict[str, Command]]:
    waiting, commands, codes = list(reversed(draws)), {}, {}
    begun: dict[str, float] = {}
    while waiting or begun:
        while waiting and len(begun) < AT_ONCE:
            draw = waiting.pop()
            settings, simulator = among[draw.account].settings, simulators[draw.account]
            commands[draw.name] = stage.run(
                draw.name, draw.rows, simulator, "--poll", POLL, *draw.options, settings=settings
            )
            begun[draw.name] = time.monotonic()
        for name in [name for name in begun if commands[name].ended]:
            codes[name] = commands[name].ends(0)
            del begun[name]
        for name, at in begun.items():
            if time.monotonic() - at > LONGEST_S:
                raise Lateness(f"{name} goes on for {LONGEST_S:g} s; it said:\n{commands[name].said[-2000:]}")
        time.sleep(0.05)
    return codes, commands


def _judged(outcomes: Sequence[Outcome]) -> list[Finding]:
    reached = [one for one in outcomes if one.code == REACHED]
    exact = [one for one in outcomes if one.exact]
    above = [one for one in outcomes if one.overshoot > one.bound]
    worst = max(outcomes, key=lambda one: one.overshoot / one.draw.cap)
    kept = sum(one.ledger.kept != Amount() for one in outcomes)
    unused = sorted(one.unused for one in reached) or [0.0]
    others = sorted({one.code for one in outcomes} - {0, 1, REACHED})
    return [
        at_least("runs whose spending is the bill", RUNS, len(exact), ".0f"),
        at_most("runs above their cap by more than they told", 0, len(above), ".0f"),
        at_most("exit codes other than 0, 1 and 3", 0, len(others), ".0f"),
        told("runs that reached their cap", f"{len(reached)} of {len(outcomes)}"),
        told("runs above their cap", str(sum(one.overshoot > 0 for one in outcomes))),
        told("the worst of them", _words(worst)),
        told("runs that keep something for the unknown", str(kept)),
        told("left of the cap: median, most", f"{unused[len(unused) // 2]:.1%}, {unused[-1]:.1%}"),
        *(told(f"not exact: {one.draw.name}", _difference(one)) for one in outcomes if not one.exact),
        *(told(f"too far above: {one.draw.name}", _words(one)) for one in above),
    ]


def _words(one: Outcome) -> str:
    unit = "tokens" if one.draw.in_tokens else "millionths"
    share = one.overshoot / one.draw.cap
    return (
        f"{one.draw.name}: {one.overshoot:,} above a cap of {one.draw.cap:,} {unit} ({share:.0%}), told {one.bound:,}"
    )


def _difference(one: Outcome) -> str:
    spent, bill, kept = one.ledger.spent, one.bill, one.ledger.kept
    return (
        f"exit {one.code}: spent {spent.tokens:,} tokens and {spent.cost_micro:,} millionths, billed {bill.tokens:,} "
        f"and {bill.cost_micro:,}, kept {kept.tokens:,} and {kept.cost_micro:,}"
    )
