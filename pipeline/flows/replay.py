"""Tell the ledger what workers could not tell it in time; where the ledger is gone, put their ids on the run's disk.

Nothing is forgotten before it is recorded elsewhere, and a replay that is cut short is harmlessly made again: a step
whose token is stale changes nothing, and an id that its row already has is noted by nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipeline.core.errors import LedgerMismatch, StorageError
from pipeline.core.lifecycle import Event
from pipeline.core.records import saved_line
from pipeline.flows.committing import GROUP_ROWS
from pipeline.flows.shift import Bench
from pipeline.flows.submit import adopt
from pipeline.ports import Claimed, Commit, Ledger, Spill, Spilled


class Fate(StrEnum):
    """What became of a file of spilled steps."""

    RECORDED = "its steps are in the ledger"
    SAVED = "the ledger does not know the run: its ids are in the run's sent/, from where the run's command takes them"
    KEPT = "no ledger and no folder knows the run: it stays where it is"
    FOREIGN = "the run's ledger is of another version of vidbatch: it stays where it is"
    DAMAGED = "it can't be read: it stays where it is"


@dataclass(frozen=True, slots=True)
class Replayed:
    """One file, and what became of it."""

    name: str
    fate: Fate
    steps: int = 0


class Replay:
    """Replays for one process, which remembers what it took in hand when Redis went away in the middle."""

    def __init__(self, spill: Spill, ledger: Ledger, holder: str) -> None:
        self._spill = spill
        self._ledger = ledger
        self._holder = holder
        self._in_hand: dict[str, dict[int, Claimed]] = {}
        self._told: dict[str, Fate] = {}

    async def __call__(self) -> list[Replayed]:
        """Replay what waits; what became of each file, unless that was told before. LedgerUnavailable as it comes."""
        news: list[Replayed] = []
        for name in self._spill.names():
            found = await self._replay(name)
            if found is not None and self._told.get(name) is not found.fate:
                self._told[name] = found.fate
                news.append(found)
        return news

    async def _replay(self, name: str) -> Replayed | None:
        try:
            with self._spill.held(name) as spilled:
                if spilled is None:
                    return None
                fate = await self._fate(spilled)
                if fate in {Fate.RECORDED, Fate.SAVED}:
                    self._spill.remove(name)
                    self._in_hand.pop(name, None)
                return Replayed(name, fate, len(spilled.commits))
        except StorageError:
            return Replayed(name, Fate.DAMAGED)

    async def _fate(self, spilled: Spilled) -> Fate:
        try:
            card = await self._ledger.card(spilled.head.run_id)
        except LedgerMismatch:
            return Fate.FOREIGN
        if card is not None and card.token == spilled.head.token:
            await self._record(spilled, card.policy.lease_s)
            if await self._ledger.card(spilled.head.run_id) is not None:  # else it ended and was forgotten meanwhile
                return Fate.RECORDED
        return Fate.SAVED if saved(self._spill, spilled, spilled.head.out) else Fate.KEPT

    async def _record(self, spilled: Spilled, lease_s: float) -> None:
        bench = Bench(spilled.head.run_id, "submit", self._holder, 1, 0.0, lease_s, _never)
        in_hand = self._in_hand.setdefault(spilled.name, {})
        for start in range(0, len(spilled.commits), GROUP_ROWS):
            group = spilled.commits[start : start + GROUP_ROWS]
            applied = await self._ledger.commit(bench.run_id, group)
            for commit, was_applied in zip(group, applied, strict=True):
                if not was_applied and commit.step.event is Event.ACCEPTED:
                    await adopt(bench, self._ledger, commit, in_hand)


def replay_to_disk(spill: Spill, run_id: str, out: str) -> int:
    """Put a run's spilled ids into its folder before its ledger is made anew, so that they are polled; how many files.

    Only for a run that the ledger does not know: else its steps belong there.
    """
    done = 0
    for name in spill.names():
        if not name.startswith(run_id):
            continue
        with spill.held(name) as spilled:
            if spilled is not None and spilled.head.run_id == run_id and saved(spill, spilled, out):
                spill.remove(name)
                done += 1
    return done


def saved(spill: Spill, spilled: Spilled, out: str) -> bool:
    """Whether the ids are on the run's disk now. A row without an id counts there as one that may have been sent."""
    return spill.save_beside(spilled, out, _id_lines(spilled.commits))


def _id_lines(commits: Sequence[Commit]) -> list[bytes]:
    accepted = [commit for commit in commits if commit.step.event is Event.ACCEPTED]
    return [saved_line(commit.row_index, commit.step.record) for commit in accepted]


def _never() -> bool:
    """Nobody stops a replay: it holds nothing that another can't take up."""
    return False
