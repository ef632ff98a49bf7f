"""Processes die, stop or run out of memory while the run is in its middle."""

import asyncio
import signal

from pipeline.core.lifecycle import Outcome
from pipeline.faultlab import processes
from pipeline.faultlab.catching import catch_a_submitter, catch_the_crew
from pipeline.faultlab.fault import Family, Fault
from pipeline.faultlab.stage import IN_FLIGHT, Stage
from pipeline.faultlab.verdict import Rules, what_was_in_flight, what_was_on_the_wire

STORM_KILLS = 5
PAUSE_S = 4.0
"""A worker needs half of it to start again, so a kill meets one that has just begun, or one at full speed."""

ROWS_A_KILL = 400
"""Of a short run each kill hits nearly all rows, and a row that is hit twice ends."""

SQUEEZED_S = 4.0
NO_MEMORY = ("MemoryError", "malloc of size", "Cannot allocate memory")
"""What Python, Arrow and the system call it."""


async def _kill_a_child(stage: Stage) -> None:
    await stage.mid_run()
    caught = await catch_a_submitter(stage)
    stage.struck(caught.moment)
    processes.kill(caught.victims)


async def _kill_a_worker(stage: Stage) -> None:
    """A child that is left without its main process may finish what it has in hand, so it is killed in the act, too."""
    await stage.mid_run()
    caught = await catch_a_submitter(stage)
    stage.struck(caught.moment)
    processes.kill([stage.worker(), *caught.victims])


async def _kill_all(stage: Stage, *, server_too: bool) -> None:
    await stage.mid_run()
    server = stage.server()
    caught = await catch_the_crew(stage, command_too=True, pending=IN_FLIGHT)
    stage.struck(caught.moment)
    processes.kill([*caught.victims, server] if server_too else caught.victims)
    await stage.ended()


async def _kill_workers_and_command(stage: Stage) -> None:
    await _kill_all(stage, server_too=False)


async def _kill_everything(stage: Stage) -> None:
    await _kill_all(stage, server_too=True)


async def _stop_a_worker(stage: Stage) -> None:
    await stage.mid_run()
    stage.struck(await stage.moment())
    processes.tell(stage.worker(), signal.SIGTERM)


async def _sleep_until_sent_again(stage: Stage) -> None:
    # an answer takes so long that the run is still there when the late ids come
    await _sleep_until_rows_are(stage, "pending", "the sleeper's rows are sent again", latency="8s")


async def _sleep_until_given_up(stage: Stage) -> None:
    await _sleep_until_rows_are(stage, "ready", "the sleeper's rows are given up")


async def _sleep_until_rows_are(stage: Stage, state: str, what: str, **switches: object) -> None:
    await stage.mid_run()
    caught = await catch_a_submitter(stage)
    stage.struck(caught.moment)
    await stage.books.switch(**switches)

    async def are() -> bool:
        return caught.moment.submitting <= await stage.rows(state)

    await stage.until(are, what)
    processes.thaw(caught.victims)


async def _squeeze_children(stage: Stage) -> None:
    await stage.mid_run()
    caught = await catch_a_submitter(stage)
    stage.struck(caught.moment)
    children = processes.children_of(stage.worker())

    async def struck() -> bool:
        logs = "".join(log.read_text(errors="replace") for log in (stage.state / "logs").iterdir())
        return not all(map(processes.alive, children)) or any(word in logs for word in NO_MEMORY)

    with processes.memory_squeezed(children):
        processes.thaw(caught.victims)
        await asyncio.sleep(SQUEEZED_S)
        await stage.until(struck, "a child runs out of memory")


async def _storm(stage: Stage) -> None:
    """The supervisor starts workers again at once, and some are killed before their predecessors' rows are back."""
    await stage.mid_run()
    for _ in range(max(1, min(STORM_KILLS, stage.question.rows // ROWS_A_KILL))):
        caught = await catch_the_crew(stage)
        stage.struck(caught.moment)
        processes.kill(caught.victims)
        await asyncio.sleep(stage.dice.uniform(0.0, PAUSE_S))


_ON_THE_WIRE = Rules(what_was_on_the_wire)
_TWICE = frozenset({Outcome.COMPLETED, Outcome.UNKNOWN})
"""A row whose POST is lost twice waits for a person."""

FAULTS = (
    Fault(
        "kill-child",
        Family.PROCESS,
        "kill -9 of a worker's child that has POSTs on the wire",
        _kill_a_child,
        _ON_THE_WIRE,
    ),
    Fault(
        "kill-worker",
        Family.PROCESS,
        "kill -9 of a worker's main process and of a child in the act",
        _kill_a_worker,
        _ON_THE_WIRE,
    ),
    Fault(
        "kill-workers-and-command",
        Family.PROCESS,
        "kill -9 of all workers and of the command, which is then repeated",
        _kill_workers_and_command,
        _ON_THE_WIRE,
    ),
    Fault(
        "kill-everything",
        Family.PROCESS,
        "kill -9 of all workers, the command and Redis, as a power cut",
        _kill_everything,
        _ON_THE_WIRE,
    ),
    Fault(
        "stop-worker",
        Family.PROCESS,
        "SIGTERM of a worker during work, as a deployment does",
        _stop_a_worker,
    ),
    Fault(
        "sleeping-worker",
        Family.PROCESS,
        "SIGSTOP of a child until its rows were sent again, then SIGCONT",
        _sleep_until_sent_again,
        _ON_THE_WIRE,
    ),
    Fault(
        "dozing-worker",
        Family.PROCESS,
        "SIGSTOP of a child until its rows were given up, then SIGCONT: late ids are adopted",
        _sleep_until_given_up,
    ),
    Fault(
        "out-of-memory",
        Family.PROCESS,
        "a worker's children get no more memory for some seconds",
        _squeeze_children,
        Rules(what_was_on_the_wire, _TWICE),
    ),
    Fault(
        "storm",
        Family.PROCESS,
        "kill -9 of all workers, five times at random moments",
        _storm,
        Rules(what_was_in_flight, _TWICE),
        simulator={"submit_delay": "2s"},
        fleet=True,
        workers=2,
        deadline_s=300.0,
    ),
)
