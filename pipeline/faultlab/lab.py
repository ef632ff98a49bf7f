"""The fault lab: each fault on a stage of its own, played, audited and judged; several stages at a time.

Whatever happens, also Ctrl-C, everything that was started is ended, and each fault has a finding: a run that does not
end is a failed one that says so. Folders of failed faults are kept, with all logs.
"""

import asyncio
import random
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.core.errors import VidbatchError
from pipeline.edges.local_simulator import SimulatorBooks, local_simulator
from pipeline.faultlab import processes
from pipeline.faultlab.audit import evidence_of
from pipeline.faultlab.fault import Fault
from pipeline.faultlab.fleet import Fleet
from pipeline.faultlab.question import Question
from pipeline.faultlab.stage import Stage, stage_environment
from pipeline.faultlab.verdict import Finding, Moment, judge

WATCH_S = 0.1
SLOW_ROWS = 250
"""Runs shorter than this would be over before a fault could strike, so the API takes its time with them."""


@dataclass(frozen=True, slots=True)
class Session:
    """One use of the lab: rows of each run, the seed of all chance, stages at a time, whether folders are kept."""

    rows: int
    seed: int
    jobs: int = 1
    keep: bool = False


async def run_faults(faults: Sequence[Fault], session: Session, tell: Callable[[Finding], None]) -> list[Finding]:
    """Play each fault; `tell` hears of each finding as it comes. The findings in the faults' order."""
    places = asyncio.Semaphore(session.jobs)
    main = asyncio.current_task()
    if main is not None:  # SIGTERM ends everything in good order, as Ctrl-C does
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, main.cancel)

    async def one(fault: Fault) -> Finding:
        async with places:
            finding = await run_fault(fault, session)
        tell(finding)
        return finding

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(fault)) for fault in faults]
    return [task.result() for task in tasks]


async def run_fault(fault: Fault, session: Session) -> Finding:
    """Play one fault from its stage's making to its finding."""
    folder, began, keep = Path(tempfile.mkdtemp(prefix="vb-")), time.monotonic(), False
    try:
        finding = await _finding(fault, session, folder)
        keep = session.keep or not finding.passed
    finally:
        processes.end_stage(folder / "state")
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return replace(finding, took_s=time.monotonic() - began, kept_in=str(folder) if keep else "")


async def _finding(fault: Fault, session: Session, folder: Path) -> Finding:
    try:
        async with _stage(fault, session, folder) as stage:
            return await _played(fault, stage)
    except VidbatchError as error:
        return Finding(fault.name, session.rows, reasons=(str(error),))
    except Exception as error:  # noqa: BLE001 - one fault's trouble must not end the others
        return Finding(fault.name, session.rows, reasons=(f"the lab itself failed: {type(error).__name__}: {error}",))


async def _played(fault: Fault, stage: Stage) -> Finding:
    recovering: asyncio.Task[float | None] | None = None
    try:
        async with asyncio.timeout(fault.deadline_s):
            await fault.play(stage)
            recovering = asyncio.create_task(_recovery(stage))
            await stage.carry_on()
            recovery_s = await recovering
            await stage.verify()
    except TimeoutError:
        return Finding(fault.name, stage.question.rows, reasons=(await _stuck(fault, stage),))
    finally:
        if recovering is not None:
            recovering.cancel()
    return judge(fault.name, fault.rules, await evidence_of(stage, recovery_s))


async def _stuck(fault: Fault, stage: Stage) -> str:
    said = stage.command.said.strip().splitlines() if stage.command else []
    last = f"; the command said last: {said[-1]}" if said else ""
    return f"the run did not end within {fault.deadline_s:.0f} s{last}; it stands like {await stage.look()}"


async def _recovery(stage: Stage) -> float | None:
    """Seconds from now, the fault's end, until its rows are on their way again and further ones have ended."""
    if not stage.moments:
        return None
    moment, since = stage.moments[-1], time.monotonic()
    while True:
        if stage.finished or await _recovered(stage, moment):
            return time.monotonic() - since
        await asyncio.sleep(WATCH_S)


async def _recovered(stage: Stage, moment: Moment) -> bool:
    run = await stage.look()
    if run is None or run.fed < moment.fed or run.ended <= moment.ended:
        return False
    waiting = await stage.rows("ready") | await stage.rows("submitting")
    return not waiting & moment.submitting


@asynccontextmanager
async def _stage(fault: Fault, session: Session, folder: Path) -> AsyncIterator[Stage]:
    question = Question(session.rows)
    question.write(folder / "videos.csv")
    (folder / "state").mkdir(mode=0o700)
    with local_simulator(_switches(fault, session)) as base_url:
        books = SimulatorBooks(base_url)
        stage = Stage(
            folder=folder,
            question=question,
            base_url=base_url,
            books=books,
            dice=random.Random(f"{session.seed} {fault.name}"),  # noqa: S311 - chance that can be repeated
            workers=1 if fault.fleet else fault.workers,
            options=fault.options,
        )
        try:
            if fault.fleet:
                stage.fleet = Fleet(stage.state, stage_environment(stage.state), fault.workers, fault.program)
                await stage.fleet.start()
            yield stage
        finally:
            await stage.close()
            await books.close()


def _switches(fault: Fault, session: Session) -> list[str]:
    """The simulator's options: an API that leaves time to strike, and what the fault itself asks for."""
    slow = session.rows < SLOW_ROWS
    usual = {"submit_delay": "1s" if slow else "0.5s", "latency": "3s" if slow else "2s", "seed": session.seed}
    options: list[str] = ["--fast"]
    for name, value in {**usual, **fault.simulator}.items():
        options += [f"--{name.replace('_', '-')}", str(value)]
    return options
