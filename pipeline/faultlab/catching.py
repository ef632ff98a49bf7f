"""Catching processes in the act: frozen first and looked at then, so that what was on the wire is known exactly."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.faultlab import processes
from pipeline.faultlab.processes import Process
from pipeline.faultlab.stage import IN_FLIGHT, Stage
from pipeline.faultlab.verdict import Moment


@dataclass(frozen=True, slots=True)
class Caught:
    """Processes that are frozen in the middle of submitting, and how the run stood then."""

    victims: Sequence[Process]
    moment: Moment


async def catch_a_submitter(stage: Stage) -> Caught:
    """Freeze a child that has POSTs on the wire, while other rows are pending."""

    async def caught() -> Caught | None:
        for child in await stage.submitters():
            if found := await _frozen(stage, [child], 1):
                return found
        return None

    found: Caught = await stage.until(caught, f"{IN_FLIGHT} POSTs on the wire and as many rows pending")
    return found


async def catch_the_crew(stage: Stage, *, command_too: bool = False, pending: int = 0) -> Caught:
    """Freeze every process of every worker, with the command if need be, while there are POSTs on the wire."""

    async def caught() -> Caught | None:
        crew, submitters = stage.crew(), await stage.submitters()
        victims = [*crew, *(stage.commands() if command_too else ())]
        return await _frozen(stage, victims, len(submitters), pending)

    found: Caught = await stage.until(caught, f"{IN_FLIGHT} POSTs of the whole crew are on the wire")
    return found


async def _frozen(stage: Stage, victims: Sequence[Process], submitters: int, pending: int = IN_FLIGHT) -> Caught | None:
    """The victims, frozen, or nothing when they had too little in hand: then they go on."""
    processes.freeze(victims)
    moment = await stage.moment(submitters)
    if moment.unanswered >= IN_FLIGHT and len(moment.pending) >= pending:
        return Caught(victims, moment)
    processes.thaw(victims)
    return None
