"""Tell the ledger what workers could not tell it in time; where the ledger is gone, put their ids on the run's disk.

Nothing is forgotten before it is recorded elsewhere, and a replay that is cut short is harmlessly made again: a step
whose token is stale changes nothing, and an id that its row already has is noted by nobody.

A machine's folder may hold files of several ledgers. One that knows nothing of a run says nothing of the ledger that
does, so a file of another ledger stays, and nobody speaks of it.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from pipeline.core.errors import LedgerMismatch, StorageError
from pipeline.core.lifecycle import Event
from pipeline.core.records import saved_line
from pipeline.flows.committing import GROUP_ROWS
from pipeline.flows.shift import Bench
from pipeline.flows.submit import adopt, end_late
from pipeline.ports import Claimed, Commit, Ledger, Spill, Spilled


class Fate(StrEnum):
    """What became of a file of spilled steps."""

    RECORDED = "its steps are in the ledger"
    SAVED = "the ledger takes it up no more: its ids are in the run's sent/, from where the run's command takes them"
    KEPT = "no ledger and no folder knows the run: it stays where it is"
    FOREIGN = "the run's ledger is of another version of vidbatch: it stays where it is"
    DAMAGED = "it can't be read: it stays where it is"
    REFUSED = "the disk refused: it stays where it is"


@dataclass(frozen=True, slots=True)
class Replayed:
    """One file, and what became of it."""

    name: str
    fate: Fate
    steps: int = 0
    why: str = ""
    """What the disk said, where it had a say."""


class Replay:
    """Replays for one process, which remembers what it took in hand when Redis went away in the middle.

    `place` is where the ledger is, as the heads of its files have it.
    """

    def __init__(self, spill: Spill, ledger: Ledger, holder: str, place: str) -> None:
        self._spill = spill
        self._ledger = ledger
        self._holder = holder
        self._place = place
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
                if spilled is None or spilled.head.place != self._place:
                    return None
                return await self._settle(spilled)
        except StorageError as error:
            return Replayed(name, Fate.DAMAGED, why=str(error))

    async def _settle(self, spilled: Spilled) -> Replayed:
        try:
            fate = await self._fate(spilled)
            if fate in {Fate.RECORDED, Fate.SAVED}:
                self._spill.remove(spilled.name)
                self._in_hand.pop(spilled.name, None)
        except StorageError as error:
            return Replayed(spilled.name, Fate.REFUSED, len(spilled.commits), str(error))
        return Replayed(spilled.name, fate, len(spilled.commits))

    async def _fate(self, spilled: Spilled) -> Fate:
        try:
            card = await self._ledger.card(spilled.head.run_id)
        except LedgerMismatch:
            return Fate.FOREIGN
        if card is not None and card.token == spilled.head.token:
            known = await self._record(spilled, card.policy.lease_s)
            # a run that ended, or was forgotten, meanwhile asks for none of them
            if known and await self._ledger.card(spilled.head.run_id) is not None:
                return Fate.RECORDED
        return _to_disk(self._spill, spilled, spilled.head.out)

    async def _record(self, spilled: Spilled, lease_s: float) -> bool:
        """Whether the ledger keeps all of it: a run that is finished takes up no id."""
        bench = Bench(spilled.head.run_id, "submit", self._holder, 1, 0.0, lease_s, _never)
        in_hand = self._in_hand.setdefault(spilled.name, {})
        known = True
        for start in range(0, len(spilled.commits), GROUP_ROWS):
            group = spilled.commits[start : start + GROUP_ROWS]
            applied = await self._ledger.commit(bench.run_id, group)
            for commit, was_applied in zip(group, applied, strict=True):
                if not was_applied and commit.step.event is Event.COMPLETED:
                    await end_late(bench, self._ledger, commit, in_hand)
                if not was_applied and commit.step.event is Event.ACCEPTED:
                    known = await adopt(bench, self._ledger, commit, in_hand) and known
        return known


def replay_to_disk(spill: Spill, run_id: str, out: str, place: str) -> list[Replayed]:
    """Put a run's spilled ids into its folder before its ledger is made anew, so that they are polled.

    Returns what became of each file. Only for a run that the ledger at `place` does not know: else its steps belong
    there. A file that is damaged, or that the disk refuses, keeps no other one waiting.
    """
    names = [name for name in spill.names() if name.startswith(run_id)]
    told = [_replay_to_disk(spill, name, run_id, out, place) for name in names]
    return [one for one in told if one is not None]


def _replay_to_disk(spill: Spill, name: str, run_id: str, out: str, place: str) -> Replayed | None:
    try:
        with spill.held(name) as spilled:
            if spilled is None or (spilled.head.run_id, spilled.head.place) != (run_id, place):
                return None
            return _settle_on_disk(spill, spilled, out)
    except StorageError as error:
        return Replayed(name, Fate.DAMAGED, why=str(error))


def _settle_on_disk(spill: Spill, spilled: Spilled, out: str) -> Replayed:
    try:
        fate = _to_disk(spill, spilled, out)
    except StorageError as error:
        return Replayed(spilled.name, Fate.REFUSED, len(spilled.commits), str(error))
    if fate is Fate.SAVED:
        with suppress(StorageError):  # the ids are safe; told once more, they change nothing
            spill.remove(spilled.name)
    return Replayed(spilled.name, fate, len(spilled.commits))


def _to_disk(spill: Spill, spilled: Spilled, out: str) -> Fate:
    """SAVED when the ids are on the run's disk now. A row without an id counts there as one that may have been sent."""
    return Fate.SAVED if spill.save_beside(spilled, out, _id_lines(spilled.commits)) else Fate.KEPT


def _id_lines(commits: Sequence[Commit]) -> list[bytes]:
    accepted = [commit for commit in commits if commit.step.event is Event.ACCEPTED]
    return [saved_line(commit.row_index, commit.step.record) for commit in accepted]


def _never() -> bool:
    """Nobody stops a replay: it holds nothing that another can't take up."""
    return False
