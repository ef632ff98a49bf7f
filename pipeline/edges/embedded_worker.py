"""The worker of the private stack: started beside the server, again when it dies, and told to leave at the end."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from pipeline.core.errors import WorkerTrouble
from pipeline.edges.embedded import SERVER_USE, EmbeddedServer

OURS = "VIDBATCH_"
"""How all names of the environment begin that a worker is told."""

KEY = f"{OURS}API_KEY"
"""How those begin that hold the key, or tell where it is."""

WORKER_CALL = f"{OURS}WORKER_CALL"
"""The descriptor through which a worker that waits is told to serve."""

LEAVE_S = 30.0
"""A worker that was told to stop is gone by then by itself: see `flows.leaving` and `workers.stopping`."""

LIVES_S = 20.0
MOST_RESTARTS = 3
"""So many deaths in a row, each within the first seconds, are a fault of the machine and not an accident."""


class Waiting:
    """A worker process that loads all that it will need, and waits to be told whom to serve.

    Until then it knows no key, no server and no run, and holds nothing: it ends when whoever started it is gone.
    """

    def __init__(self, environment: Mapping[str, str], log: Path | None = None) -> None:
        self._call, theirs = socket.socketpair()
        shown = {name: value for name, value in environment.items() if not name.startswith(KEY)}
        with theirs, open(log or os.devnull, "ab") as output:  # noqa: PTH123 - a null device is no path of ours
            self.process = subprocess.Popen(
                [sys.executable, "-m", "workers"],
                env={**shown, WORKER_CALL: str(theirs.fileno())},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # so that Ctrl-C at the terminal reaches only its coordinator
                pass_fds=(theirs.fileno(),),
            )
        self._told = False

    @property
    def ready(self) -> bool:
        """Whether it lives and can still be told."""
        return not self._told and self.process.poll() is None

    def serve(self, environment: Mapping[str, str], use: int, log: Path) -> None:
        """Tell it what to do: its environment, how it uses its server, and where it writes."""
        told = json.dumps({name: value for name, value in environment.items() if name.startswith(OURS)}).encode()
        self._told = True
        # one that has died meanwhile is found dead by whoever supervises it
        with self._call, log.open("ab") as output, suppress(OSError):
            sent = socket.send_fds(self._call, [told], [use, output.fileno()])
            self._call.sendall(told[sent:])

    def drop(self) -> None:
        """End it, unless it was told to serve: it holds nothing yet."""
        if not self._told:
            self._told = True
            self._call.close()
            self.process.kill()
            self.process.wait()


def called(load: Callable[[], None]) -> bool:
    """For a worker that was started to wait: `load`, and return once it is told to serve; False if nobody will tell it.

    What it is told is in its environment from then on. A worker that was not started to wait serves at once.
    """
    descriptor = os.environ.pop(WORKER_CALL, "")
    if not descriptor:
        return True
    load()
    with socket.socket(fileno=int(descriptor)) as call:
        told, descriptors, _, _ = socket.recv_fds(call, 65536, 2)
        while told and (more := call.recv(65536)):
            told += more
    if not descriptors:
        return False
    use, output = descriptors
    os.environ[SERVER_USE] = str(use)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    os.environ.update(json.loads(told))
    return True


class EmbeddedWorker:
    """One supervised worker: restarted when it dies, told to stop at the end. The first one may wait already."""

    def __init__(
        self,
        server: EmbeddedServer,
        shifts: int,
        log: Path,
        environment: Mapping[str, str],
        waiting: Waiting | None = None,
    ) -> None:
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
        self._waiting = waiting
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def pid(self) -> int | None:
        """The worker's main process."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Have a worker serve: the one that waits, or a new one."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._started_at = time.monotonic()
        waits = self._waiting is not None and self._waiting.ready
        worker = self._waiting if waits and self._waiting else Waiting(self._environment, self.log)
        use = self._server.use_by_child()
        try:
            worker.serve(self._environment, use, self.log)
        finally:
            os.close(use)
        self._process = worker.process

    def drop_waiting(self) -> None:
        """Do without the worker that waits; it may take hours until one is needed."""
        if self._waiting is not None:
            self._waiting.drop()

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
