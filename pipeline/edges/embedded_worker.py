"""The worker of the private stack: started beside the server, again when it dies, and told to leave at the end."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from pipeline.core.errors import WorkerTrouble
from pipeline.edges.embedded import SERVER_USE, EmbeddedServer

LEAVE_S = 30.0
"""A worker that was told to stop is gone by then by itself: see `flows.leaving` and `workers.stopping`."""

LIVES_S = 20.0
MOST_RESTARTS = 3
"""So many deaths in a row, each within the first seconds, are a fault of the machine and not an accident."""


class EmbeddedWorker:
    """One supervised worker: restarted when it dies, told to stop at the end."""

    def __init__(self, server: EmbeddedServer, shifts: int, log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        self.restarts = 0
        self._server = server
        self._environment = {
            **environment,
            "VIDBATCH_REDIS": server.url,
            "VIDBATCH_WORKERS": str(shifts),
            "VIDBATCH_ROLES": "submit,poll,write,control",
            "VIDBATCH_COORDINATOR_PID": str(os.getpid()),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def pid(self) -> int | None:
        """The worker's main process."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the worker in a session of its own, so that Ctrl-C at the terminal reaches only its coordinator."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._started_at = time.monotonic()
        use = self._server.use_by_child()
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "workers"],
                env={**self._environment, SERVER_USE: str(use)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=(use,),
            )
        os.close(use)

    def supervise(self) -> None:
        """Start the worker again when it died. WorkerTrouble when it can't live."""
        if self._process is None or self._process.poll() is None:
            return
        lived = time.monotonic() - self._started_at
        self.restarts = 0 if lived > LIVES_S else self.restarts + 1
        if self.restarts > MOST_RESTARTS:
            raise WorkerTrouble(f"the worker dies at its start; see {self.log}")
        self.start()

    def ask_to_leave(self) -> None:
        """Tell the worker to finish what it has in hand, without waiting for it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """End the worker after its shifts."""
        self.ask_to_leave()
        if self._process is None:
            return
        try:
            self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
