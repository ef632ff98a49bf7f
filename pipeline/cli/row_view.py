"""`vidbatch watch --follow`: one row's answer, as it is being written."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.core.account import MASK
from pipeline.core.errors import UsageError
from pipeline.core.lifecycle import Outcome, State
from pipeline.core.policy import FOLLOWS, HOLDS
from pipeline.core.snapshot import RunState
from pipeline.core.stream_answer import StreamAnswer
from pipeline.edges.foxapi import FoxApi
from pipeline.edges.one_row import RowEnd, end_of, requests_named
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.ports import Ledger, RowSeen, RunCard

LOOK_S = 0.4
_THOUGHT, _ANSWER = 0, 1

Tell = Callable[[str], None]


@dataclass(slots=True)
class Written:
    """What of an answer was shown; thoughts and the answer go out by two ways, each text once and in order."""

    think: Tell
    write: Tell
    key: str = ""
    """Never shown, nor the beginning of it at the end of what came so far."""
    shown: list[str] = field(default_factory=lambda: ["", ""])
    thinks: bool = False
    """Whether a thought was shown last, on a line that is still open."""

    def hear(self, answer: StreamAnswer) -> None:
        """Show what came since the last time."""
        for which, text in enumerate(answer.said):
            self.show(which, self._without_key(text))

    def _without_key(self, text: str) -> str:
        if not self.key:
            return text
        text = text.replace(self.key, MASK)
        begun = (length for length in range(len(self.key) - 1, 0, -1) if text.endswith(self.key[:length]))
        return text[: len(text) - next(begun, 0)]

    def show(self, which: int, text: str) -> None:
        """Show what a text has beyond what was shown; a stream that begins anew tells it once more, from its start."""
        before = self.shown[which]
        if len(text) > len(before) and text.startswith(before):
            if which != _THOUGHT:
                self.end_thought()
            (self.think, self.write)[which](text[len(before) :])
            self.shown[which] = text
            self.thinks = which == _THOUGHT

    def end_thought(self) -> None:
        """What follows a thought begins on a line of its own, where a terminal shows both."""
        if self.thinks:
            self.think("\n")
            self.thinks = False

    def end(self, end: RowEnd) -> None:
        """Show the rest of an answer that is whole; one that is another than what was shown, from its start."""
        for which, text in ((_THOUGHT, end.reasoning), (_ANSWER, end.content)):
            if self.shown[which] and not text.startswith(self.shown[which]):
                (self.think, self.write)[which]("\n")
                self.shown[which] = ""
            self.show(which, text)
        self.end_thought()


def row_named(folder: LocalRunFolder, name: str) -> int:
    """The row of this id, else of this index. UsageError where there is none, or more than one."""
    rows = requests_named(folder, name)
    if len(rows) > 1:
        indexes = ", ".join(f"#{row}" for row in rows[:5])
        raise UsageError(f"--follow: {name} is asked {len(rows)} prompts; name one of its rows: {indexes}")
    if rows:
        return rows[0]
    index = name.removeprefix("#")
    if not index.isdigit() or int(index) not in folder.requests().rows([int(index)]):
        raise UsageError(
            f"--follow: found {name!r}; allowed is the id of a row that run {folder.run_id} asks, or # and its index"
        )
    return int(index)


async def follow_row(
    card: RunCard, ledger: Ledger, folder: LocalRunFolder, row: int, api: FoxApi | None, written: Written, say: Tell
) -> int:
    """Show a row until it ended: 0 where it completed, 1 where it did not, or where the run stopped before it.

    Without an `api`, that is without a key, and in modes that have no stream of their own, the answer comes as a whole.
    """
    if card.policy.mode in FOLLOWS and api is None:
        say("without VIDBATCH_API_KEY nothing can be seen of an answer before it is whole")
    told = ""
    while True:
        seen = await ledger.row_seen(card.run_id, row)
        if (words := _words(card, seen)) != told:
            written.end_thought()
            say(f"row {row}: {words}")
            told = words
        if seen.state is State.PENDING and api is not None and card.policy.mode in FOLLOWS and not seen.record.polls:
            await api.follow(seen.record.generation_id or "", seen.record.stream, written.hear)
        ended = await asyncio.to_thread(end_of, folder, row) if seen.state in {State.DONE, None} else None
        if ended is not None:
            written.end(ended)
            written.write("\n")
            if ended.outcome is not Outcome.COMPLETED:
                say(f"row {row} ended as {ended.outcome}: {ended.error}")
            return int(ended.outcome is not Outcome.COMPLETED)
        run = await ledger.snapshot(card.run_id)
        if run is None or run.state in {RunState.PAUSED, RunState.FINISHED}:
            say(f"the run is {'forgotten' if run is None else run.state}; row {row} has no answer yet")
            return 1
        await asyncio.sleep(LOOK_S)


def _words(card: RunCard, seen: RowSeen) -> str:
    match seen.state:
        case State.READY:
            return "waits to be sent"
        case State.SUBMITTING:
            return "is being sent" + ", and is answered as a whole" * (card.policy.mode in HOLDS)
        case State.PENDING:
            return f"is generation {seen.record.generation_id}"
        case State.DONE:
            return "ended, and is being written down"
        case None:
            return "is not in the ledger's window yet"
