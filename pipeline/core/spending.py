"""When a cap stops a run, and what a person is told of it. The ledger counts; here nothing is spent or reserved."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.core.budget import Budget, Spending, affordable
from pipeline.core.costs import MICRO, money
from pipeline.core.snapshot import BUDGET_REACHED, RunSnapshot, RunState

ENOUGH = 5
"""Fewer rows than this say little of what the others will cost."""


@dataclass(frozen=True, slots=True)
class Cap:
    """One cap of a run, and what became of it: all in tokens, or all in millionths of the currency."""

    option: str
    cap: int
    settled: int
    kept: int
    reserved: int
    over: int

    @property
    def left(self) -> int:
        """What may still be spent; never below 0."""
        return max(0, self.cap - self.settled - self.kept)

    @property
    def overshot(self) -> int:
        """What was spent beyond the cap."""
        return max(0, self.settled - self.cap)

    def words(self, amount: int) -> str:
        """An amount for people."""
        return f"{amount:,} tokens" if self.option == "--max-total-tokens" else money(amount / MICRO)


def caps_of(budget: Budget, spending: Spending) -> list[Cap]:
    """The caps of a run, the one that binds it most first; none without a budget."""
    one = spending
    caps = [
        Cap("--max-cost", cap, one.cost_micro, one.kept_cost_micro, one.reserved.cost_micro, one.over_cost_micro)
        for cap in [budget.cost_micro]
        if cap is not None
    ]
    if budget.tokens is not None:
        kept, reserved, over = one.kept_tokens, one.reserved.tokens, one.over_tokens
        caps.append(Cap("--max-total-tokens", budget.tokens, one.tokens, kept, reserved, over))
    return sorted(caps, key=lambda cap: cap.left / max(1, cap.reserved))


def budget_words(budget: Budget) -> str:
    """The caps as they would be typed; empty without one."""
    caps = [] if budget.cost is None else [f"--max-cost {f'{budget.cost:.6f}'.rstrip('0').rstrip('.')}"]
    caps += [] if budget.tokens is None else [f"--max-total-tokens {budget.tokens}"]
    return " ".join(caps)


def budget_reached(run: RunSnapshot) -> str | None:
    """The reason for pausing the run now: its cap can't take one more row and nothing that is in flight may free some.

    Nothing while a claim may yet bring a row.
    """
    unsent = run.ready + run.total - run.fed
    if run.state is not RunState.RUNNING or not unsent or run.in_flight or affordable(run.budget, run.spending) != 0:
        return None
    return f"{BUDGET_REACHED}{_standing(caps_of(run.budget, run.spending)[0])}"


def goes_on(run: RunSnapshot, budget: Budget) -> bool:
    """Whether a run that its caps paused goes on with these: they leave room for a row."""
    paused = run.state is RunState.PAUSED and run.reason.startswith(BUDGET_REACHED)
    return paused and affordable(budget, run.spending) != 0


def _standing(cap: Cap) -> str:
    parts = [f"{cap.words(cap.settled)} of {cap.words(cap.cap)} {_is(cap)} spent"]
    if cap.kept:
        parts.append(f"{cap.words(cap.kept)} {_is(cap)} kept for rows that may have been billed")
    rest = f"{cap.words(cap.left)} left {_is(cap)} less than a row may cost ({cap.words(cap.reserved)})"
    return f"{', '.join(parts)}, and {rest if cap.left else 'nothing is left'}"


def _is(cap: Cap) -> str:
    return "are" if cap.option == "--max-total-tokens" else "is"


def budget_lines(run: RunSnapshot) -> Iterator[str]:
    """What a person is told when a cap stopped the run: what became of it, what is left to do, and how to go on."""
    caps = caps_of(run.budget, run.spending)
    yield f"stopped by the budget: {run.reason.removeprefix(BUDGET_REACHED)}"
    yield from _over_lines(caps)
    yield (
        f"no row failed for it, {run.total - run.ended:,} are still to be done: the same command with "
        f"{a_higher_cap(run)} goes on"
    )


def a_higher_cap(run: RunSnapshot) -> str:
    """What lets a run go on that its cap stopped: the option that binds it most."""
    caps = caps_of(run.budget, run.spending)
    return f"a higher {caps[0].option if caps else '--max-cost'}"


def _over_lines(caps: list[Cap]) -> Iterator[str]:
    for cap in caps:
        if cap.overshot:
            yield f"{cap.words(cap.overshot)} more than {cap.option}: {_because(cap.words(cap.over))}"


def _because(over: str) -> str:
    return f"what was spent or sent before the cap was given or reached cost {over} more than it had left"


def budget_object(run: RunSnapshot) -> dict[str, Any] | None:
    """What a receipt tells of a run's budget, as plain values, by the ledger's count; nothing without a cap.

    `overshot` is what was spent beyond the cap, and never more than `over`: what POSTs in flight when it was reached
    cost beyond what they held, and what was spent beyond it before it was given.
    """
    if not run.budget.caps:
        return None
    one = run.spending
    beyond = {cap.option: cap.overshot for cap in caps_of(run.budget, one)}
    return {
        "caps": asdict(run.budget),
        "spent": _amounts(one.tokens, one.cost_micro),
        "kept": _amounts(one.kept_tokens, one.kept_cost_micro),
        "over": _amounts(one.over_tokens, one.over_cost_micro),
        "overshot": _amounts(beyond.get("--max-total-tokens", 0), beyond.get("--max-cost", 0)),
    }


def _amounts(tokens: int, cost_micro: int) -> dict[str, float]:
    return {"tokens": tokens, "cost": cost_micro / MICRO}


def receipt_lines(budget: Mapping[str, Any] | None) -> Iterator[str]:
    """The budget of a finished run, by its receipt, in words; none where it had no cap."""
    if not budget:
        return
    for name, words in (("cost", money), ("tokens", _tokens)):
        cap = budget["caps"][name]
        if cap is not None:
            spent, kept, over, overshot = (budget[what][name] for what in ("spent", "kept", "over", "overshot"))
            parts = [f"{words(spent)} of {words(cap)} spent"]
            parts += [f"{words(kept)} kept for rows that may have been billed"] if kept else []
            parts += [f"{words(overshot)} beyond it: {_because(words(over))}"] if overshot else []
            yield f"budget: {', '.join(parts)}"


def _tokens(count: float) -> str:
    return f"{count:,.0f} tokens"


def expected_cost(run: RunSnapshot) -> float | None:
    """What the run will have cost when it is through: the mean of the rows that ended, for all of them.

    Nothing while too few ended, or where no cost is known.
    """
    spent = spent_so_far(run)
    if run.ended < min(ENOUGH, run.total) or not spent:
        return None
    return spent / run.ended * run.total


def spent_so_far(run: RunSnapshot) -> float:
    """What the rows that ended cost, as far as it is known."""
    return max(run.cost, run.spending.cost_micro / MICRO)


def spent_words(run: RunSnapshot, told: Mapping[str, Any] | None = None) -> str:
    """`$1.20 of about $12.00`: by the rows that ended, else by the plan's estimate as `run.json` has it."""
    expected = expected_cost(run)
    if expected is None and told and told["cost"] is not None and told["priced"] == told["rows"]:
        expected = told["cost"][1]
    spent = money(spent_so_far(run))
    return spent if expected is None else f"{spent} of about {money(expected)}"
