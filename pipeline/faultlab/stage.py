"""Where one fault is played: a simulated API, a manifest, a state folder, and the run as a person would start it.

A stage is alone (`vidbatch run` brings its own server and worker along) or a fleet (the lab starts both). It looks at
everything from outside, and knows at each moment which rows are on the wire and which are pending.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from pipeline.core.errors import SystemTrouble
from pipeline.core.snapshot import RunSnapshot
from pipeline.edges.environment import process_environment
from pipeline.edges.local_simulator import SimulatorBooks
from pipeline.edges.out_folder import OutFolder
from pipeline.edges.run_folder import LocalRunFolder
from pipeline.faultlab import processes
from pipeline.faultlab.fleet import Fleet
from pipeline.faultlab.ledger_view import LedgerView
from pipeline.faultlab.processes import Launched, Process
from pipeline.faultlab.question import Question
from pipeline.faultlab.sabotage import ORDERS
from pipeline.faultlab.verdict import Moment

KEY = "sk-faultlab-not-a-secret"
POLL = "fixed:200ms"
SENDING_S = 8.0
"""A run's rows are sent in so long, evenly: its middle lasts for seconds, in which a fault strikes on a busy machine,
too. Without a limit given a run would begin with ten requests a second, and a short one would be sent at a stroke."""

LOOK_S = 0.05
WITHIN_S = 60.0
"""How long a moment may be waited for: far more than it needs, since the machine may be busy."""

IN_FLIGHT = 8
"""So many rows on the wire, and so many pending: with fewer a fault shows nothing."""

SETTLE_S = 0.05
"""What processes that were just frozen have written may still be under way."""

MOST_REPEATS = 8
"""A command that still doesn't finish its run after so many repetitions would not finish it at all."""

GOES_ON = frozenset({0, 1})


class Lateness(SystemTrouble):
    """A moment that did not come in time."""


@dataclass(slots=True)
class Stage:
    """One run of `question` against the API at `base_url`, in a folder of its own; `dice` choose the moments.

    `program` is what the command is started as; `beside` ends with the stage.
    """

    folder: Path
    question: Question
    base_url: str
    books: SimulatorBooks
    dice: random.Random
    workers: int = 1
    fleet: Fleet | None = None
    options: tuple[str, ...] = ()
    program: tuple[str, ...] = processes.COMMAND
    moments: list[Moment] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    command: Launched | None = None
    beside: AsyncExitStack = field(default_factory=AsyncExitStack)
    _commands: int = 0
    _view: LedgerView | None = None

    @property
    def state(self) -> Path:
        """The state folder, by which every process of the stage is known."""
        return self.folder / "state"

    @property
    def out(self) -> Path:
        """OUT."""
        return self.folder / "out"

    @property
    def manifest(self) -> Path:
        """The manifest."""
        return self.folder / "videos.csv"

    @property
    def environment(self) -> Mapping[str, str]:
        """What every process of the stage is told; nothing of the person's own settings."""
        return stage_environment(self.state)

    # The run.

    def start(self, program: tuple[str, ...] | None = None) -> Launched:
        """Type the command, or type it again."""
        words = [*(program or self.program), "run", str(self.manifest), "--out", str(self.out)]
        words += ["--base-url", self.base_url]
        rpm = round(60 * self.question.rows / SENDING_S)
        words += ["--poll", POLL, "--rpm", str(rpm), "--workers", str(self.workers), "--yes", *self.options]
        words += ["--redis", self.fleet.url] if self.fleet else []
        log = self.folder / f"run-{self._commands}.log"
        self._commands += 1
        self.command = Launched(words, self.folder, self.environment, log)
        return self.command

    async def carry_on(self) -> None:
        """Let the run end; a command that the fault ended is repeated, as a person would."""
        for _ in range(MOST_REPEATS):
            if self.command is None or self.command.code is not None:
                self.start()
            code = await self.ended()
            if self.finished and code in GOES_ON:
                return
        self.complaints.append(f"the run is not finished, although its command was repeated {MOST_REPEATS} times")

    async def ended(self) -> int:
        """Wait for the command's end; its exit code."""
        if self.command is None:
            raise SystemTrouble("no command was started")
        code = await self.command.ended()
        if "Traceback (most recent call last)" in self.command.said:
            self.complaints.append(f"the command showed a traceback: {self.command.log.name}")
        return code

    @property
    def running(self) -> bool:
        """Whether the command is at work."""
        return self.command is not None and self.command.code is None

    async def verify(self) -> None:
        """Let the product check its own receipt; complain when it does not hold."""
        words = [*processes.COMMAND, "verify", "--out", str(self.out)]
        command = Launched(words, self.folder, self.environment, self.folder / "verify.log")
        if await command.ended():
            told = command.said.strip().splitlines() or ["nothing"]
            self.complaints.append(f"the receipt does not hold: {told[0]}")

    @property
    def run_folder(self) -> LocalRunFolder | None:
        """The files of the one run in OUT, once its plan is written."""
        return next(iter(OutFolder(self.out).runs()), None)

    @property
    def finished(self) -> bool:
        """Whether the run has its done marker."""
        folder = self.run_folder
        return folder is not None and folder.done_path.exists()

    # Looking.

    async def look(self) -> RunSnapshot | None:
        """How the run stands by its ledger; nothing while there is none."""
        folder = self.run_folder
        return None if folder is None else await self.ledger.look(folder.run_id)

    async def rows(self, state: str) -> frozenset[int]:
        """Indexes of the rows in this state: ready, submitting or pending."""
        folder = self.run_folder
        return frozenset() if folder is None else await self.ledger.rows(folder.run_id, state)

    @property
    def ledger(self) -> LedgerView:
        """The run's ledger, from outside."""
        if self._view is None:
            self._view = LedgerView(f"unix://{self.state / 's'}")
        return self._view

    async def until(self, holds: Callable[[], Awaitable[Any]], what: str, within_s: float = WITHIN_S) -> Any:  # noqa: ANN401
        """Wait until `holds` says something true, and return that. Lateness names `what` was waited for."""
        deadline = time.monotonic() + within_s
        while not (found := await holds()):
            if time.monotonic() > deadline:
                raise Lateness(f"not within {within_s:.0f} s: {what}; the run stands like {await self.look()}")
            if self.command is not None and self.command.code is not None:
                raise Lateness(f"the command ended before {what}; see {self.command.log.name}")
            await asyncio.sleep(LOOK_S)
        return found

    async def until_run(self, holds: Callable[[RunSnapshot], bool], what: str) -> RunSnapshot:
        """Wait until the run stands like this."""

        async def stands() -> RunSnapshot | None:
            run = await self.look()
            return run if run is not None and holds(run) else None

        found: RunSnapshot = await self.until(stands, what)
        return found

    async def mid_run(self) -> RunSnapshot:
        """Start the run and bring it to its middle: a share of the rows is sent, some are on the wire, some pending."""
        share = self.dice.uniform(0.15, 0.45)
        self.start()
        return await self.until_run(
            lambda run: run.accepted >= share * run.total and run.submitting >= IN_FLIGHT and run.pending >= IN_FLIGHT,
            f"{share:.0%} of the rows are sent and {IN_FLIGHT} are on the wire",
        )

    async def moment(self, processes_hit: int = 0) -> Moment:
        """How the run stands now, exact for the rows of processes that are frozen.

        A POST that an earlier strike cut off is not counted once more.
        """
        since = self.moments[-1].at if self.moments else 0.0
        answered = {post["id"] for post in await self.books.posts() if post["answered"]}
        await asyncio.sleep(SETTLE_S)
        run = await self.look()
        submitting, pending = await self.rows("submitting"), await self.rows("pending")
        by_prompt = self.question.by_prompt()
        last = {by_prompt[post["prompt_sha256"]]: post for post in await self.books.posts()}
        in_flight = {post["id"] for row, post in last.items() if post["received_at"] > since and row in submitting}
        return Moment(
            at=time.time(),
            submitting=submitting,
            pending=pending,
            in_flight=len(in_flight),
            unanswered=len(in_flight - answered),
            processes=processes_hit,
            fed=run.fed if run else 0,
            ended=run.ended if run else 0,
        )

    # Processes.

    def worker(self) -> Process:
        """The main process of the youngest worker. SystemTrouble when none lives."""
        found = processes.workers_of(self.state)
        if not found:
            raise SystemTrouble("no worker lives")
        return found[-1]

    def crew(self) -> list[Process]:
        """Every process of every worker, main processes first."""
        mains = processes.workers_of(self.state)
        return [*mains, *(child for main in mains for child in processes.children_of(main))]

    async def submitters(self) -> list[Process]:
        """Children that hold a submit shift now."""
        folder = self.run_folder
        pids = await self.ledger.holders(folder.run_id, "submit") if folder else frozenset()
        return [one for one in self.crew() if one.pid in pids]

    def server(self) -> Process:
        """The Redis server. SystemTrouble when none lives."""
        return processes.by_pid_file(self.state / "server.pid")

    def commands(self) -> list[Process]:
        """The command, if it is under way."""
        return [Process(self.command.pid)] if self.command is not None and self.command.code is None else []

    # Striking.

    def sabotage(self, **orders: object) -> None:
        """Order the saboteur to break something from now on; `pipeline.faultlab.sabotage` lists what it knows."""
        path = self.state / ORDERS
        path.with_suffix(".new").write_bytes(orjson.dumps(orders))
        path.with_suffix(".new").rename(path)

    def lift(self) -> None:
        """Take the order back."""
        (self.state / ORDERS).unlink(missing_ok=True)

    async def order_is_taken(self) -> bool:
        """Whether a saboteur has carried its order out."""
        return not (self.state / ORDERS).exists()

    def struck(self, moment: Moment) -> None:
        """Note that the fault strikes at this moment."""
        self.moments.append(moment)

    async def close(self) -> None:
        """End everything that this stage started."""
        if self.fleet is not None:
            await self.fleet.stop()
        processes.end_stage(self.state)
        if self.command is not None:
            self.command.end()
        if self._view is not None:
            await self._view.close()
        await self.beside.aclose()


def stage_environment(state: Path) -> Mapping[str, str]:
    """The environment of a stage's processes: its state folder and key, and nothing of the person's own settings."""
    kept = {name: value for name, value in process_environment().items() if not name.startswith("VIDBATCH_")}
    # a killed process can't tidy up, so what it left in its temporary folder goes with the stage
    return {**kept, "VIDBATCH_STATE": str(state), "VIDBATCH_API_KEY": KEY, "TMPDIR": str(state), "COLUMNS": "200"}
