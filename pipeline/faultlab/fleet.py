"""The lab's own fleet: a Redis server as people run one, and workers that are started again when they die."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pipeline.core.errors import SystemTrouble
from pipeline.edges.embedded import server_binary
from pipeline.faultlab import processes
from pipeline.faultlab.ledger_view import LedgerView
from pipeline.faultlab.processes import Launched

START_S = 15.0
LOOK_S = 0.1


class Fleet:
    """One server with `appendfsync everysec`, and `workers` worker processes of all roles, supervised.

    `program` says what the first worker is started as, the plain one or the saboteur; the others are plain.
    """

    def __init__(
        self, state: Path, environment: Mapping[str, str], workers: int, program: tuple[str, ...] = processes.WORKER
    ) -> None:
        self.url = f"unix://{state / 's'}"
        self._state = state
        self._environment = {**environment, "VIDBATCH_REDIS": self.url, "VIDBATCH_WORKERS": "1"}
        self._program = program
        self._workers: list[Launched | None] = [None] * workers
        self._supervision: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start server and workers. SystemTrouble when the server does not come up."""
        await self.start_server()
        self._supervision = asyncio.create_task(self._supervise())

    async def start_server(self) -> None:
        """Start the server, on the data that it left. SystemTrouble when it does not come up."""
        data = self._state / "data"
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        options = ["--port", "0", "--unixsocket", str(self._state / "s"), "--unixsocketperm", "700"]
        options += ["--dir", str(data), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
        options += ["--pidfile", str(self._state / "server.pid"), "--logfile", str(self._state / "server.log")]
        (self._state / "s").unlink(missing_ok=True)
        processes.server_of(server_binary(self._environment.get("PATH")), options)
        await self._is_up()

    async def _is_up(self) -> None:
        view = LedgerView(self.url)
        try:
            async with asyncio.timeout(START_S):
                await _until_it_answers(view)
        except TimeoutError:
            raise SystemTrouble(f"the lab's Redis server does not run; see {self._state / 'server.log'}") from None
        finally:
            await view.close()

    async def _supervise(self) -> None:
        """Start workers that are gone, as a service manager would."""
        while True:
            for number, worker in enumerate(self._workers):
                if worker is None or worker.code is not None:
                    log = self._state / "logs" / f"worker-{number}.log"
                    program = processes.WORKER if number else self._program
                    self._workers[number] = Launched(program, self._state, self._environment, log)
            await asyncio.sleep(LOOK_S)

    async def stop(self) -> None:
        """Start no more workers, and kill those that live."""
        if self._supervision is not None:
            self._supervision.cancel()
            with suppress(asyncio.CancelledError):
                await self._supervision
        for worker in self._workers:
            if worker is not None:
                worker.end()


async def _until_it_answers(view: LedgerView) -> None:
    while True:
        with suppress(SystemTrouble):
            await view.command("PING")
            return
        await asyncio.sleep(LOOK_S)
