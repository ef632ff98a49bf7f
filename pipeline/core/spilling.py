"""Steps that could not be recorded, as lines of a file: what a worker knows must not end with it.

The head says of which run they are and where its files were; each further line is one row's step under the token of its
claim. What a step said of the account is left out: by the time it is read again, that is old news.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.core.answers import Completion
from pipeline.core.lifecycle import Event, State
from pipeline.core.records import completion_packed, ending_from, ending_packed, from_packed, pack
from pipeline.core.steps import Step


@dataclass(frozen=True, slots=True)
class SpillHead:
    """The run that steps are of, its OUT, the token by which the right storage is known, and the place of its ledger.

    Workers of several ledgers may share a machine's folder: another one's file is not theirs to judge.
    """

    run_id: str
    out: str
    token: str
    place: str


def head_line(head: SpillHead) -> bytes:
    """The first line of a file."""
    return orjson.dumps({"run": head.run_id, "out": head.out, "token": head.token, "place": head.place})


def read_head(line: bytes) -> SpillHead:
    """The reverse of `head_line`. ValueError or KeyError for anything else."""
    whole = orjson.loads(line)
    return SpillHead(whole["run"], whole["out"], whole["token"], whole["place"])


def is_spilled(step: Step) -> bool:
    """Whether a step is worth keeping: that a row was sent, or was not, is known nowhere else; a poll is repeated."""
    return step.source is State.SUBMITTING


def step_line(row_index: int, token: str, step: Step) -> bytes:
    """One row's step: where it comes from, what happened, the record after it, the wait in ms, and the ending.

    What an answer that the POST brought used is kept, too: a budget counts it.
    """
    kept: dict[str, Any] = {"i": row_index, "t": token, "s": step.source, "v": step.event, "w": step.wait_ms}
    kept["r"] = orjson.Fragment(pack(step.record))
    if step.ending is not None:
        kept["e"] = ending_packed(step.ending)
    if step.answer is not None:
        kept["c"] = completion_packed(step.answer)
    if step.cost_micro:
        kept["m"] = step.cost_micro
    return orjson.dumps(kept)


def read_step(line: bytes) -> tuple[int, str, Step]:
    """Row index, token and step: the reverse of `step_line`. ValueError or KeyError for anything else."""
    whole = orjson.loads(line)
    ending = ending_from(whole["e"]) if "e" in whole else None
    answer = Completion(**whole["c"]) if "c" in whole else None
    record, spent = from_packed(whole["r"]), whole.get("m", 0)
    step = Step(State(whole["s"]), Event(whole["v"]), record, whole["w"], ending, cost_micro=spent, answer=answer)
    return whole["i"], whole["t"], step
