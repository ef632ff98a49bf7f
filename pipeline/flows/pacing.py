"""Keep every account to one pace: look at it, let the finder decide, and have all claims keep to that.

The acting heartbeat does so at every tick; the command that begins a run does it once before, so that a limit holds
from the first row on. Two writers at once cost a tick of what was found, never a limit that was given.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.core.budget import reservation
from pipeline.core.errors import LedgerUnavailable
from pipeline.core.limits import Limits, strictest
from pipeline.core.observations import Observed, tokens_a_row
from pipeline.core.pacing import AccountSeen, Pace, found_now
from pipeline.core.polling import Adaptive, parse_schedule
from pipeline.core.snapshot import RunSnapshot
from pipeline.core.timetable import Timetable, pack_timetables, timetables_of
from pipeline.ports import Clock, Ledger, RunCard

LEARN_S = 2.0
"""What ended generations told is looked at this often, at most."""

LEARN_REST = 50.0
"""And rests for as many times as it took: a fit of a thousand generations costs up to a tenth of a second of CPU."""


async def pace_account(ledger: Ledger, account: str, given: Iterable[Limits]) -> AccountSeen:
    """Pace an account by what is counted of it and by what was given, the strictest; what was seen."""
    seen = await ledger.account_seen(account)
    tokens = tokens_a_row(await ledger.observed(account)) if _by_tokens(seen, given := list(given)) else None
    await ledger.set_pace(account, *found_now(seen, strictest([seen.limits, *given]), tokens))
    return seen


def _by_tokens(seen: AccountSeen, given: Iterable[Limits]) -> bool:
    return any(limits.tpm is not None for limits in (seen.limits, *given))


_Asked = tuple[str, float, float, float]
"""A model, and what a schedule asks of its timetable: the cost of a poll, floor and ceiling."""


def _by_model(observed: Iterable[Observed]) -> dict[str, tuple[Observed, ...]]:
    found: dict[str, list[Observed]] = {}
    for one in observed:
        found.setdefault(one.model, []).append(one)
    return {model: tuple(told) for model, told in found.items()}


def _of_run(
    tables: Mapping[_Asked, tuple[tuple[Observed, ...], Timetable | None]], card: RunCard, bounds: tuple[float, ...]
) -> dict[str, Timetable]:
    return {
        asked[0]: table
        for asked, (_, table) in tables.items()
        if table is not None and asked[1:] == bounds and (not card.models or asked[0] in card.models)
    }


@dataclass(slots=True)
class _Account:
    """What one heartbeat remembers of an account: the pace that it set, what it last learnt, and which runs heard.

    `cost` are, by model, the last ends that told what they cost: those of one model push another's out of the ledger.
    """

    observed: int = -1
    taught: frozenset[str] = frozenset()
    learnt_at: float = float("-inf")
    rest_s: float = LEARN_S
    set: tuple[bytes, Pace] | None = None
    tokens: float | None = None
    tables: dict[_Asked, tuple[tuple[Observed, ...], Timetable | None]] = field(default_factory=dict)
    cost: dict[str, tuple[Observed, ...]] = field(default_factory=dict)

    def costs(self, observed: Iterable[Observed]) -> list[Observed]:
        """These ends, and those of models that are not among them any more."""
        self.cost |= _by_model(one for one in observed if one.prompt_tokens or one.completion_tokens or one.cost_micro)
        return [one for told in self.cost.values() for one in told]


class Pacer:
    """The part of one heartbeat that looks after accounts."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    async def __call__(self, runs: Sequence[tuple[RunSnapshot, RunCard]]) -> list[Exception]:
        """Look after the accounts of these runs, once each; what went wrong with one does not touch the others."""
        failures: list[Exception] = []
        by_account: dict[str, list[tuple[RunSnapshot, RunCard]]] = {}
        for run, card in runs:
            by_account.setdefault(card.account, []).append((run, card))
        for account, its in by_account.items():
            try:
                await self._look_after(account, its)
            except LedgerUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - told after the tickets of all runs are issued
                failures.append(error)
        self._accounts = {name: self._accounts[name] for name in by_account}
        return failures

    async def _look_after(self, account: str, runs: Sequence[tuple[RunSnapshot, RunCard]]) -> None:
        known = self._accounts.setdefault(account, _Account())
        seen = await self._ledger.account_seen(account)
        names = frozenset(run.run_id for run, _ in runs)
        limits = strictest([seen.limits, *(run.limits_in_force for run, _ in runs)])
        try:
            if known.observed < 0 and limits.tpm is not None:
                known.tokens = tokens_a_row(await self._ledger.observed(account))
        finally:
            now = found_now(seen, limits, known.tokens)
            if now != known.set:
                await self._ledger.set_pace(account, *now)
                known.set = now
        unreserved = any(card.budget.caps and not run.spending.reserved.tokens for run, card in runs)
        if unreserved or not names <= known.taught or self._is_news(known, seen):
            began = self._clock.monotonic()
            await self._learn(account, known, runs)
            known.observed, known.learnt_at, known.taught = seen.observed, self._clock.monotonic(), names
            known.rest_s = max(LEARN_S, LEARN_REST * (known.learnt_at - began))

    def _is_news(self, known: _Account, seen: AccountSeen) -> bool:
        return seen.observed != known.observed and self._clock.monotonic() - known.learnt_at >= known.rest_s

    async def _learn(self, account: str, known: _Account, runs: Sequence[tuple[RunSnapshot, RunCard]]) -> None:
        observed = await self._ledger.observed(account)
        known.tokens = tokens_a_row(observed)
        by_model, costs = _by_model(observed), known.costs(observed)
        tables: dict[_Asked, tuple[tuple[Observed, ...], Timetable | None]] = {}
        for run, card in runs:
            schedule = parse_schedule(card.policy.poll)
            if isinstance(schedule, Adaptive) and run.ended < run.total:
                bounds = (card.policy.poll_cost, schedule.floor_s, schedule.ceiling_s)
                for model in by_model if not card.models else card.models:
                    asked, told = (model, *bounds), by_model.get(model, ())
                    before = known.tables.get(asked)
                    fresh = tables.get(asked) or (before if before and before[0] == told else None)
                    # a fit costs tens of ms: one for all runs that ask alike, and none where nothing is new
                    tables[asked] = fresh or (told, timetables_of(told, *bounds).get(model))
                await self._ledger.set_timetables(run.run_id, pack_timetables(_of_run(tables, card, bounds)))
            if card.budget.caps:
                await self._reserve(run, card, costs)
        known.tables = tables

    async def reserve(self, run: RunSnapshot, card: RunCard) -> None:
        """What a row of this run may cost, by all that ended until now: a cap is not reached on older knowledge."""
        known = self._accounts.setdefault(card.account, _Account())
        await self._reserve(run, card, known.costs(await self._ledger.observed(card.account)))

    async def _reserve(self, run: RunSnapshot, card: RunCard, costs: Sequence[Observed]) -> None:
        await self._ledger.set_reservation(run.run_id, reservation(costs, card.models, card.prices))
